"""Throw-away copies of the project in which Snakemake, git and DVC run for real."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from snakemake.utils import update_config

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "params.yaml", "config", "profiles", "report", "rules", "scripts", "src")


# A few jobs of every kind: data, trainings, a teacher, a decomposition, evaluations, a table.
TARGETS = ("results/tiny/tables/baselines.csv", "results/tiny/models/kernel_search/finetune_cp-plain.safetensors")
TINY = ("config/quickstart.yaml", "tiny.yaml")

# What a repository of the project holds besides PARTS, and one of its results.
SHARED = (
    "results/attempts.csv",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots.html",
    ".dvcignore",
    ".gitignore",
    "dvc.yaml",
)
LOST = "results/cifar10/models/control/resnet8.safetensors"
BIN = str(Path(sys.executable).parent)

# Columns of times, which no two runs share.
ELSEWHERE = re.compile(r"(^|_)(ms|speedup|seconds|10k)$")

# Configurations that passed the check of the networks and what texts of code came to, by their hashes: copies share it.
KNOWN = tempfile.TemporaryDirectory(prefix="convpress-known-")

# Stands for the work of every job: outputs that depend on inputs and parameters as the real ones do.
STUB = """
import hashlib
from pathlib import Path

from safetensors import serialize


def make(snakemake):
    contents = [Path(path).read_bytes() for path in snakemake.input]
    state = repr((snakemake.rule, sorted(snakemake.wildcards.items()), sorted(map(str, snakemake.params.items()))))
    digest = hashlib.sha256(b"|".join([state.encode(), *contents])).hexdigest()
    for path in map(Path, snakemake.output):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            path.write_bytes(serialize({}, {"made": digest}))
        else:
            path.write_text(f'{{"made": {int(digest[:9], 16)}}}\\n')
    raise SystemExit(0)
"""


@dataclass(frozen=True)
class Job:
    """A job that a dry run lists."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Project:
    """A copy of the project and the way to call Snakemake in it."""

    folder: Path
    program: tuple[str, ...] = ("-m", "snakemake")

    def copy(self, folder: Path) -> Project:
        """The same files in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, self.program)

    def snakemake(self, *arguments: str, overlay: str | tuple[str, ...] | None = None, **environment: str):
        """Run Snakemake here; the result has returncode, stdout and stderr."""
        config = ("--configfile", *((overlay,) if isinstance(overlay, str) else overlay)) if overlay else ()
        records = self.folder / ".snakemake"
        shutil.copytree(KNOWN.name, records, dirs_exist_ok=True)
        result = subprocess.run(
            [sys.executable, *self.program, *arguments, *config],
            cwd=self.folder,
            env={key: value for key, value in os.environ.items() if key != "CONVPRESS_MIRROR"} | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        for name in ("checked", "code"):
            if (records / name).is_dir():
                shutil.copytree(records / name, Path(KNOWN.name, name), dirs_exist_ok=True)
        return result

    def done(self, *arguments: str, **options: str):
        """Run Snakemake and insist on success."""
        result = self.snakemake(*arguments, **options)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-6000:]
        return result

    def jobs(self, *arguments: str, **options) -> list[Job]:
        """What a dry run would do, without `all`, which does nothing itself."""
        return [job for job in self.listed("-n", *arguments, **options) if job.rule != "all"]

    def listed(self, *arguments: str, **options) -> list[Job]:
        """All jobs that Snakemake prints."""
        result = self.done(*arguments, **options)
        blocks = re.split(r"^(?:local)?rule (?=\w+:$)", result.stdout + result.stderr, flags=re.MULTILINE)[1:]
        return [Job(block.partition(":")[0], _files(block, "input"), _files(block, "output")) for block in blocks]

    def rules(self, *arguments: str, **options) -> set[str]:
        """Names of the rules that a dry run would run."""
        return {job.rule for job in self.jobs(*arguments, **options)}

    def write(self, name: str, text: str) -> Path:
        """Write a text file of the copy."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def replace(self, name: str, old: str, new: str) -> None:
        """Edit a file of the copy in exactly one place."""
        text = (self.folder / name).read_text()
        assert text.count(old) == 1, f"{name}: {old!r} stands there {text.count(old)} times"
        (self.folder / name).write_text(text.replace(old, new))


def _files(block: str, kind: str) -> tuple[str, ...]:
    found = re.search(rf"^    {kind}: (.+)$", block, flags=re.MULTILINE)
    return tuple(re.sub(r" \(\w+\)$", "", name) for name in found.group(1).split(", ")) if found else ()


