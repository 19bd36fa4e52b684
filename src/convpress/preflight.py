"""What is checked before any job starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from convpress.config.kernel_search import CPConfig
from convpress.errors import ConvpressError
from convpress.layers.surgery import find_conv
from convpress.models.registry import create_model


def check_layers(config: Mapping[str, Any]) -> None:
    """Check layer names and ranks against the networks themselves; builds them without weights.

    Raises `ConvpressError` that names the key and what is possible.
    """
    study = config["kernel_search"]
    cp = CPConfig(**study["cp"])
    for name, entry in config["models"].items():
        try:
            with torch.device("meta"):
                model = create_model(entry["architecture"], **entry["arguments"])
        except ConvpressError as error:
            raise ConvpressError(f"models.{name}: {error}") from None
        if name != study["model"]:
            continue
        for place, layer in enumerate(study["decompose"]):
            try:
                out_channels, in_channels, height, width = find_conv(model, layer).weight.shape
            except ConvpressError as error:
                raise ConvpressError(f"kernel_search.decompose.{place}: {error}") from None
            sizes = sorted((out_channels, in_channels, height, width))
            rank, largest = cp.rank_for(in_channels), sizes[0] * sizes[1] * sizes[2]
            if not 1 <= rank <= largest:
                key = "rank" if cp.rank is not None else "rank_divisor"
                raise ConvpressError(
                    f"kernel_search.cp.{key}: {getattr(cp, key)} gives rank {rank} for {layer} with {in_channels} "
                    f"input channels; ranks from 1 to {largest} are possible there"
                )
