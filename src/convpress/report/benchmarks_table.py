"""The README's table of benchmarks: how many times better each thing is than what it is held against."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from convpress.report import wording as say

AGAINST = {
    "alexnet_memory": "6 GiB",
    "allocator": "the C library's own settings",
    "dag_build": "1 x the grid",
    "dense_training": "its convolutions one after the other",
    "merging_latency": "the dense network",
    "strided_gradient": "the strided convolution itself",
    "sweep_reuse": "each point from the image on",
    "train_throughput": "a plain loop in float32",
}
"""What the cases of a benchmark are held against; the decompositions have several peers, named in their groups."""
PEERS = {
    "parafac": "parafac, the same starts, each to its end",
    "pyTensorlab": "pyTensorlab, 4 starts",
    "cp: tensorly": "parafac, the same starts, each to its end",
    "tucker: tensorly": "partial_tucker, the same start",
    "tensor_chain: tensorly": "tensor_ring_als, 4 random starts",
}
NOTE = (
    "Our CP lets starts compete and drops the worse half every 20 iterations: 64 starts for the smallest kernels down "
    "to 8 for the largest (all families at 2x: 32 to 4), and its seconds are those of all of them. parafac gets the "
    "same starts but runs each to its end, pyTensorlab gets 4, and tensor_ring_als, which takes none, draws its own."
)
LIMIT = (
    "The limit of merging_latency is a network with a single channel left in each block: merging channels cannot be "
    "faster, on the machine of that row."
)
"""Of rows that the README leaves out."""
NOT_IN_SHORT = ("again", "limit", "folded", "wide layers")
"""Words of groups that tell how to read others, or are of single layers; the README leaves them out."""
BETTER = {"": "as exact", "GiB": "as small"}
"""What more of a ratio means, by the unit; all other units are of time."""


def reference(benchmark: str, group: str) -> str:
    """What the cases of a group are held against, by the names of its benchmark and of the group."""
    what, _, peer = group.partition(" against ")
    family = what.rpartition(": ")[0]
    return PEERS.get(f"{family}: {peer}") or PEERS.get(peer) or AGAINST.get(benchmark, peer)


def benchmark_rows(path: Path) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Header and rows of the table, a row a group: the median, the worst and the best of its cases."""
    header = ("benchmark", "what", "against", "cases", "median", "worst to best", "machine", "date")
    if not path.exists():
        return header, []
    frame = pd.read_csv(path, keep_default_na=False)
    rows: list[tuple[object, ...]] = []
    for (benchmark, group, machine, date), part in frame.groupby(["benchmark", "group", "machine", "date"], sort=False):
        what = group.partition(" against ")[0]
        against = part["against"].iloc[0] if "against" in part else ""
        against = against or reference(benchmark, group)
        if against and what.startswith(against):
            continue  # held against itself
        ratio, unit = part["ratio"], part["unit"].iloc[0]
        worst, median, best = (_factor(value, unit) for value in (ratio.min(), ratio.median(), ratio.max()))
        better = f"{median} {BETTER.get(unit, 'as fast')}"
        rows.append((benchmark, what, against, len(part), better, f"{worst} to {best}", machine, date))
    return header, rows


def benchmarks_in_short(path: Path) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """As `benchmark_rows`, of each comparison the newest row alone, and none that only helps to read others."""
    header, rows = benchmark_rows(path)
    newest: dict[tuple[object, ...], tuple[object, ...]] = {}
    for row in sorted(rows, key=lambda row: str(row[-1])):
        if not any(word in str(row[1]) for word in NOT_IN_SHORT):
            newest[row[:3]] = row
    return header, [row for row in rows if row in newest.values()]


def _factor(ratio: float, unit: str) -> str:
    """Errors lie so close to each other that the fifth decimal tells them apart."""
    return f"{ratio:.5f}×" if unit == "" else say.factor(ratio)
