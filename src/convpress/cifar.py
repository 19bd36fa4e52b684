"""Reading the official files of CIFAR-10: the python archive, the binary archive, the folder of binary files.

All give the same arrays. Layout after A. Krizhevsky, www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convpress.errors import ConvpressError

# The function that pickled arrays call; numpy has moved it around, so it is asked for.
_reconstruct = np.empty(0).__reduce__()[0]

PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS
RECORDS = 10_000
"""Images a file."""

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
BINARY_FOLDER = "cifar-10-batches-bin"
PYTHON_FOLDER = "cifar-10-batches-py"

Batch = tuple[np.ndarray, np.ndarray]
"""Pixels (records, 3072) uint8 and labels (records,) uint8."""


def read_binary_folder(folder: Path, records: int = RECORDS) -> dict[str, Tensor]:
    """Read ``data_batch_1.bin`` to ``test_batch.bin`` of a folder.

    Returns ``train_images`` (5 * records, 3, 32, 32) uint8, ``train_labels`` int64, ``test_images``,
    ``test_labels``.

    Raises:
        ConvpressError: a file is missing, has another size, or holds a label above 9; the message names it.
    """

    def read(name: str) -> Batch:
        path = folder / f"{name}.bin"
        try:
            return _parse_binary(path.read_bytes(), str(path), records)
        except OSError as error:
            raise ConvpressError(f"{path}: cannot be read ({error.strerror}).") from error

    return _assemble(read)


def read_archive(path: Path, records: int = RECORDS) -> dict[str, Tensor]:
    """Read the python or the binary archive (``.tar.gz``) without unpacking it to disk; arrays as above.

    Raises:
        ConvpressError: the archive is damaged or incomplete, or a file in it is not as it should be.
    """
    try:
        with tarfile.open(path, "r:gz") as archive:
            members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
            python = f"{PYTHON_FOLDER}/{BATCHES[0]}" in members

            def read(name: str) -> Batch:
                inside = f"{PYTHON_FOLDER}/{name}" if python else f"{BINARY_FOLDER}/{name}.bin"
                if inside not in members:
                    raise ConvpressError(f"{path}: {inside} is missing in it; delete the file and fetch it again.")
                file = archive.extractfile(members[inside])
                content = file.read() if file else b""
                return (_parse_python if python else _parse_binary)(content, f"{path}: {inside}", records)

            return _assemble(read)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ConvpressError(f"{path}: damaged or not a tar.gz ({error}); delete it and fetch it again.") from error


def _assemble(read: Callable[[str], Batch]) -> dict[str, Tensor]:
    *train, test = (read(name) for name in BATCHES)
    result = {}
    for part, batches in (("train", train), ("test", [test])):
        pixels = np.concatenate([pixels for pixels, _ in batches])
        labels = np.concatenate([labels for _, labels in batches])
        result[f"{part}_images"] = torch.from_numpy(pixels.reshape(-1, 3, 32, 32))
        result[f"{part}_labels"] = torch.from_numpy(labels.astype(np.int64))
    return result


def _parse_binary(content: bytes, where: str, records: int) -> Batch:
    if len(content) != records * RECORD:
        raise ConvpressError(
            f"{where}: {len(content):,} bytes where {records * RECORD:,} belong; fetch the file again."
        )
    table = np.frombuffer(content, dtype=np.uint8).reshape(records, RECORD)
    return table[:, 1:], _checked_labels(table[:, 0], where)


def _parse_python(content: bytes, where: str, records: int) -> Batch:
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = batch[b"data"], np.asarray(batch[b"labels"], dtype=np.int64)
        right = pixels.shape == (records, PIXELS) and pixels.dtype == np.uint8 and labels.shape == (records,)
    except ConvpressError as error:
        raise ConvpressError(f"{where}: {error}") from error
    except Exception as error:  # a damaged pickle makes the unpickler raise almost anything
        raise ConvpressError(f"{where}: not a CIFAR-10 batch ({error!r}); fetch the file again.") from error
    if not right:
        raise ConvpressError(
            f"{where}: {pixels.dtype} pixels {pixels.shape} and labels {labels.shape} where uint8 "
            f"({records}, {PIXELS}) and ({records},) belong; fetch the file again."
        )
    return pixels, _checked_labels(labels, where)


def _checked_labels(labels: np.ndarray, where: str) -> np.ndarray:
    bad = np.flatnonzero((labels < 0) | (labels > 9))
    if len(bad):
        raise ConvpressError(
            f"{where}: record {bad[0]} has the label {labels[bad[0]]}, 0 to 9 is allowed; fetch it again."
        )
    return labels.astype(np.uint8)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads the dicts of arrays that Python 2 pickled, and refuses every name that arrays do not need."""

    def find_class(self, module: str, name: str) -> Any:
        """Give the few functions that rebuild an array."""
        root, _, rest = module.partition(".")
        if root == "numpy" and rest in ("", "core.multiarray", "_core.multiarray"):
            if name == "_reconstruct" and rest:
                return _reconstruct
            if name == "ndarray" and not rest:
                return np.ndarray
            if name == "dtype" and not rest:
                return _dtype
        raise ConvpressError(f"refused, its pickle wants to use {module}.{name}; fetch the file again.")


def _dtype(kind: Any, align: Any = False, copy: Any = True) -> np.dtype:
    # Old pickles have 0 and 1 for the flags, which numpy deprecates.
    return np.dtype(kind, align=bool(align), copy=bool(copy))
