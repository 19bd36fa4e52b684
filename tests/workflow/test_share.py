"""Results travel: through a folder or a real SSH server to a clone, where nothing has to run again.

The jobs are stubs; all files, records, checksums, git and DVC are real.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
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
LOST = "results/cifar10/models/control/resnet8.safetensors"
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

    def let_in(self, server: Server) -> None:
        """Give the key for the remote `lab` here."""
        self.dvc("remote", "modify", "--local", "lab", "keyfile", str(server.key))

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


class Server:
    """An SSH server on the loopback interface, which lets in who has the key `folder`/user."""

    def __init__(self, program: str, folder: Path) -> None:
        self.folder, self.key = folder, folder / "user"
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {
            "Port": self.port,
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
        self.command = [program, "-D", "-f", str(folder / "config"), "-E", str(folder / "log")]
        self.url = f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{folder}/store"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """As long as the block lasts."""
        with subprocess.Popen(self.command) as process:
            try:
                for _ in range(100):
                    with socket.socket() as probe:
                        if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                            break
                    time.sleep(0.1)
                else:
                    raise AssertionError((self.folder / "log").read_text())
                yield
            finally:
                process.terminate()
                process.wait(10)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Server:
    """An SSH server that is not running yet."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
    if not program or not shutil.which("ssh-keygen"):
        assert not os.environ.get("CI"), "openssh-server must be installed where CI is set"
        pytest.skip("openssh-server is not installed")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return Server(program, tmp_path_factory.mktemp("sshd"))


@pytest.fixture(scope="module")
def lab(published, server, tmp_path_factory) -> Repository:
    """A clone that has pushed its results to the SSH server."""
    clone = published.clone(tmp_path_factory.mktemp("lab") / "clone")
    clone.dvc("pull")
    clone.add_remote("lab", server.url)
    with server.running():
        assert "ermission denied" in clone.dvc("push", check=False)
        clone.let_in(server)
        clone.dvc("push")
    clone.commit()
    return clone


def object_of(content: bytes, store: Path) -> Path:
    """The file of a remote that holds `content`."""
    return next(path for path in store.rglob("*") if path.is_file() and path.read_bytes() == content)


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


def test_an_ssh_server(lab, server, tmp_path):
    clone = lab.clone(tmp_path / "clone")
    with server.running():
        assert "ermission denied" in clone.dvc("pull", check=False)
        assert not (clone.folder / "results/cifar10/models").exists()
        clone.let_in(server)
        clone.dvc("pull")
    assert_complete(clone)


def test_an_ssh_server_that_is_away_loses_nothing(lab, server, tmp_path):
    clone = lab.clone(tmp_path / "clone")
    clone.let_in(server)
    assert "failed to pull" in clone.dvc("pull", check=False)
    assert clone.git("status", "--porcelain") == ""
    assert not (clone.folder / "results/cifar10/models").exists()


def test_a_damaged_object_of_an_ssh_server_is_refused(lab, server, tmp_path):
    content = (lab.folder / LOST).read_bytes()
    damaged = object_of(content, server.folder / "store")
    clone = lab.clone(tmp_path / "clone")
    clone.let_in(server)
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    with server.running():
        said = clone.dvc("pull", check=False)
    damaged.write_bytes(content)
    assert "failed to pull" in said
    assert "results/cifar10/models" in said
    assert not any(path.read_bytes() == b"damaged" for path in clone.folder.rglob("*") if path.is_file())


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
    damaged = object_of((published.folder / LOST).read_bytes(), store)
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
