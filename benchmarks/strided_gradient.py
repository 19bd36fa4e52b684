"""The gradient of a strided CP layer: all pixels convolved and some dropped, against the strided convolution itself."""

from __future__ import annotations

import time

import torch
from tabulate import tabulate
from torch import Tensor

from convpress.layers.cp import CPConv2d
from record import record

SHAPES = {"16 to 32 channels, 32x32": (16, 32, 40, 32), "32 to 64 channels, 16x16": (32, 64, 87, 16)}
"""In and out channels, rank and image size of the strided convolutions of ResNet-20 at half the parameters."""
TURNS, BATCH = 9, 128


class PlainCP(CPConv2d):
    """The layer as the textbook writes it."""

    def chain(self, x: Tensor) -> Tensor:
        """Apply the convolutions one after the other."""
        return self.expand(self.spatial(self.reduce(x)))


def milliseconds(layer: CPConv2d, x: Tensor) -> float:
    """One pass forward and back under bfloat16, convolution by convolution."""
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        loss = layer.chain(x).float().square().mean()
    loss.backward()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Print and keep a row for each shape: medians of alternating turns."""
    torch.set_num_threads(1)
    rows = []
    for case, (channels, filters, rank, size) in SHAPES.items():
        x = torch.randn(BATCH, channels, size, size).to(memory_format=torch.channels_last).requires_grad_()
        layers = [
            kind(channels, filters, rank, 3, stride=2, padding=1, bias=False).to(memory_format=torch.channels_last)
            for kind in (CPConv2d, PlainCP)
        ]
        times = torch.tensor([[milliseconds(layer, x) for layer in layers] for _ in range(TURNS + 1)])[1:]
        ours, reference = times.median(0).values.tolist()
        about = {"case": case, "group": "bfloat16, batch 128", "quantity": "strided CP layer, forward and back"}
        rows.append(about | {"unit": "ms", "ours": ours, "reference": reference, "ratio": reference / ours})
    print(tabulate([list(row.values()) for row in rows], headers=list(rows[0]), floatfmt=".2f"))
    record("strided_gradient", rows)


if __name__ == "__main__":
    main()
