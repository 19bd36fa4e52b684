"""What the jobs of a run took, by Snakemake's own records."""

from __future__ import annotations

import binascii
import contextlib
import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def rule_seconds(records: Path, results: Path) -> dict[str, dict[str, float]]:
    """Number of jobs and their seconds in sum, by rule, most first, of the files that are there below `results`.

    `records` is Snakemake's folder of metadata, which has one record a file: a job that wrote several counts once, as
    it ran last, without attempts that were interrupted. What was computed elsewhere counts where its records came
    along. The page, which asks for this, does not count.
    """
    jobs = {(str(found["rule"]), *found["log"]): found for found in _finished(records, results)}
    seconds: dict[str, list[float]] = {}
    for (rule, *_), found in jobs.items():
        if rule != "report_page":
            seconds.setdefault(rule, []).append(found["endtime"] - found["starttime"])
    most_first = sorted(seconds.items(), key=lambda item: -sum(item[1]))
    return {rule: {"jobs": len(each), "seconds": sum(each)} for rule, each in most_first}


def _finished(records: Path, results: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(records.rglob("*")):
        with contextlib.suppress(OSError, ValueError, binascii.Error):  # folders, and what a kill cut off
            # Jobs that failed have records, too, but no files.
            file = Path(urlsafe_b64decode("".join(path.relative_to(records).parts).replace("@", "")).decode())
            if file.is_relative_to(results) and file.exists():
                found = json.loads(path.read_text(encoding="utf-8"))
                if found.get("log") and found.get("starttime") and found.get("endtime"):
                    yield found
