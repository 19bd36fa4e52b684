"""Results travel through a real SSH server to a clone, where nothing has to run again.

The jobs are stubs; all files, records, checksums, git and DVC are real.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import LOST, Repository, assert_complete, object_of

pytestmark = pytest.mark.workflow


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


def let_in(clone: Repository, server: Server) -> None:
    """Give the clone the key for its remote `lab`."""
    clone.dvc("remote", "modify", "--local", "lab", "keyfile", str(server.key))


@pytest.fixture(scope="module")
def lab(published, server, tmp_path_factory) -> Repository:
    """A clone that has pushed its results to the SSH server."""
    clone = published.clone(tmp_path_factory.mktemp("lab") / "clone")
    clone.dvc("pull")
    clone.add_remote("lab", server.url)
    with server.running():
        assert "ermission denied" in clone.dvc("push", check=False)
        let_in(clone, server)
        clone.dvc("push")
    clone.commit()
    return clone


def test_an_ssh_server(lab, server, tmp_path):
    clone = lab.clone(tmp_path / "clone")
    with server.running():
        assert "ermission denied" in clone.dvc("pull", check=False)
        assert not (clone.folder / "results/cifar10/models").exists()
        let_in(clone, server)
        clone.dvc("pull")
    assert_complete(clone)


def test_an_ssh_server_that_is_away_loses_nothing(lab, server, tmp_path):
    clone = lab.clone(tmp_path / "clone")
    let_in(clone, server)
    assert "failed to pull" in clone.dvc("pull", check=False)
    assert clone.git("status", "--porcelain") == ""
    assert not (clone.folder / "results/cifar10/models").exists()


def test_a_damaged_object_of_an_ssh_server_is_refused(lab, server, tmp_path):
    content = (lab.folder / LOST).read_bytes()
    damaged = object_of(content, server.folder / "store")
    clone = lab.clone(tmp_path / "clone")
    let_in(clone, server)
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    with server.running():
        said = clone.dvc("pull", check=False)
    damaged.write_bytes(content)
    assert "failed to pull" in said
    assert "results/cifar10/models" in said
    assert not any(path.read_bytes() == b"damaged" for path in clone.folder.rglob("*") if path.is_file())
