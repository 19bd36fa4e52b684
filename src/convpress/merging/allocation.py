"""How many channels each block keeps: the parameters and multiply-accumulates are spent where they matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.measure import evaluating
from convpress.merging.channels import merge_channels
from convpress.merging.networks import fit_second
from convpress.residual_blocks import channel_macs, inner

LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.32, 0.25, 0.2, 0.15, 0.1, 0.05)
"""Parts of a block's inner channels that the allocation chooses from."""


@dataclass(frozen=True)
class Candidate:
    """A block with `channels` inner channels: its error and its inner parameters and multiply-accumulates."""

    channels: int
    error: float
    params: int
    macs: int


@torch.no_grad()
def candidates(block: nn.Module, x: Tensor, *, seed: int = 0) -> list[Candidate]:
    """What each number of inner channels would cost, from all to few.

    The error is that of the fitted convolutions, after the batch norm behind them, relative to the mean square of what
    they go into: the block's output, the stream, or that batch norm's own output in blocks of three convolutions and
    in those that go on to another size, as a whole network does.
    """
    old, bn2 = inner(block), block.get_submodule("bn2")
    assert isinstance(bn2, nn.BatchNorm2d)
    assert bn2.running_var is not None
    channels = old[0].out_channels
    seen: dict[nn.Module, Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda module, inputs, output: seen.update({module: output.clone()}))
        for layer in (bn2, block)
    ]
    try:
        with evaluating(block):
            block(x.clone())  # it may work in place
    finally:
        for handle in handles:
            handle.remove()
    stream = seen[bn2] if hasattr(block, "conv3") or seen[block].shape != seen[bn2].shape else seen[block]
    weight = 1.0 if bn2.weight is None else bn2.weight
    scale = (weight / (bn2.running_var + bn2.eps).sqrt()).double()
    power = stream.double().square().mean((0, 2, 3)).sum()
    each = old[0].weight[0].numel() + old[2].weight[:, 0].numel()
    macs = channel_macs(block, x)
    found = []
    for k in sorted({max(1, round(level * channels)) for level in LEVELS}, reverse=True):
        error = 0.0
        if k < channels:
            merged = merge_channels(*old, k, seed=seed)
            k = merged[0].out_channels
            error = float((fit_second(old, merged, x) * scale.square()).sum() / power)
        found.append(Candidate(k, error, k * (each + 2), k * macs))
    return found


def allocate(choices: Mapping[str, Sequence[Candidate]], limits: Mapping[str, float]) -> dict[str, int]:
    """Channels for each block so that the sums of what `limits` names (params, macs) are no larger, greedily.

    From all channels everywhere, the step that adds the least error for what it saves is taken, wherever it is; a
    step may be large, as errors are not convex. What is saved counts relative to the limits that still fail.

    Raises:
        ConvpressError: even the fewest channels are too many.
    """
    place = dict.fromkeys(choices, 0)

    def total(key: str) -> int:
        return sum(getattr(choices[name][i], key) for name, i in place.items())

    while failing := [key for key, limit in limits.items() if total(key) > limit]:
        steps = []
        for name, i in place.items():
            now = choices[name][i]
            for j in range(i + 1, len(choices[name])):
                then = choices[name][j]
                saved = sum((getattr(now, key) - getattr(then, key)) / limits[key] for key in failing)
                if saved > 0:
                    steps.append((max(then.error - now.error, 0.0) / saved, name, j))
        if not steps:
            raise ConvpressError(
                f"even the fewest channels need more than the blocks have left, {dict(limits)}; merge less."
            )
        _, name, step = min(steps)
        place[name] = step
    return {name: choices[name][i].channels for name, i in place.items()}
