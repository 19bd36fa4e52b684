"""The same workflow on a real SLURM cluster of one node: the same bits, and failures that are reported."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, TARGETS, TINY, Project, contents, copy_project, tiny_project, without_times

pytestmark = pytest.mark.workflow

MARK = "# one node, for the tests of convpress\n"
CONFIG = Path("/etc/slurm/slurm.conf")  # the step launcher forgets SLURM_CONF, so it must lie there
MUNGE_PID = Path("/run/munge/munged.pid")
# The plugin waits ten seconds longer after each look that finds nothing ended; tests look every second.
OFTEN = (
    "from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor\n"
    "often = property(lambda self: 1, lambda self, value: None)\n"
    "RemoteExecutor.next_seconds_between_status_checks = often\n"
    "from snakemake.cli import main\n"
    "main()"
)
QUICK = ("--seconds-between-status-checks", "1", "--slurm-init-seconds-before-status-checks", "1")
SLURM = ("--workflow-profile", "profiles/slurm", "--cores", "2", "--latency-wait", "10", *QUICK)


def settings(folder: Path) -> str:
    host = socket.gethostname().split(".")[0]
    return f"""{MARK}ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why no cluster can be started here; empty when one can."""
    if os.geteuid() != 0:
        return "a cluster for tests is started by root alone"
    programs = [name for name in ("slurmctld", "slurmd", "munged") if not shutil.which(name)]
    if programs:
        return f"{', '.join(programs)} not installed (Debian: slurm-wlm, munge)"
    if CONFIG.exists() and not CONFIG.read_text().startswith(MARK):
        return f"{CONFIG} belongs to a real cluster"
    return ""


def stop(pid_file: Path) -> None:
    if pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 20
        while pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running cluster of one node."""
    if reason := missing():
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(settings(folder))
    own_munge = not MUNGE_PID.exists()
    try:
        if own_munge:
            subprocess.run(
                ["install", "-d", "-o", "munge", "-g", "munge", "-m", "755", str(MUNGE_PID.parent)], check=True
            )
            subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)
        subprocess.run(["slurmctld", "-c"], check=True)
        subprocess.run(["slurmd", "-c"], check=True)
        deadline, state = time.monotonic() + 60, ""
        while state != "idle":
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()[-3000:]
            time.sleep(0.5)
            state = subprocess.run(
                ["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False
            ).stdout.strip()
        yield
    finally:
        stop(folder / "slurmd.pid")
        stop(folder / "slurmctld.pid")
        if own_munge:
            stop(MUNGE_PID)
        CONFIG.unlink()


def test_both_profiles_decide_alike_what_runs_again():
    default, slurm = (
        yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text()) for name in ("default", "slurm")
    )
    for key in ("max-checksum-file-size", "rerun-triggers", "rerun-incomplete", "nolock"):
        assert default[key] == slurm[key]


def often(project: Project) -> Project:
    """The same copy, with a Snakemake that looks at the cluster every second."""
    return replace(project, program=("-c", OFTEN))


def test_the_cluster_gives_the_same_bits(cluster, unbroken, tmp_path):
    project = tiny_project(tmp_path / "project")
    often(project).done(*TARGETS, *SLURM, overlay=TINY)
    assert contents(project).keys() == contents(unbroken).keys()
    assert [name for name, content in contents(project).items() if content != contents(unbroken)[name]] == []
    assert project.jobs(*TARGETS, overlay=TINY) == [], "going back to one machine reruns nothing"


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_the_whole_quickstart_gives_the_same_numbers(cluster, quickstart, tmp_path):
    project = copy_project(tmp_path / "project")
    often(project).done(*SLURM, overlay="config/quickstart.yaml")
    here, there = without_times(quickstart), without_times(project)
    assert len(here) > 60
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []


def test_a_job_that_dies_is_tried_again_once_and_then_reported(cluster, tmp_path):
    project = tiny_project(tmp_path / "project", stubs=True)
    target = "data/digits.safetensors"
    die = '\n    with Path("tries").open("a") as file:\n        file.write("x")\n    raise SystemExit(7)'
    project.replace("scripts/stub.py", "def make(snakemake):", f"def make(snakemake):{die}")
    result = often(project).snakemake(target, *SLURM, overlay=TINY)
    assert result.returncode == 1
    assert (project.folder / "tries").read_text() == "xx"
    # The announcement of a job names the log as well, so only what follows the last error counts.
    _, error, after = result.stderr.rpartition("Error in rule fetch_data:")
    assert error
    assert "log: logs/tiny/fetch_data.log" in after
    assert not (project.folder / target).exists()
