"""Remotes that do not verify what they hand out. (That checksums are compared is tested with real DVC.)"""

import pytest

from convpress.errors import ConvpressError
from convpress.workflow.checkresults import main, unverified_remotes

LOCK = "stages: {workflow: {outs: []}}"
CONFIG = """
[core]
    remote = lab
['remote "lab"']
    url = ssh://user@host/store?50%
    verify = true
['remote "bare"']
    url = /store/bare
['remote "mended"']
    url = /store/mended
"""
LOCAL = """
['remote "lab"']
    keyfile = /home/user/.ssh/id_ed25519
['remote "mended"']
    verify = true
['remote "own"']
    url = /store/own
    verify = false
"""


@pytest.fixture
def project(tmp_path):
    """Remotes as DVC writes them: verified or not, in git or in the file that stays on the machine."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(CONFIG)
    (tmp_path / ".dvc" / "config.local").write_text(LOCAL)
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "dvc.yaml").write_text(LOCK)
    return tmp_path


def test_remotes_without_verification_are_named(project, capsys):
    assert unverified_remotes(project) == ["bare", "own"]
    assert main(project) == 0, "a warning is no difference"
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("`")[2] for line in said] == [f"dvc remote modify {n} verify true`" for n in ("bare", "own")]


def test_without_a_remote_there_is_nothing_to_warn_of(tmp_path):
    assert unverified_remotes(tmp_path) == []


def test_a_damaged_configuration_is_named(tmp_path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("verify = true")
    with pytest.raises(ConvpressError, match=r"\.dvc/config: cannot be read"):
        unverified_remotes(tmp_path)
