"""Results beside their lock, with checksums that DVC gave, and remotes that do not verify what they hand out."""

import re
import shutil

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


def test_a_configuration_that_is_no_text_is_named(tmp_path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_bytes(b"[core]\n    url = \xff\xfe\n")
    with pytest.raises(ConvpressError, match=r"\.dvc/config: cannot be read \(UnicodeDecodeError\)"):
        unverified_remotes(tmp_path)


OUTPUTS = """
stages:
  workflow:
    outs:
    - path: summary.json
      md5: 8a80554c91d9fca8acb82f023de02f11
    - path: tables
      md5: 30eefd8ea2fa9c54a40438a9a4bca797.dir
"""
DECLARED = "stages: {workflow: {outs: [tables: {persist: true}, summary.json: {cache: false}]}}"


@pytest.fixture
def results(tmp_path):
    """A file that is in git and a folder that DVC fetches, as `dvc add` sums them up."""
    for name, text in (("summary.json", "{}\n"), ("tables/b.csv", "1\n"), ("tables/deep/a.csv", "2\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "dvc.lock").write_text(OUTPUTS)
    (tmp_path / "dvc.yaml").write_text(DECLARED)
    return tmp_path


def empty_tables(root):
    """As a dry run of Snakemake leaves `.snakemake/metadata` in a fresh clone."""
    shutil.rmtree(root / "tables")
    (root / "tables" / "deep").mkdir(parents=True)


def test_results_that_match_the_lock_pass(results, capsys):
    (results / "tables" / ".17-0123abcd-b.csv").write_text("unfinished")
    assert main(results) == 0
    assert capsys.readouterr().out == "2 outputs compared with dvc.lock, 0 differ or are missing\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "summary.json").unlink(), ["summary.json: is missing", "1 outputs .*, 1 differ"]),
        (lambda root: shutil.rmtree(root / "tables"), ["1 outputs compared .*, 0 differ"]),
        (empty_tables, ["1 outputs compared .*, 0 differ"]),
        (
            lambda root: (root / "tables/deep/a.csv").rename(root / "tables/a.csv"),
            [r"tables: its checksum is \w{32}\.dir, dvc.lock has 30eef.*\.dir", "2 outputs .*, 1 differ"],
        ),
        (
            lambda root: (root / "summary.json").write_text("{ }\n"),
            [r"summary\.json: its checksum is \w{32}, dvc.lock has 8a805", "2 outputs .*, 1 differ"],
        ),
    ],
)
def test_what_is_not_as_the_lock_says_is_named(results, capsys, change, said):
    change(results)
    assert main(results) == (len(said) > 1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(said)
    for line, pattern in zip(lines, said, strict=True):
        assert re.match(pattern, line)


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        (None, "is not there yet: call `dvc repro`"),
        ("", "and dvc.yaml hold no stage 'workflow' together"),
        ("stages: {other: {outs: []}}", "and dvc.yaml hold no stage 'workflow' together"),
        ("<<<<<<< HEAD\nstages: {", "and dvc.yaml hold no stage 'workflow' together"),
    ],
)
def test_a_lock_that_is_of_no_use_is_said_in_one_sentence(results, capsys, lock, said):
    (results / "dvc.lock").unlink()
    if lock is not None:
        (results / "dvc.lock").write_text(lock)
    assert main(results) == 1
    assert capsys.readouterr().err.startswith(f"convpress: dvc.lock {said}")


@pytest.mark.parametrize(
    ("declared", "code"),
    [
        ("stages: {workflow: {outs: [tables, summary.json: {cache: false}]}}", 0),
        ("stages: {workflow: {outs: [tables: null, summary.json]}}", 0),
        (None, 1),
    ],
)
def test_outputs_without_options_are_read_and_a_missing_dvc_yaml_is_told(results, capsys, declared, code):
    (results / "dvc.yaml").unlink()
    if declared:
        (results / "dvc.yaml").write_text(declared)
    assert main(results) == code
    assert ("take them from git again" in capsys.readouterr().err) == bool(code)


def test_a_remote_is_known_however_it_is_written(tmp_path):
    (tmp_path / ".dvc").mkdir()
    sections = [
        '[remote "a"]',
        "verify = true  # why",
        "['remote \"b\"']",
        'verify = "true"',
        '[remote "c"]',
        "url = /c",
    ]
    (tmp_path / ".dvc" / "config").write_text("\n".join(sections))
    assert unverified_remotes(tmp_path) == ["c"]
