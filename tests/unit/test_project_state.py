"""The commit that a page names: results that a run makes anew are no change of the project."""

import subprocess

import pytest

from convpress.report.project_state import project_state


@pytest.fixture
def project(tmp_path):
    (tmp_path / "results").mkdir()
    for name in ("code.py", "results/table.csv"):
        (tmp_path / name).write_text("1\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_changed_code_marks_the_commit_and_changed_results_do_not(project):
    commit = project_state(project)
    assert len(commit) >= 7
    (project / "results" / "table.csv").write_text("2\n")
    (project / "notes.txt").write_text("not in git\n")
    assert project_state(project) == commit
    assert project_state(project / "results") == commit
    (project / "code.py").write_text("2\n")
    assert project_state(project) == f"{commit}-dirty"
    assert project_state(project / "results") == f"{commit}-dirty"


def test_outside_git_it_is_unknown(tmp_path):
    assert project_state(tmp_path) == "unknown"
