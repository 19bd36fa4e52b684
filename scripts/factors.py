"""Factors as `decompose_factorised` writes them, put into the network."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from convpress.checkpoints import load
from convpress.sensitivity import replace_all


def with_factors(model: Path | str, factors: Path | str, kind: str, start: str) -> nn.Module:
    """The network in the file `model` with the factors of one start (plain, corrected) in place of its kernels."""
    return replace_all(load(model), kind, read_factors(factors, start))


def read_factors(path: Path | str, start: str) -> dict[str, list[Tensor]]:
    """Factors of one start (plain, corrected) by layer."""
    blocks: dict[str, list[Tensor]] = {}
    named = load_file(path)
    for key in sorted(named):
        which, layer, _ = key.split("/")
        if which == start:
            blocks.setdefault(layer, []).append(named[key])
    return blocks
