"""What the jobs of a run took, by Snakemake's own records."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def rule_seconds(records: Path, run: str) -> dict[str, dict[str, float]]:
    """Number of jobs and their seconds in sum, by rule, most first; of the jobs of `run` and those that serve all runs.

    `records` is Snakemake's folder of metadata, which has one record a file: a job that wrote several counts once, as
    it ran last. What was computed elsewhere counts as well where its records came along.
    """
    jobs = {(str(found["rule"]), *found["log"]): found for found in _finished(records) if _belongs(found, run)}
    seconds: dict[str, list[float]] = {}
    for (rule, *_), found in jobs.items():
        seconds.setdefault(rule, []).append(found["endtime"] - found["starttime"])
    most_first = sorted(seconds.items(), key=lambda item: -sum(item[1]))
    return {rule: {"jobs": len(each), "seconds": sum(each)} for rule, each in most_first}


def _finished(records: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(records.rglob("*")):
        with contextlib.suppress(OSError, ValueError):  # folders, and what a kill cut off
            found = json.loads(path.read_text(encoding="utf-8"))
            if found.get("log") and found.get("starttime") and found.get("endtime"):
                yield found


def _belongs(found: dict[str, Any], run: str) -> bool:
    return any(Path(log).parts[:2] == ("logs", run) for log in found["log"])
