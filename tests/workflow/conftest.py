"""A throw-away copy of the project in which Snakemake runs for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "params.yaml", "config", "profiles", "report", "rules", "scripts", "src")


@dataclass(frozen=True)
class Project:
    """A copy of the project and the way to call Snakemake in it."""

    folder: Path

    def snakemake(self, *arguments: str, overlay: str | None = None, **environment: str):
        """Run Snakemake here; the result has returncode, stdout and stderr."""
        config = ("--configfile", overlay) if overlay else ()
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments, *config],
            cwd=self.folder,
            env={key: value for key, value in os.environ.items() if key != "CONVPRESS_MIRROR"} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def done(self, *arguments: str, **options: str):
        """Run Snakemake and insist on success."""
        result = self.snakemake(*arguments, **options)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-6000:]
        return result


def copy_project(folder: Path) -> Project:
    """Copy what a run needs."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / part)
    return Project(folder)


@pytest.fixture
def project(tmp_path) -> Project:
    """A fresh copy for one test."""
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> Project:
    """A copy in which the quickstart has run."""
    project = copy_project(tmp_path_factory.mktemp("quickstart") / "project")
    project.done(overlay="config/quickstart.yaml")
    return project
