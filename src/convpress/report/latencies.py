"""Columns of time in the tables of studies whose networks are timed in turns."""

from __future__ import annotations

from typing import Any

from convpress.report.reading import read_rows
from convpress.report.tables import CONDITIONS

Times = dict[tuple[str, str], dict[str, Any]]
"""By study and variant: latency_ms, its quartiles latency_q1_ms and latency_q3_ms, and their conditions."""


def read_times(path: str) -> Times:
    """Times of one float32 batch of the largest size in PyTorch, from a file that `baseline_latency` wrote."""
    frame = read_rows(path)
    rows = frame[(frame["dtype"] == "float32") & (frame["batch_size"] == frame["batch_size"].max())]
    names = {"median_ms": "latency_ms", "q1_ms": "latency_q1_ms", "q3_ms": "latency_q3_ms"}
    return {
        tuple(row["name"].split("/", 1)): {new: row[old] for old, new in names.items()}
        | {name: row[name] for name in (*CONDITIONS, "device")}
        for row in rows.to_dict("records")
    }


def time_columns(times: Times, study: str, variant: str, model: str) -> dict[str, Any]:
    """A network's times, and how many times faster it is than the baseline `model` of the same turns."""
    found = times[study, variant]
    return found | {"speedup": times["baseline", model]["latency_ms"] / found["latency_ms"]}
