"""What the jobs of a run took, by Snakemake's own records."""

from __future__ import annotations

import binascii
import contextlib
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Times = dict[str, dict[str, float]]

RULE = re.compile(r"^ *(?:use rule \w+ as (\w+) with|rule (\w+)):", re.MULTILINE)
INHERITED = "baseline"
"""The rules file of what several studies share, and of the rules that they all inherit."""
FOR_ALL = ("baseline", "control", "teacher")
"""Folders of models, histories and metrics that several studies use."""
SHARED = "shared (baselines, controls, teacher)"
UNKNOWN = "rules of another version"


@dataclass(frozen=True)
class Job:
    """A job that ended: its rule, one of its files, seen from the folder of results, and its seconds."""

    rule: str
    file: Path
    seconds: float


def job_times(records: Path, results: Path, rules: Path) -> dict[str, Times]:
    """`rule_seconds` and `study_seconds` of a run's provenance: number of jobs and their seconds in sum, most first.

    Of the files that are there below `results`; empty without any. `records` is Snakemake's folder of metadata, which
    has one record a file: a job that wrote several counts once, as it ran last, without attempts that were
    interrupted. What was computed elsewhere counts where its records came along. The page, which asks for this, does
    not count. `rules` holds a file of rules for each study.
    """
    if not (jobs := _jobs(records, results)):
        return {}
    homes = _homes(rules)
    return {
        "rule_seconds": _sums((job.rule, job.seconds) for job in jobs),
        "study_seconds": _sums((_study(job, homes), job.seconds) for job in jobs),
    }


def _jobs(records: Path, results: Path) -> list[Job]:
    # The last file ends a job: some write their start before they train.
    finished = sorted(_finished(records, results), key=lambda each: each[1]["endtime"])
    jobs = {(found["rule"], *found["log"]): (file, found) for file, found in finished}
    return [
        Job(rule, file.relative_to(results), found["endtime"] - found["starttime"])
        for (rule, *_), (file, found) in jobs.items()
        if rule != "report_page"
    ]


def _sums(seconds: Iterable[tuple[str, float]]) -> Times:
    found: dict[str, list[float]] = {}
    for name, value in seconds:
        found.setdefault(name, []).append(value)
    most_first = sorted(found.items(), key=lambda item: -sum(item[1]))
    return {name: {"jobs": len(each), "seconds": sum(each)} for name, each in most_first}


def _homes(rules: Path) -> dict[str, str]:
    """The rules file, without its ending, of each rule."""
    found = ((path.stem, RULE.findall(path.read_text(encoding="utf-8"))) for path in sorted(rules.glob("*.smk")))
    return {used or own: home for home, names in found for used, own in names}


def _study(job: Job, homes: dict[str, str]) -> str:
    """By the rules file, which names its study; by the folder where all share the rule, as `evaluate`, or the file."""
    folders = job.file.parent.parts[1:]
    home = homes.get(job.rule, UNKNOWN)
    if folders and folders[0] in FOR_ALL:
        return SHARED
    if home == INHERITED:
        return folders[0] if folders else SHARED
    return home


def _finished(records: Path, results: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(records.rglob("*")):
        with contextlib.suppress(OSError, ValueError, binascii.Error):  # folders, and what a kill cut off
            # Jobs that failed have records, too, but no files.
            file = Path(urlsafe_b64decode("".join(path.relative_to(records).parts).replace("@", "")).decode())
            if file.is_relative_to(results) and file.exists():
                found = json.loads(path.read_text(encoding="utf-8"))
                if found.get("log") and found.get("starttime") and found.get("endtime"):
                    yield file, found
