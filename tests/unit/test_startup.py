"""Checks at the start of a run, and the lock that dies with its process."""

import errno
import fnmatch
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from convpress.config.schema import load_config
from convpress.errors import ConvpressError
from convpress.files import atomic_path, sha256_file
from convpress.models.registry import create_model
from convpress.workflow import startup
from convpress.workflow.codehash import code_hash
from convpress.workflow.startup import (
    ALLOCATOR,
    check_networks,
    check_python,
    check_whole,
    keep_freed_memory,
    lock_folder,
    nearly_full_disks,
    remove_leftovers,
    without_records,
)

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from convpress.workflow.startup import lock_folder

lock = lock_folder(Path(sys.argv[1]))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def config():
    return load_config(yaml.safe_load((ROOT / "params.yaml").read_text())).model_dump(mode="json")


@pytest.mark.parametrize("folder", ["my project", "a(1)", "it's", "R&D", "josé", "a-b_c.d+e@f"])
def test_a_python_that_the_shell_cannot_start_is_refused(tmp_path, folder):
    """As the shell itself sees it, without quotes around the path."""
    python = tmp_path / folder / "python"
    python.parent.mkdir()
    python.symlink_to("/bin/true")
    if subprocess.run(f"{python} script.py", shell=True, capture_output=True, check=False).returncode == 0:
        check_python(str(python))
    else:
        with pytest.raises(ConvpressError, match=r"python: the shell cannot start Python .*; move the project to"):
            check_python(str(python))


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "new" / "run.lock"
    with (
        lock_folder(path),
        pytest.raises(ConvpressError, match=r"another run is at work in this folder \(process \d+ on .*wait until"),
    ):
        lock_folder(path)
    lock_folder(path).close()


def test_a_killed_holder_leaves_no_lock_though_its_child_lives(tmp_path):
    path = tmp_path / "run.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        child = int(holder.stdout.readline())
        with pytest.raises(ConvpressError, match=rf"\(process {holder.pid} on "):
            lock_folder(path)
        holder.kill()
        holder.wait()
    try:
        Path(f"/proc/{child}").stat()
        lock_folder(path).close()
    finally:
        subprocess.run(["kill", "-KILL", str(child)], check=True)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(ConvpressError, match=rf"^{tmp_path}: .*cannot lock files \({os.strerror(number)}\); move"):
        lock_folder(tmp_path / "run.lock")


