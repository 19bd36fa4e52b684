"""Kills, full and read-only disks, damaged files, two runs at once: the one documented command always finishes.

The jobs are real, for one chain of one study; what they must give is what an unbroken run gives.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import TARGETS, TINY, Project, contents, tiny_project

pytestmark = pytest.mark.workflow

KILLS = 20
FIRST = "results/tiny/metrics/baseline/resnet8.json"


def command(*targets: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--cores", "2", *targets, "--configfile", *TINY]


def start(project: Project, *targets: str) -> subprocess.Popen:
    """Start a run in a process group of its own."""
    with (project.folder / "run.log").open("a") as log:
        return subprocess.Popen(
            command(*targets),
            cwd=project.folder,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def kill(process: subprocess.Popen) -> None:
    """What a power cut does: everything ends at once, nothing is tidied."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def mounted(tmp_path):
    """Mount small file systems for a test; root alone can."""
    # Programs can be installed where CI is set; root and the right to mount are the machine's to give, and a container
    # mostly has neither. So a test is skipped there as elsewhere, and `.ci/run` needs no privileged machine.
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    places: list[Path] = []

    def mount(place: Path, size: str) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            pytest.skip(f"no file system can be mounted here: {result.stderr.strip()}")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


def wait(process: subprocess.Popen, until: Callable[[], bool]) -> None:
    """Wait until something holds, or the run has ended."""
    while process.poll() is None and not until():
        time.sleep(0.02)