def stub_scripts(folder: Path) -> None:
    """Let every script end before its first import; hashes and imports stay those of the real ones."""
    (folder / "scripts" / "stub.py").write_text(STUB)
    for path in folder.glob("scripts/*.py"):
        text = path.read_text()
        if "\nwith job(snakemake)" in text:
            first = next(node for node in ast.parse(text).body[1:] if getattr(node, "module", "") != "__future__")
            lines = text.splitlines(keepends=True)
            lines.insert(first.lineno - 1, "import stub\n\nstub.make(snakemake)\n")
            path.write_text("".join(lines))


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


def tiny_project(folder: Path, *, stubs: bool = False) -> Project:
    """A copy with the overlay `tiny.yaml`; with stubs, no job computes anything."""
    project = copy_project(folder)
    shutil.copy2(Path(__file__).with_name("tiny.yaml"), folder)
    if stubs:
        stub_scripts(folder)
    return project


def contents(project: Project) -> dict[str, object]:
    """Every result of the tiny run but times."""
    folder = project.folder / "results" / "tiny"
    patterns = ("models/**/*.safetensors", "metrics/*/*.json", "predictions/**/*.npz")
    files = [path for pattern in patterns for path in folder.glob(pattern)]
    return _tables(folder) | {str(path.relative_to(folder)): path.read_bytes() for path in files}


def without_times(project) -> dict[str, object]:
    """All that the quickstart computed: tables, but for what differs elsewhere, and the bytes of models."""
    folder = project.folder / "results" / "quickstart"
    models = folder.glob("models/**/*.safetensors")
    return _tables(folder) | {str(path.relative_to(folder)): path.read_bytes() for path in models}


def _tables(folder: Path) -> dict[str, object]:
    """Tables, digit by digit, but for what differs elsewhere."""
    files = sorted(path for path in folder.glob("tables/*.csv") if path.name != "targets.csv")
    tables = {path.name: pd.read_csv(path, dtype=str) for path in files}
    return {name: table.drop(columns=table.filter(regex=ELSEWHERE)).to_csv() for name, table in tables.items()}


class Repository(Project):
    """A git repository of the project, with DVC."""

    def call(self, *command: str, check: bool = True) -> str:
        """Run a command here and return what it says; with `check` it must succeed, without it must fail."""
        environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "SMK_FLAGS": "--cores 2"}
        result = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        said = result.stdout + result.stderr
        assert (result.returncode == 0) == check, said[-4000:]
        return said

    def git(self, *arguments: str) -> str:
        return self.call("git", "-c", "user.name=Test", "-c", "user.email=test@localhost", *arguments)

    def dvc(self, *arguments: str, check: bool = True) -> str:
        return self.call(sys.executable, "-m", "dvc", *arguments, check=check)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "state")

    def add_remote(self, name: str, url: str) -> None:
        """The commands of the README."""
        self.dvc("remote", "add", "--default", name, url)
        self.dvc("remote", "modify", name, "verify", "true")

    def clone(self, folder: Path) -> Repository:
        shutil.rmtree(folder, ignore_errors=True)
        self.git("clone", "--quiet", str(self.folder), str(folder))
        return Repository(folder)

    def ran(self, said: str) -> set[str]:
        """Names of the rules whose jobs ran."""
        lines = [line.rpartition("rule ") for line in said.splitlines() if line.endswith(":")]
        return {name.rstrip(":") for head, word, name in lines if word and head in ("", "local")} - {"all"}


def object_of(content: bytes, store: Path) -> Path:
    """The file of a remote that holds `content`."""
    return next(path for path in store.rglob("*") if path.is_file() and path.read_bytes() == content)


def assert_complete(clone: Repository) -> None:
    assert clone.jobs() == []
    assert "up to date" in clone.dvc("status")
    assert clone.git("status", "--porcelain") == ""
    assert (clone.folder / "results/cifar10/report.html").stat().st_size


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory) -> Project:
    """A copy in which the few jobs of TARGETS have run, undisturbed, one after the other."""
    project = tiny_project(tmp_path_factory.mktemp("unbroken") / "project")
    project.done(*TARGETS, "--cores", "1", overlay=TINY)
    return project


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


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Repository:
    """A repository with results, pushed to a folder; its params.yaml holds the tiny run under the name cifar10."""
    folder = tmp_path_factory.mktemp("share")
    repository = Repository(tiny_project(folder / "lab", stubs=True).folder)
    for name in SHARED:
        repository.write(name, (ROOT / name).read_text())
    config: dict = {}
    for name in ("params.yaml", *TINY):
        update_config(config, yaml.safe_load((repository.folder / name).read_text()))
    repository.write("params.yaml", yaml.safe_dump(config | {"run": "cifar10"}, sort_keys=False))
    repository.call("git", "init", "--quiet")
    repository.add_remote("share", str(folder / "store"))
    repository.commit()
    repository.dvc("repro")
    repository.commit()
    repository.dvc("push")
    return repository
