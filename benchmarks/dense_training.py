"""Training of factorised layers through their dense kernel, against their convolutions one after the other."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn

from convpress.layers.factorised import FactorisedConv2d
from convpress.layers.surgery import put_layer
from convpress.models.registry import create_model
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


def choosing(layer: FactorisedConv2d, dense: bool) -> None:
    """Make the layer learn through its dense kernel, or never, whatever it would choose."""
    layer.__class__ = type("Made", (type(layer),), {"learns_dense": dense})


def factorised(kind: str, conv: nn.Conv2d, compression: int) -> FactorisedConv2d:
    """A layer with random factors in the place of `conv`."""
    build: Any = FAMILIES[kind].layer
    ranks = ranks_for(kind, conv.weight.shape, compression)
    return build(conv.in_channels, conv.out_channels, ranks, 3, conv.stride, conv.padding, bias=False)


def row(case: str, group: str, x: Tensor, bf16: bool, dense: nn.Module, chain: nn.Module) -> dict[str, object]:
    """Medians of alternating turns."""
    ways = [model.to(memory_format=torch.channels_last).train() for model in (dense, chain)]
    turns = torch.tensor([[milliseconds(way, x, bf16) for way in ways] for _ in range(TURNS + 1)])[1:]
    ours, reference = turns.median(0).values.tolist()
    group = f"{group}, {'bfloat16' if bf16 else 'float32'}"
    about = {
        "case": f"{case}, {'bfloat16' if bf16 else 'float32'}",
        "group": group,
        "quantity": "forward and back",
        "unit": "ms",
    }
    return about | {"ours": ours, "reference": reference, "ratio": reference / ours}


def layer_row(kind: str, case: str, compression: int, bf16: bool) -> dict[str, object]:
    """One layer through the dense kernel against its convolutions, and whether a training would choose that."""
    channels, filters, size, stride = SHAPES[case]
    dense = factorised(kind, nn.Conv2d(channels, filters, 3, stride, 1), compression)
    chosen, chain = dense.learns_dense, copy.deepcopy(dense)
    choosing(dense, True), choosing(chain, False)
    x = torch.randn(BATCH, channels, size, size).to(memory_format=torch.channels_last).requires_grad_()
    made = row(f"{kind}, {case} channels, {compression}x", "chosen" if chosen else "not chosen", x, bf16, dense, chain)
    return made | {"macs a value": channels * filters * 9 / dense.between}


def network_row(kind: str, compression: int, bf16: bool) -> dict[str, object]:
    """ResNet-20, all its convolutions but the first factorised, as it chooses against convolution by convolution."""
    model = create_model("resnet20")
    convs = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Conv2d) and name != "conv1"]
    for name, conv in convs:
        put_layer(model, name, factorised(kind, conv, compression))
    chain = copy.deepcopy(model)
    for part in list(chain.modules()):
        if isinstance(part, FactorisedConv2d):
            choosing(part, False)
    x = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    return row(f"ResNet-20 as {kind}, {compression}x", f"ResNet-20 as {kind}", x, bf16, model, chain)


def main() -> None:
    """Print and keep rows for whole networks, and for layers of each family, shape, compression and precision."""
    torch.set_num_threads(1)
    rows = [network_row(*case) for case in product(FAMILIES, COMPRESSIONS, (True, False))]
    rows += [layer_row(*case) for case in product(FAMILIES, SHAPES, COMPRESSIONS, (True, False))]
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    kept = [{key: value for key, value in each.items() if key != "macs a value"} for each in rows]
    record("dense_training", [each for each in kept if not str(each["group"]).startswith("not chosen")])


if __name__ == "__main__":
    main()
