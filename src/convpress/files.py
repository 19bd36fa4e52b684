"""Writing files so that they are either whole or not there, and checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convpress.errors import ConvpressError

if TYPE_CHECKING:
    import pandas as pd


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary name in the folder of `path`; when the block ends well, rename it to `path`.

    The temporary name keeps the suffix, because many writers choose their format by it. The file is on disk
    (fsync) before it gets its name, so a crash leaves the old file or the new one, never a part of it. When
    the block raises, the temporary file is removed and `path` stays as it was. Missing folders are made.

    Raises:
        ConvpressError: `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise ConvpressError(f"{path}: this is a folder; give the name of a file, such as one in it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    # The rename itself must reach the disk as well; some file systems cannot sync folders.
    with contextlib.suppress(OSError):
        _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file as 64 hex digits."""
    return _digest(path, "sha256")


def md5_file(path: Path | str) -> str:
    """MD5 of a file as 32 hex digits (what DVC and the CIFAR-10 page give; no protection against malice)."""
    return _digest(path, "md5")


def _digest(path: Path | str, algorithm: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def write_csv(rows: pd.DataFrame | Sequence[Mapping[str, object]], path: Path | str) -> None:
    """Write rows as CSV, atomically; floats with the digits that give them back exactly."""
    import pandas as pd  # slow to import, and most jobs write no table

    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def write_json(data: object, path: Path | str) -> None:
    """Write plain data as JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
