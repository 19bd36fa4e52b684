"""Reading what earlier jobs made: a file that is cut off or damaged is named, with the way out."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from convpress.errors import ConvpressError

UNREADABLE = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What json, numpy and pandas raise on damaged files; their own kinds of errors are kinds of ValueError."""


def read_json(path: Path | str) -> Any:
    """Plain data of a JSON file.

    Raises:
        ConvpressError: the file is cut off or damaged.
    """
    with _naming(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def read_array(path: Path | str, name: str) -> np.ndarray:
    """One array of an .npz file.

    Raises:
        ConvpressError: the file is cut off or damaged, or has no such array.
    """
    # Opened here, because numpy leaves a damaged file open.
    with _naming(path), Path(path).open("rb") as file, np.load(file) as arrays:
        found: np.ndarray = arrays[name]
        return found


def read_rows(path: Path | str, text: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a CSV file; the columns in `text` as they stand there.

    Raises:
        ConvpressError: the file is cut off, which an unfinished last line shows, or damaged.
    """
    with _naming(path):
        content = Path(path).read_bytes()
        if not content.endswith(b"\n"):
            raise ValueError("its last line is unfinished")
        return pd.read_csv(io.BytesIO(content), dtype=dict.fromkeys(text, object))


def read_history(path: Path | str, epochs: int) -> pd.DataFrame:
    """The history of a training of so many `epochs`, a row an epoch.

    Raises:
        ConvpressError: the file is cut off or damaged, or has other epochs.
    """
    history = read_rows(path)
    with _naming(path):
        last = last_epoch(history)
        if last != epochs:
            raise ValueError(f"it ends with epoch {last} of {epochs}")
    return history


def last_epoch(history: pd.DataFrame) -> int:
    """Epochs of a training by its history; 0 without one."""
    return int(history["epoch"].max()) if len(history) else 0


@contextmanager
def _naming(path: Path | str) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        reason = str(error).strip()
        raise ConvpressError(
            f"{path}: cut off or damaged ({reason}); delete it and run the same command again, it is made anew"
        ) from error
