"""Keeping what a benchmark measured in results/benchmarks.csv, so that a later change can be held against it."""

import datetime
import os
from pathlib import Path

import pandas as pd

from convpress.files import write_csv
from convpress.provenance import processor

FILE = Path(__file__).resolve().parents[1] / "results" / "benchmarks.csv"


def record(benchmark: str, rows: list[dict[str, object]], file: Path = FILE) -> None:
    """Put `rows` (case, quantity, unit, ours, reference, ratio) in the place of the benchmark's earlier ones.

    Cases of one `group` (else: each case) are one line of the README. `ratio` is how many times better ours is than
    the reference; each benchmark says how it was measured.
    """
    old = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["benchmark"])
    machine = f"{processor()}, {os.cpu_count()} cores"
    rows = [{"group": row["case"]} | row for row in rows]
    new = pd.DataFrame(rows).assign(machine=machine, date=datetime.datetime.now(tz=datetime.UTC).date().isoformat())
    new.insert(0, "benchmark", benchmark)
    kept = old[old["benchmark"] != benchmark]
    frame = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    write_csv(frame.sort_values(["benchmark", "case"], ignore_index=True), file)
    print(f"recorded in {file}")
