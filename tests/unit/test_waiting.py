"""What is left of killed runs: jobs that are still at work, locks, unfinished files of others."""

import errno
import fcntl
import os
import threading
from types import SimpleNamespace

import pytest

from convpress.errors import ConvpressError
from convpress.workflow import startup
from convpress.workflow.startup import (
    check_whole,
    check_writable,
    lock_folder,
    nearly_full_disks,
    remove_leftovers,
    wait_for_jobs,
)


def test_a_run_waits_for_the_jobs_of_a_killed_one(tmp_path, capsys):
    path = tmp_path / "jobs.lock"
    wait_for_jobs(path)
    assert capsys.readouterr().err == "", "nobody is at work"
    waiting = threading.Thread(target=wait_for_jobs, args=[path], daemon=True)
    with path.open() as job:
        fcntl.flock(job, fcntl.LOCK_SH)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join(60)
    assert not waiting.is_alive()
    assert "still at work here; waiting for them" in capsys.readouterr().err


def test_without_locks_nobody_waits(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    wait_for_jobs(tmp_path / "jobs.lock")


def test_a_lock_names_its_last_holder_alone(tmp_path):
    path = tmp_path / "run.lock"
    path.write_text("process 1 on another machine")
    here = rf"\(process {os.getpid()} on {os.uname().nodename}\)"
    with lock_folder(path), pytest.raises(ConvpressError, match=here):
        lock_folder(path)


def test_unfinished_files_of_somebody_else_stay(tmp_path, monkeypatch):
    def kill(process, signal):
        raise PermissionError if process == 17 else ProcessLookupError

    monkeypatch.setattr(startup.os, "kill", kill)
    theirs, dead = tmp_path / ".17-0123abcd-net.csv", tmp_path / ".18-0123abcd-net.csv"
    names = (".12345678901-0123abcd-net.csv", ".18-readme-net.csv", ".net.18-0123abcd-net.csv")
    others = [theirs, *(tmp_path / name for name in names)]
    for path in (*others, dead):
        path.write_text("half")
    (tmp_path / ".18-0123abcd-folder").mkdir()
    remove_leftovers([tmp_path])
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / ".18-0123abcd-folder"])


@pytest.mark.parametrize(("free", "said"), [(100e6, []), (99.9e6, ["only 99.9 MB are left"])])
def test_a_disk_is_nearly_full_by_its_free_space(tmp_path, monkeypatch, free, said):
    monkeypatch.setattr(startup.shutil, "disk_usage", lambda folder: SimpleNamespace(total=1e12, used=1, free=free))
    sentences = nearly_full_disks([tmp_path])
    assert len(sentences) == len(said)
    assert all(words in sentence for words, sentence in zip(said, sentences, strict=True))


def test_one_damaged_file_is_one(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "cut.safetensors").write_bytes(b"1234567")
    with pytest.raises(ConvpressError, match=r"deep/cut\.safetensors: cut off or damaged; delete it and run"):
        check_whole(tmp_path)


@pytest.mark.parametrize("missing", [os.W_OK, os.X_OK])
def test_a_folder_without_rights_is_refused(tmp_path, monkeypatch, missing):
    """(Root may write everywhere, so the rights are made up.)"""
    monkeypatch.setattr(startup.os, "access", lambda path, mode: not mode & missing)
    with pytest.raises(ConvpressError, match=rf"run: {tmp_path} cannot be written; change its rights"):
        check_writable(tmp_path / "results" / "run")


def test_links_that_lead_nowhere_are_no_damaged_files_and_no_folders(tmp_path):
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.safetensors").mkdir()
    check_whole(tmp_path)
    (tmp_path / "results").symlink_to("/proc/nowhere")
    with pytest.raises(ConvpressError, match=r"results cannot be written"):
        check_writable(tmp_path / "results" / "run")


def test_a_folder_that_cannot_be_entered_is_refused_in_one_sentence(tmp_path, monkeypatch):
    """(Root may look everywhere, so what others meet is made up.)"""
    closed, real = tmp_path / "closed", os.stat
    closed.mkdir()

    def stat(path, *more, **options):
        if str(path).startswith(f"{closed}{os.sep}"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *more, **options)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "lstat", stat)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ConvpressError, match=rf"{closed} cannot be written"):
        check_writable(closed / "run")
    assert nearly_full_disks([closed / "run"]) == []
