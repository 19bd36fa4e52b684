"""Which commit a page or an attempt belongs to."""

from __future__ import annotations

import subprocess
from pathlib import Path


def project_state(folder: Path) -> str:
    """Commit of the project around `folder`, marked `-dirty` when its files differ from it; `unknown` outside git.

    Results do not count: a run changes those that are committed while it makes them anew.
    """
    try:
        commit = _git(folder, "describe", "--always", "--exclude=*")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("-dirty" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    found = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return found.stdout.strip()