def at_work(text: str) -> set[str]:
    """Rules of the jobs that a log says to have started and not to have finished."""
    started = Counter(re.findall(r"^(?:local)?rule (\w+):", text, flags=re.MULTILINE))
    return set(started - Counter(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", text)))


def test_killed_at_random_moments(unbroken, tmp_path):
    project = tiny_project(tmp_path / "project")
    log, saved = project.write("run.log", ""), project.folder / "results" / "tiny" / "resume"
    jobs = len(project.jobs(*TARGETS, overlay=TINY))
    moments, killed, hit = random.Random(7), 0, set()

    def finished() -> int:
        return log.read_text().count("Finished jobid")

    for number in range(KILLS):
        # The kills follow the run from its first job to its last; one comes when an epoch has just been saved.
        # None waits for more than one job, and none for the last: so the kills that follow have something to hit.
        seen, begun, goal = len(log.read_text()), time.monotonic(), number * (jobs - 1) // KILLS
        process = start(project, *TARGETS)
        if number == KILLS // 10:
            wait(process, lambda: any(path.suffix == ".pt" for path in saved.rglob("[!.]*")))
        else:
            wait(process, lambda: finished() >= goal and "rule " in log.read_text()[seen:])  # noqa: B023
            moment = time.monotonic() + moments.uniform(0, 2) * (time.monotonic() - begun)
            wait(process, lambda: finished() > goal or time.monotonic() > moment)  # noqa: B023
        if process.poll() is None:
            hit |= at_work(log.read_text()[seen:])
            kill(process)
            killed += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL), log.read_text()[-5000:]
    project.done(*TARGETS, "--cores", "2", overlay=TINY)
    assert killed == KILLS, "every kill hit a run that was at work"
    assert len(hit) > 3, "jobs of several kinds were killed"
    logs = (project.folder / "logs" / "tiny").rglob("*.log")
    assert any("going on after epoch" in path.read_text() for path in logs), "a training was resumed"
    found, wanted = contents(project), contents(unbroken)
    assert len(found) > 8
    assert found.keys() == wanted.keys()
    assert [name for name in found if found[name] != wanted[name]] == [], "two cores, and kills, give one core's bits"
    assert project.jobs(*TARGETS, overlay=TINY) == []
    assert list(saved.rglob("*.pt")) == []
    left = [path for folder in ("data", "results") for path in (project.folder / folder).rglob(".*")]
    assert left == [], "unfinished files of killed jobs are deleted"


def test_a_second_run_stops_and_waits_for_the_jobs_of_one_that_was_killed(tmp_path):
    project = tiny_project(tmp_path / "project", stubs=True)
    # The last job waits until it may go on.
    pause = "\n    while snakemake.rule == 'evaluate' and not Path('go').exists():\n        time.sleep(0.1)"
    project.replace("scripts/stub.py", "def make(snakemake):", f"def make(snakemake):{pause}")
    project.replace("scripts/stub.py", "import hashlib", "import hashlib\nimport time")
    first, third = start(project, FIRST), None
    try:
        deadline = time.monotonic() + 120
        while not (project.folder / "results/tiny/models/baseline/resnet8.safetensors").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        second = project.snakemake(FIRST, "--cores", "1", overlay=TINY)
        assert second.returncode == 1
        assert f"another run is at work in this folder (process {first.pid} on" in second.stderr
        assert "Traceback" not in second.stderr
        assert "evaluate" in project.rules(FIRST, overlay=TINY), "a dry run needs no lock"
        os.kill(first.pid, signal.SIGKILL)  # Snakemake alone; its job goes on
        first.wait()
        third = start(project, FIRST)
        said = "jobs of a run that was killed are still at work"
        wait(third, lambda: said in (project.folder / "run.log").read_text())
        assert third.poll() is None
        project.write("go", "")
        assert third.wait(timeout=200) == 0
    finally:
        project.write("go", "")
        for process in (first, third):
            if process is not None and process.poll() is None:
                kill(process)
    assert project.jobs(FIRST, overlay=TINY) == []


def test_a_full_disk(unbroken, tmp_path, mounted):
    project = unbroken.copy(tmp_path / "project")
    shutil.rmtree(project.folder / "results")
    place = mounted(project.folder / "results", "4k")
    result = project.snakemake(FIRST, "--cores", "1", overlay=TINY)
    assert result.returncode == 1
    assert "convpress: results: only 0.0 MB are left on its disk; make room" in result.stderr
    subprocess.run(["mount", "-o", "remount,size=50m", str(place)], check=True)
    project.done(FIRST, "--cores", "1", overlay=TINY)
    whole = contents(unbroken)
    assert {name: content == whole[name] for name, content in contents(project).items()} == dict.fromkeys(
        ("models/baseline/resnet8.safetensors", "metrics/baseline/resnet8.json", "predictions/baseline/resnet8.npz"),
        True,
    )


def test_a_read_only_results_folder(tmp_path, mounted):
    project = tiny_project(tmp_path / "project", stubs=True)
    place = mounted(project.folder / "results", "50m")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    result = project.snakemake(FIRST, "--cores", "1", overlay=TINY)
    assert result.returncode == 1
    assert "results cannot be written; change its rights or the disk" in result.stderr
    assert "Traceback" not in result.stderr
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
    project.done(FIRST, "--cores", "1", overlay=TINY)
    assert (project.folder / FIRST).exists()


@pytest.mark.parametrize(
    ("damaged", "target"),
    [
        ("models/kernel_search/finetune_cp-plain.start.safetensors", TARGETS[1]),
        ("metrics/baseline/resnet8.json", TARGETS[0]),
        ("predictions/baseline/resnet8.npz", TARGETS[0]),
    ],
)
def test_a_truncated_file_is_named_and_made_again(unbroken, tmp_path, damaged, target):
    project = unbroken.copy(tmp_path / "project")
    path = project.folder / "results" / "tiny" / damaged
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (project.folder / target).unlink()
    kept = contents(project)
    result = project.snakemake(target, "--cores", "2", overlay=TINY)
    assert result.returncode == 1
    assert f"{damaged}: cut off or damaged" in result.stderr
    assert "Traceback" not in result.stderr
    assert contents(project).items() <= kept.items()
    path.unlink()
    project.done(target, "--cores", "2", overlay=TINY)
    assert contents(project) == contents(unbroken)


def test_a_damaged_input_is_named_and_fetched_again(unbroken, tmp_path):
    project = unbroken.copy(tmp_path / "project")
    data = project.folder / "data/digits.safetensors"
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    # As rule all does, this asks for the input and the model themselves, not only for what is made from them.
    targets = (FIRST, "data/digits.safetensors", "results/tiny/models/baseline/resnet8.safetensors")
    result = project.snakemake(*targets, "--cores", "2", overlay=TINY)
    assert result.returncode == 1
    assert "digits.safetensors: cannot be read as a data set" in result.stderr
    assert "Traceback" not in result.stderr
    data.unlink()
    project.done(*targets, "--cores", "2", overlay=TINY)
    assert data.read_bytes() == whole
    assert contents(project) == contents(unbroken)
