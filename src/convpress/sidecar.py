"""What metrics were computed with, in a file beside them: tables have no place for it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convpress.files import write_json
from convpress.provenance import result_record

SUFFIX = ".provenance.json"


def write_record(
    inputs: Iterable[str | Path],
    *paths: str | Path,
    seed: int | None,
    code: str,
    compute: dict[str, Any],
    packages: Iterable[str] = (),
) -> None:
    """Write `<path>.provenance.json` for each of `paths`, metrics that one job computed from the files `inputs`.

    Its arguments and keys are those of `result_record`; `packages` are recorded besides those that every result depends
    on.

    Raises:
        PackageNotFoundError: one of `packages` is not installed.
        OSError: an input cannot be read.
    """
    record = result_record(sorted(map(str, inputs)), seed=seed, code=code, compute=compute)
    record["packages"] |= {name: version(name) for name in packages}
    for path in paths:
        write_json(record, f"{path}{SUFFIX}")
