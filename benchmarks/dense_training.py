"""Training of factorised layers through their dense kernel, against their convolutions one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from convpress.layers.factorised import FactorisedConv2d
from convpress.sensitivity import FAMILIES, ranks_for
from record import record

SHAPES = {
    "16": (16, 16, 32, 1),
    "16 to 32": (16, 32, 32, 2),
    "32": (32, 32, 16, 1),
    "64": (64, 64, 8, 1),
    "256": (256, 256, 8, 1),
}
"""In and out channels, size of the images and stride: the convolutions of ResNet-20, and a wide one."""
COMPRESSIONS = (2, 4)
TURNS, BATCH = 9, 128


def milliseconds(layer: Callable[[Tensor], Tensor], x: Tensor, bf16: bool) -> float:
    """One pass forward and back."""
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
        loss = layer(x).float().square().mean()
    loss.backward()
    return 1000 * (time.perf_counter() - start)


class _Dense:
    """Before a layer class in the order of resolution: it learns through the dense kernel whatever it would choose."""

    learns_dense = True


def through_the_kernel(layer: FactorisedConv2d) -> FactorisedConv2d:
    """The layer, made to learn through its dense kernel."""
    layer.__class__ = type("Dense", (_Dense, type(layer)), {})
    return layer


def measured(kind: str, case: str, compression: int, bf16: bool) -> dict[str, object]:
    """A row: medians of alternating turns."""
    channels, filters, size, stride = SHAPES[case]
    ranks = ranks_for(kind, (filters, channels, 3, 3), compression)
    geometry = {"stride": stride, "padding": 1, "bias": False}
    layer: Any = FAMILIES[kind].layer
    layer = layer(channels, filters, ranks, 3, **geometry).to(memory_format=torch.channels_last)
    chosen = layer.learns_dense
    x = torch.randn(BATCH, channels, size, size).to(memory_format=torch.channels_last).requires_grad_()
    ways = (through_the_kernel(layer), layer.chain)
    turns = torch.tensor([[milliseconds(way, x, bf16) for way in ways] for _ in range(TURNS + 1)])[1:]
    dense, chain = turns.median(0).values.tolist()
    kernel_macs = channels * filters * 9
    return {
        "case": f"{kind}, {case} channels, {compression}x",
        "group": f"{'bfloat16' if bf16 else 'float32'}, {'chosen' if chosen else 'not chosen'}",
        "quantity": "forward and back",
        "unit": "ms",
        "ours": dense,
        "reference": chain,
        "ratio": chain / dense,
        "macs a value": kernel_macs / layer.between,
    }


def main() -> None:
    """Print and keep a row for each family, shape, compression and precision."""
    torch.set_num_threads(1)
    cases = product(FAMILIES, SHAPES, COMPRESSIONS, (True, False))
    rows = [measured(*case) for case in cases]
    print(tabulate([list(row.values()) for row in rows], headers=list(rows[0]), floatfmt=".2f"))
    kept = [{key: value for key, value in row.items() if key != "macs a value"} for row in rows]
    record("dense_training", [row for row in kept if not str(row["group"]).endswith("not chosen")])


if __name__ == "__main__":
    main()