def test_another_failure_of_the_lock_is_not_hidden(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(OSError, match="error"):
        lock_folder(tmp_path / "run.lock")


def test_the_networks_are_built_once_for_a_configuration(tmp_path, config, monkeypatch):
    check_networks(config, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("convpress.workflow.preflight.check_layers", lambda *arguments: pytest.fail("checked again"))
    check_networks(config, tmp_path)
    monkeypatch.undo()
    check_networks(config | {"seed": 7}, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_code_of_a_network_counts_though_none_is_imported(tmp_path, config, monkeypatch):
    def edited(script, roots, extra=(), known=None):
        return code_hash(script, roots, extra, known) + " edited" * ("convpress.models.alexnet" in extra)

    check_networks(config, tmp_path)
    monkeypatch.setattr("convpress.workflow.startup.code_hash", edited)
    check_networks(config, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_results_without_snakemakes_records_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results, metadata = Path("results/cifar10"), Path(".snakemake/metadata")
    assert without_records(results, metadata) == ""
    results.mkdir(parents=True)
    (results / "summary.json").write_text("{}")
    assert without_records(results, metadata).startswith("results/cifar10 came without Snakemake's records")
    metadata.mkdir(parents=True)
    (metadata / "cmVzdWx0cy9jaWZhcjEwL3N1bW1hcnkuanNvbg==").write_text("{}")  # the name that Snakemake gives
    assert without_records(results, metadata) == ""


def test_an_own_checkpoint_that_changed_is_checked_again(tmp_path, config):
    path, records = tmp_path / "mine.th", tmp_path / "records"
    model = create_model(config["models"]["resnet20"]["architecture"])
    torch.save({"state_dict": model.state_dict()}, path)
    config["models"]["resnet20"]["checkpoint"] = str(path)
    check_networks(config, records)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ConvpressError, match="damaged"):
        check_networks(config, records)


def test_a_checkpoint_that_has_come_is_checked(tmp_path, config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONVPRESS_MIRROR", raising=False)
    torch.save({"state_dict": create_model("resnet8").state_dict()}, "new.th")
    name = f"resnet20-{sha256_file('new.th')[:8]}.th"
    config["models"]["resnet20"]["checkpoint"] = name
    check_networks(config, Path("records"))
    Path("data/checkpoints").mkdir(parents=True)
    Path("new.th").rename(f"data/checkpoints/{name}")
    with pytest.raises(ConvpressError, match=rf"models\.resnet20\.checkpoint: data/checkpoints/{name}: does not fit"):
        check_networks(config, Path("records"))


def test_a_mistake_is_not_remembered_as_checked(tmp_path, config):
    config["kernel_search"]["cp"]["rank"] = 10_000
    for _ in range(2):
        with pytest.raises(ConvpressError, match="ranks from 1 to"):
            check_networks(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_records_is_no_mistake(tmp_path, config):
    (tmp_path / "full").write_text("a file, so nothing can be written below")
    check_networks(config, tmp_path / "full" / "checked")


def test_reading_the_snakefile_needs_no_torch_the_second_time(tmp_path, config):
    check_networks(config, tmp_path)
    program = (
        "import sys, json; from pathlib import Path; from convpress.config.schema import load_config;"
        "from convpress.workflow.startup import check_networks; config = json.loads(sys.stdin.read());"
        f"check_networks(load_config(config).model_dump(mode='json'), Path({str(tmp_path)!r}));"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], input=json.dumps(config), text=True, check=True)


def test_an_evaluation_needs_no_scipy():
    program = "import sys, convpress.statistics as s; s.wilson(3, 4); sys.exit('scipy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


FAULTS = """
import resource
count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(5):
    before = count()
    activations = [b"x" * (16 << 20) for _ in range(6)]
    del activations
print(count() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_jobs_keep_freed_memory():
    environment = {"MALLOC_ARENA_MAX": "1"}
    keep_freed_memory(environment)
    run = [sys.executable, "-c", FAULTS]
    faults = int(subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout)
    default = int(subprocess.run(run, env={}, capture_output=True, text=True, check=True).stdout)
    assert faults < 100 < default  # of 24,576 pages


def test_what_the_user_says_of_memory_stays():
    environment = {"MALLOC_TOP_PAD_": "7"}
    keep_freed_memory(environment)
    assert environment == ALLOCATOR | {"MALLOC_TOP_PAD_": "7"}


def test_a_nearly_full_disk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(startup, "NEARLY_FULL_MB", 0)
    assert nearly_full_disks([tmp_path, tmp_path / "absent"]) == []
    monkeypatch.setattr(startup, "NEARLY_FULL_MB", 1e12)
    (sentence,) = nearly_full_disks([tmp_path, tmp_path / "absent"])
    assert sentence.startswith(f"{tmp_path}: only ")
    assert "make room and call the same command again" in sentence


KILLED = """
import os, signal, sys
from convpress.files import atomic_path

with atomic_path(sys.argv[1]) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_unfinished_files_of_dead_processes_are_deleted_and_no_others(tmp_path):
    target = tmp_path / "models" / "study" / "net-1.safetensors"
    subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    (left,) = target.parent.iterdir()
    others = [target, target.with_name(".hidden-12345678-net"), target.with_name("1-12345678-net")]
    with atomic_path(target) as own:
        for path in (own, *others[1:]):
            path.write_text("whole")
        remove_leftovers([tmp_path / "models", tmp_path / "absent"])
        assert not left.exists()
    assert sorted(target.parent.iterdir()) == sorted(others)


def test_git_and_dvc_look_past_unfinished_files(tmp_path):
    (name,) = {line for line in (ROOT / ".gitignore").read_text().splitlines() if line.startswith(".[0-9]")}
    assert name in (ROOT / ".dvcignore").read_text().splitlines()
    with atomic_path(tmp_path / "net.csv") as path:
        path.write_text("half")
        assert fnmatch.fnmatch(path.name, name)


def test_files_of_tensors_that_are_cut_off_are_named_together(tmp_path):
    check_whole(tmp_path / "not there yet")
    for name in ("sound", "cut", "empty", ".17-0123abcd-unfinished"):
        save_file({"x": torch.ones(4)}, tmp_path / f"{name}.safetensors")
    check_whole(tmp_path)
    for name, left in (("cut", -1), ("empty", 0), (".17-0123abcd-unfinished", -1)):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ConvpressError) as refused:
        check_whole(tmp_path)
    assert str(refused.value).startswith(
        f"{tmp_path}/cut.safetensors, {tmp_path}/empty.safetensors: cut off or damaged; delete them"
    )
