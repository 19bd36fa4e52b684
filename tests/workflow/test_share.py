"""Results travel: through a folder or a real SSH server to a clone, where nothing has to run again.

The jobs are stubs; all files, records, checksums, git and DVC are real.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from conftest import ROOT, TINY, Project, tiny_project

pytestmark = pytest.mark.workflow

SHARED = (
    "results/attempts.csv",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots.html",
    ".dvcignore",
    ".gitignore",
    "dvc.yaml",
)
BIN = str(Path(sys.executable).parent)


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


@pytest.fixture(scope="module")
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


@pytest.fixture
def store(published) -> Path:
    return published.folder.parent / "store"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    """An SSH server on the loopback interface: its address, and the key that it lets in."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
    if not program or not shutil.which("ssh-keygen"):
        assert not os.environ.get("CI"), "openssh-server must be installed where CI is set"
        pytest.skip("openssh-server is not installed")
    folder = tmp_path_factory.mktemp("sshd")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "PidFile": folder / "pid",
        "AuthorizedKeysFile": folder / "user.pub",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "UsePAM": "no",
        "StrictModes": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    command = [program, "-D", "-f", str(folder / "config"), "-E", str(folder / "log")]
    with subprocess.Popen(command) as server:
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            else:
                raise AssertionError((folder / "log").read_text())
            yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}{folder}/store", folder / "user"
        finally:
            server.terminate()
            server.wait(10)


def assert_complete(clone: Repository) -> None:
    assert clone.jobs() == []
    assert "up to date" in clone.dvc("status")
    assert clone.git("status", "--porcelain") == ""
    assert (clone.folder / "results/cifar10/report.html").stat().st_size


def test_a_folder(published, tmp_path):
    clone = published.clone(tmp_path / "clone")
    assert (clone.folder / "results/cifar10/report.html").exists(), "readers of git see it before they pull"
    clone.dvc("pull")
    assert_complete(clone)
    assert "didn't change, skipping" in clone.dvc("repro")


def test_an_ssh_server(published, sshd, tmp_path):
    url, key = sshd
    clone = published.clone(tmp_path / "first")
    clone.dvc("pull")
    clone.add_remote("lab", url)
    said = clone.dvc("push", check=False)
    assert "ermission denied" in said
    clone.dvc("remote", "modify", "--local", "lab", "keyfile", str(key))
    clone.dvc("push")
    clone.commit()
    second = clone.clone(tmp_path / "second")
    said = second.dvc("pull", check=False)
    assert "ermission denied" in said
    assert not (second.folder / "results/cifar10/models").exists()
    second.dvc("remote", "modify", "--local", "lab", "keyfile", str(key))
    second.dvc("pull")
    assert_complete(second)


def test_an_experiment_runs_what_its_parameter_changes(published, tmp_path):
    clone = published.clone(tmp_path / "clone")
    clone.dvc("pull")
    key = "kernel_search.finetune_recomposed.lr"
    said = clone.dvc("exp", "run", "--name", "faster", "--set-param", f"{key}=0.013")
    ran = clone.ran(said)
    assert {"finetune_recomposed", "kernel_search_tables", "report_page", "summary"} <= ran
    assert not {"search_kernels", "finetune_cp", "finetune", "train_baseline", "fetch_data"} & ran
    changes = json.loads(clone.dvc("params", "diff", "--json"))
    assert changes == {"params.yaml": {key: {"old": 0.02, "new": 0.013, "diff": pytest.approx(-0.007)}}}
    metrics = json.loads(clone.dvc("metrics", "diff", "--json"))
    assert list(metrics) == ["results/cifar10/summary.json"]
    shown = json.loads(clone.dvc("metrics", "show", "--json"))
    assert "results/cifar10/summary.json" in json.dumps(shown)
    assert "faster" in clone.dvc("exp", "show", "--csv")
    clone.git("checkout", "--", ".")
    clone.dvc("checkout")
    assert_complete(clone)


def test_figures_can_be_looked_at_without_a_network(published, tmp_path):
    clone = published.clone(tmp_path / "clone")
    clone.dvc("plots", "show")
    page = (clone.folder / "dvc_plots/index.html").read_text()
    assert "http" not in page
    pictures = list((clone.folder / "results/cifar10/figures").iterdir())
    assert pictures
    assert all(path.name in page for path in pictures)


def test_a_damaged_object_is_refused_and_can_be_repaired(published, store, tmp_path):
    lost = published.folder / "results/cifar10/models/control/resnet8.safetensors"
    digest = next(
        path.relative_to(store)
        for path in store.rglob("*")
        if path.is_file() and path.read_bytes() == lost.read_bytes()
    )
    damaged = store / digest
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    clone = published.clone(tmp_path / "clone")
    said = clone.dvc("pull", check=False)
    assert "failed to pull" in said
    assert "results/cifar10/models" in said
    assert not any(path.read_bytes() == b"damaged" for path in clone.folder.rglob("*") if path.is_file())
    # The repair of the README, on the machine that has the results.
    store.rename(store.with_name("store.damaged"))
    published.dvc("push")
    assert damaged.exists()
    clone.dvc("pull")
    assert_complete(clone)


def test_a_remote_that_is_away_loses_nothing(published, store, tmp_path):
    clone = published.clone(tmp_path / "clone")
    away = store.rename(store.with_name("away"))
    try:
        assert "failed to pull" in clone.dvc("pull", check=False)
        assert clone.git("status", "--porcelain") == ""
    finally:
        shutil.rmtree(store, ignore_errors=True)
        away.rename(store)
    clone.dvc("pull")
    assert_complete(clone)


def test_committed_results_are_checked_against_the_lock(published, tmp_path):
    check = (sys.executable, "-m", "convpress.workflow.checkresults")
    clone = published.clone(tmp_path / "clone")
    said = clone.call(*check)
    assert "5 outputs compared" in said, "what git holds can be checked without a pull"
    clone.dvc("pull")
    said = clone.call(*check)
    assert "11 outputs compared with dvc.lock, 0 differ" in said
    assert "warning" not in said
    clone.dvc("remote", "modify", "share", "verify", "false")
    assert "call `dvc remote modify share verify true`" in clone.call(*check)
    table = clone.folder / "results/cifar10/tables/baselines.csv"
    table.write_text(table.read_text() + "\n")
    (clone.folder / "results/cifar10/summary.json").unlink()
    said = clone.call(*check, check=False)
    assert "results/cifar10/tables: its checksum is" in said
    assert "results/cifar10/summary.json: is missing" in said
    assert "2 differ or are missing" in said
    (clone.folder / "dvc.lock").unlink()
    said = clone.call(*check, check=False)
    assert said == "convpress: dvc.lock is not there yet: call `dvc repro`, or `dvc commit -f` after `make reproduce`\n"


def test_every_remote_of_the_readme_is_verified():
    text = (ROOT / "README.md").read_text()
    names = re.findall(r"dvc remote add (?:--default )?(\w+)", text)
    assert names
    assert [name for name in names if f"dvc remote modify {name} verify true" not in text] == []
