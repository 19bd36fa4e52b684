"""When Snakemake starts: checks once a configuration, one run at a time, nothing left over, jobs keep their memory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open

from convpress.errors import ConvpressError
from convpress.workflow.codehash import code_hash
from convpress.workflow.places import checkpoint_places

NEARLY_FULL_MB = 100
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What flock answers on file systems that cannot lock, as on some clusters."""
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "MALLOC_TOP_PAD_": str(1 << 30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""Settings of glibc, see mallopt(3): freed memory stays with the process, and comes in huge pages where the kernel has
them. Other C libraries do not read them."""
TEMPORARY = re.compile(r"\.(\d{1,9})-[0-9a-f]{8}-.+")
"""Names that `atomic_path` gives to unfinished files, and in them the process that writes."""
SOURCES = Path(__file__).resolve().parents[2]


def check_python(path: str) -> None:
    """Refuse a Python that no job could be started with: Snakemake puts its path into commands without quotes."""
    if re.search(r"[\s\"'\\$`&|;<>()]", path):
        raise ConvpressError(
            f"{path}: the shell cannot start Python by this path, which has blanks or signs of its own; move the "
            "project to a folder without them and call make install there"
        )


def check_writable(folder: Path) -> None:
    """Refuse a results folder that cannot be made or written, before anything is computed for it."""
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    it = "it" if nearest == folder else nearest
    # os.path, because pathlib raises PermissionError below a folder that cannot be entered.
    if os.path.exists(nearest) and not os.path.isdir(nearest):  # noqa: PTH110, PTH112
        raise ConvpressError(f"{folder}: {it} is a file, not a folder; move it away")
    # A read-only mount is writable to root by its rights; os.access asks the file system as well.
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConvpressError(f"{folder}: {it} cannot be written; change its rights or the disk it lies on")


def keep_freed_memory(environment: MutableMapping[str, str]) -> None:
    """Let jobs that are started with `environment` keep the memory that they free; what the user has set stays.

    By default every activation of a large batch goes back to the kernel, which hands it out again page by page. How
    much time that takes (benchmarks/allocator.py) depends on what the process has done before.
    """
    for name, value in ALLOCATOR.items():
        environment.setdefault(name, value)


def check_networks(config: Mapping[str, Any], records: Path) -> None:
    """Call `preflight.check_layers`, unless the same configuration has passed it with the same code before.

    That check builds the networks and so imports torch, which takes longer than all the rest of a dry run. An empty
    file in `records`, named by the hash of configuration, code and the time stamps of the checkpoints that are there,
    remembers that it passed.

    Raises `ConvpressError` as the check does.
    """
    # Found by name, not by import.
    networks = [f"convpress.models.{file.stem}" for file in sorted((SOURCES / "convpress" / "models").glob("[!_]*.py"))]
    code = code_hash(Path(__file__).with_name("preflight.py"), (SOURCES,), networks, known=records.with_name("code"))
    named = [entry["checkpoint"] for entry in config["models"].values() if entry["checkpoint"]]
    places = [path for checkpoint in named for path in checkpoint_places(checkpoint)]
    files = [(str(path), path.stat().st_mtime_ns) for path in places if path.is_file()]
    text = json.dumps([config, files], sort_keys=True) + code
    record = records / hashlib.sha256(text.encode()).hexdigest()[:16]
    if record.exists():
        return
    from convpress.workflow.preflight import check_layers

    check_layers(config)
    with contextlib.suppress(OSError):  # a read-only folder is checked again next time
        records.mkdir(parents=True, exist_ok=True)
        record.touch()


def nearly_full_disks(folders: Iterable[Path]) -> list[str]:
    """A sentence for each folder whose disk is nearly full: libraries say it in words of their own, or not at all."""
    found = []
    for folder in folders:
        there = os.path.exists(folder)  # noqa: PTH110 - pathlib raises where it may not look
        if there and (left := shutil.disk_usage(folder).free / 1e6) < NEARLY_FULL_MB:
            found.append(
                f"{folder}: only {left:.1f} MB are left on its disk; make room and call the same command again, "
                "nothing finished is lost"
            )
    return found


def lock_folder(path: Path) -> IO[str]:
    """Take the lock that a run holds on its folder, and return the open file: the lock lasts until it is closed.

    The kernel drops the lock when the process ends, however it ends, so a stale lock cannot exist. Processes started
    from this one do not inherit it.

    Raises `ConvpressError` that names the process which has the lock, or the folder whose disk knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise ConvpressError(
            f"another run is at work in this folder ({holder}); wait until it ends, or stop it and call again"
        ) from None
    except OSError as error:
        file.close()
        if error.errno not in WITHOUT_LOCKS:
            raise
        raise ConvpressError(
            f"{path.parent.absolute()}: the file system there cannot lock files ({error.strerror}); move the project "
            "to a disk that can, or mount this one with locks"
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {os.uname().nodename}")
    file.flush()
    return file


def check_whole(folder: Path) -> None:
    """Refuse files of tensors below `folder` that a power cut or a full disk has cut off; jobs would find them late.

    Raises `ConvpressError` that names them all.
    """
    damaged = []
    for path in filter(Path.is_file, sorted(folder.rglob("[!.]*.safetensors"))):
        try:
            with safe_open(path, framework="numpy"):
                pass  # opening compares the header with the length of the file
        except SafetensorError:
            damaged.append(str(path))
    if damaged:
        them = "it" if len(damaged) == 1 else "them"
        raise ConvpressError(
            f"{', '.join(damaged)}: cut off or damaged; delete {them} and run the same command again, "
            "what was made from sound files stays"
        )


def wait_for_jobs(path: Path) -> None:
    """Wait for the jobs of a killed run, which hold a shared lock on `path` as long as they live.

    They would put their results over those of a run that has started anew with another configuration.
    """
    with path.open("a+") as file, contextlib.suppress(OSError):  # without locks, as on some clusters, nobody waits
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("convpress: jobs of a run that was killed are still at work here; waiting for them", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)


def without_records(results: Path, metadata: Path) -> str:
    """A sentence about results that came without Snakemake's records of how they were made; empty when they have some.

    Snakemake takes such a file that is asked for by its name for up to date, whatever the parameters are.
    """
    summary = results / "summary.json"
    if not summary.exists() or (metadata / urlsafe_b64encode(str(summary).encode()).decode()).exists():
        return ""
    return (
        f"{results} came without Snakemake's records of how it was made (`dvc pull` brings them): the whole run is "
        "computed anew, but a single file asked for by its name counts as up to date, whatever the parameters are"
    )


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Delete the unfinished files of killed processes below `folders`; call it under the lock.

    A job of a killed run that is still at work on another machine loses its file and fails; this run does its work.
    """
    for folder in folders:
        for path in folder.rglob(".*"):
            found = TEMPORARY.fullmatch(path.name)
            if found and not _lives(int(found[1])):
                with contextlib.suppress(OSError):  # what cannot be deleted does no harm
                    path.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
