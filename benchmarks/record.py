"""What the benchmarks share: pretrained networks, and results/benchmarks.csv to hold later changes against."""

import datetime
import os
import sys
import tempfile
from pathlib import Path

import pandas as pd
from torch import nn

from convpress.checkpoints import import_pretrained
from convpress.files import write_csv
from convpress.inputs import fetch_checkpoint
from convpress.models.registry import create_model
from convpress.provenance import processor
from convpress.report.benchmarks_table import reference
from convpress.workflow.startup import ALLOCATOR, keep_freed_memory

FILE = Path(__file__).resolve().parents[1] / "results" / "benchmarks.csv"


def keep_memory() -> None:
    """Start this program anew with the allocator's settings of the workflow's jobs, unless it has them.

    Without them each pass asks the system for its memory again, how much of it depends on what lies where.
    """
    if not os.environ.keys() >= ALLOCATOR.keys():
        keep_freed_memory(os.environ)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def pretrained(architecture: str, checkpoint: str, path: Path | None = None) -> nn.Module:
    """The network with the weights of `checkpoint`: of the file `path`, or from the mirror or a download.

    Raises:
        ConvpressError: there is no such checkpoint to be had, or it does not fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / checkpoint
            fetch_checkpoint(checkpoint, path)
        return import_pretrained(path, create_model(architecture))


def record(benchmark: str, rows: list[dict[str, object]], file: Path = FILE) -> None:
    """Put `rows` (case, quantity, unit, ours, reference, ratio) in the place of this machine's earlier ones.

    Cases of one `group` (else: each case) are one line of the README, which says what they are held `against`. `ratio`
    is how many times better ours is than the reference; each benchmark says how it was measured.
    """
    old = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["benchmark", "machine"])
    machine = f"{processor()}, {os.cpu_count()} cores"
    rows = [{"group": row["case"]} | row for row in rows]
    rows = [{"against": reference(benchmark, str(row["group"]))} | row for row in rows]
    new = pd.DataFrame(rows).assign(machine=machine, date=datetime.datetime.now(tz=datetime.UTC).date().isoformat())
    new.insert(0, "benchmark", benchmark)
    kept = old[(old["benchmark"] != benchmark) | (old["machine"] != machine)]
    frame = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    write_csv(frame.sort_values(["benchmark", "machine", "case"], ignore_index=True), file)
    print(f"recorded in {file}")
