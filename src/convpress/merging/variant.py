"""One merged network from its description, and where in the network its parameters go."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from torch import nn

from convpress.config.merging import MergeMethod, MergeSurgery
from convpress.data import Dataset
from convpress.measure import count_macs
from convpress.merging.allocation import Candidate, allocate, candidates
from convpress.merging.channels import kept
from convpress.merging.networks import block_inputs, merge_network, share_kernels_network, share_network
from convpress.residual_blocks import inner, residual_blocks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What all variants share: training images, how many of them to look at, the kernels to drop, the seed."""

    data: Dataset
    images: int
    drop: float
    seed: int


def compress(model: nn.Module, choice: MergeMethod, ratio: float, settings: Settings) -> None:
    """Merge everywhere at one ratio; in place, batch norms not re-estimated."""
    if choice.method == "shared":
        share_network(model, ratio, features=choice.features or "raw", seed=settings.seed)
    elif choice.method == "kernels":
        share_kernels_network(model, ratio, drop=settings.drop, seed=settings.seed)
    else:
        blocks = residual_blocks(model).items()
        _merge(model, {name: kept(inner(block)[0].out_channels, ratio) for name, block in blocks}, choice, settings)


def compress_variant(model: nn.Module, variant: MergeSurgery, settings: Settings) -> None:
    """Merge as `variant` says, with a ratio for each block where it asks for that; in place, as `compress`."""
    if not variant.allocate:
        assert variant.ratio is not None
        return compress(model, variant, variant.ratio, settings)
    blocks = residual_blocks(model)
    inputs = _inputs(model, settings)
    choices = {name: candidates(block, inputs[name], seed=settings.seed) for name, block in blocks.items()}
    counts = allocate(choices, limits(model, choices, variant, settings.data.images.shape[1:]))
    log.info("channels: %s", counts)
    return _merge(model, counts, variant, settings)


def limits(
    model: nn.Module, choices: dict[str, list[Candidate]], variant: MergeSurgery, shape: tuple[int, ...]
) -> dict[str, float]:
    """What the blocks' inner parts may have: as much as with equal ratios, or what `macs_divisor` leaves for them."""
    whole = {name: found[0] for name, found in choices.items()}
    if variant.macs_divisor is not None:
        total = count_macs(model, shape)
        inside = sum(candidate.macs for candidate in whole.values())
        return {"macs": total / variant.macs_divisor - (total - inside)}
    assert variant.ratio is not None
    left = {name: kept(one.channels, variant.ratio) / one.channels for name, one in whole.items()}
    return {key: sum(getattr(one, key) * left[name] for name, one in whole.items()) for key in ("params", "macs")}


def _inputs(model: nn.Module, settings: Settings) -> dict:
    images = settings.data.normalise(settings.data.images[: settings.images])
    return block_inputs(model, images, list(residual_blocks(model)))


def _merge(model: nn.Module, counts: dict[str, int], choice: MergeMethod, settings: Settings) -> None:
    merge_network(
        model,
        counts,
        rule="seed" if choice.rule == "seed" else "folded",
        features=choice.features,
        seed=settings.seed,
        inputs=_inputs(model, settings) if choice.rule == "fitted" else None,
    )
