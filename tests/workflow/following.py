"""What runs again because of a change, by the jobs' own files."""

from __future__ import annotations

from collections.abc import Iterable

from conftest import Job


def following(jobs: list[Job], changed: list[Job]) -> set[Job]:
    """The `changed` jobs and those that read, directly or not, what they write."""
    found = set(changed)
    dirty = {path for job in found for path in job.outputs}
    while more := {job for job in jobs if job.rule != "all" and dirty & set(job.inputs)} - found:
        found |= more
        dirty |= {path for job in more for path in job.outputs}
    return found


def dependents(jobs: list[Job], changed: set[str]) -> set[str]:
    """Rules with a job that reads, directly or not, what the `changed` rules write."""
    return changed | {job.rule for job in following(jobs, [job for job in jobs if job.rule in changed])}


def written(jobs: Iterable[Job]) -> set[str]:
    """All outputs."""
    return {path for job in jobs for path in job.outputs}
