"""What is checked before any job starts."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convpress.checkpoints import import_pretrained
from convpress.clustering.checks import check_clustering
from convpress.clustering.remedies import plan_for
from convpress.config.clustering import ClusteringConfig, RemedyConfig
from convpress.config.kernel_search import CPConfig
from convpress.config.peers import PRUNING
from convpress.decompose.tensors import check_rank
from convpress.errors import ConvpressError
from convpress.files import sha256_file
from convpress.layers.base import conv_geometry
from convpress.layers.low_rank import SeparableConv2d
from convpress.layers.surgery import find_conv
from convpress.measure import count_macs, evaluating
from convpress.merging.allocation import LEVELS
from convpress.merging.networks import block_inputs
from convpress.models.registry import MODELS, TORCHVISION, create_model
from convpress.predict import logits_of
from convpress.residual_blocks import channel_macs, inner, residual_blocks
from convpress.sensitivity import ranks_of_layers
from convpress.workflow.places import checkpoint_places

IMAGE, CLASSES = (3, 32, 32), 10
"""Of both data sets."""
MOST_THREADS = 1024
COUNTER = "num_batches_tracked"
"""What old checkpoints lack."""


def check_layers(config: Mapping[str, Any]) -> None:
    """Check layer names and ranks against the networks themselves, and the checkpoints that are there.

    Raises `ConvpressError` that names the key and what is possible.
    """
    _check_threads(config)
    for name, entry in config["models"].items():
        model = _create(name, entry)
        _check_answer(name, model)
        weighted = _check_checkpoint(name, entry, model)
        _check_kernel_search(name, model, config["kernel_search"])
        _check_sensitivity(name, model, config["sensitivity"])
        if name == config["clustering"]["model"]:
            study = ClusteringConfig(**config["clustering"])
            check_clustering(study, model)
            if weighted is not None:
                _check_distinct(study, weighted)
        _check_merging(name, model, config["merging"])
        _check_low_rank(name, model, config["low_rank"])
        _check_peers(name, model, config["peers"])


def _check_threads(config: Mapping[str, Any]) -> None:
    """No job asks for more threads than a machine has cores; which machine, a cluster decides later."""
    asked = {"compute.threads": config["compute"]["threads"]}
    asked |= {f"compute_for.{name}.threads": entry["threads"] for name, entry in config["compute_for"].items()}
    for place, threads in asked.items():
        if threads and threads > MOST_THREADS:
            raise ConvpressError(f"{place}: {threads} is more than any machine has cores; give {MOST_THREADS} at most")


def _create(name: str, entry: Mapping[str, Any]) -> nn.Module:
    """The network of an entry of models, which has weights in every layer."""
    architecture, arguments = entry["architecture"], entry["arguments"]
    if architecture not in MODELS and not architecture.startswith(TORCHVISION):
        raise ConvpressError(
            f"models.{name}.architecture: there is no {architecture!r}; {', '.join(sorted(MODELS))} and "
            "torchvision/NAME are known, and one of your own when src/convpress/models/__init__.py imports its file"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without weights, which are refused below
            model = create_model(architecture, **arguments)
    except ConvpressError as error:
        for key, value in arguments.items():
            if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
                raise ConvpressError(
                    f"models.{name}.arguments.{key}: {value!r} is a text; write the number without quotes, and in a "
                    "file: --config takes all values within braces for texts"
                ) from None
        raise ConvpressError(f"models.{name}: {error}") from None
    if empty := next(
        (key for key, weights in model.named_parameters() if not (is_lazy(weights) or weights.numel())), None
    ):
        raise ConvpressError(
            f"models.{name}.arguments: {dict(arguments)} leave {empty} empty; give sizes of at least 1"
        )
    return model


def _check_answer(name: str, model: nn.Module) -> None:
    """The network takes the images of the data sets, and has a logit for each of their classes."""
    try:
        with torch.no_grad(), evaluating(model):
            shape = tuple(logits_of(model(torch.zeros(1, *IMAGE))).shape)
    except Exception as error:  # networks refuse images in words of their own, by assertions too
        reason = str(error) or type(error).__name__
        raise ConvpressError(
            f"models.{name}: the network cannot answer an image of {' x '.join(map(str, IMAGE))} ({reason}); name one "
            "that takes such images, or give arguments with which it does"
        ) from None
    if shape != (1, CLASSES):
        raise ConvpressError(
            f"models.{name}: the network answers an image with numbers of shape {shape[1:]}, but the images are of "
            f"{CLASSES} classes; give it the argument that sets their number, as num_classes of torchvision's networks"
        )


def _check_kernel_search(name: str, model: nn.Module, study: Mapping[str, Any]) -> None:
    """Decomposed layers exist and allow the rank; searched ones have 'same' padding, so that they may grow."""
    cp = CPConfig(**study["cp"])
    for place, layer in enumerate(study["decompose"] if name == study["model"] else []):
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
    for place, layer in enumerate(study["layers"] if name == study["model"] else []):
        _check_search(f"kernel_search.layers.{place}", find_conv(model, layer), study["search"])


def _check_search(key: str, conv: nn.Conv2d, search: Mapping[str, Any]) -> None:
    """A kernel that grows stays where it is: odd and square, 'same' padding, and no larger than any extent."""
    size = conv.kernel_size[0]
    if conv.kernel_size != (size, size) or size % 2 == 0 or conv.padding != (size // 2, size // 2):
        raise ConvpressError(f"{key}: {conv} is no odd, square kernel with 'same' padding; its size cannot be searched")
    if conv.dilation != (1, 1):
        raise ConvpressError(f"{key}: {conv} is dilated; its size cannot be searched")
    for name, entry in search.items():
        if entry["extent"] < size:
            raise ConvpressError(
                f"kernel_search.search.{name}.extent: {entry['extent']} is less than the {size} of {key}"
            )


def _check_sensitivity(name: str, model: nn.Module, study: Mapping[str, Any]) -> None:
    """Every factorised layer has a rank of at least one at every compression asked for."""
    for place, grid in study["grids"].items():
        if not grid or name not in grid["models"]:
            continue
        for kind, compression in product(grid["decompositions"], grid["compressions"]):
            try:
                ranks_of_layers(model, kind, compression, allocate=grid["allocate"])
            except ConvpressError as error:
                raise ConvpressError(f"sensitivity.grids.{place}.compressions: {name}: {error}") from None


def _check_merging(name: str, model: nn.Module, study: Mapping[str, Any]) -> None:
    """Merged networks have residual blocks, and as many multiply-accumulates in them as are to go."""
    places = {entry["model"]: f"merging.variants.{variant}.model" for variant, entry in study["variants"].items()}
    places[study["model"]] = "merging.model"
    if name in places:
        try:
            residual_blocks(model)
        except ConvpressError as error:
            raise ConvpressError(f"{places[name]}: {error}") from None
    for variant, entry in study["variants"].items():
        divisor = entry["macs_divisor"]
        if divisor and (entry["model"] or study["model"]) == name and divisor > (largest := _largest_divisor(model)):
            raise ConvpressError(
                f"merging.variants.{variant}.macs_divisor: {divisor:g} is too much for {name}; with the fewest "
                f"channels in every block it has {math.floor(100 * largest) / 100:g} times fewer multiply-accumulates"
            )


@torch.no_grad()
def _largest_divisor(model: nn.Module, shape: tuple[int, ...] = IMAGE) -> float:
    """How many times fewer multiply-accumulates `model` has when each block keeps the fewest channels of `LEVELS`."""
    blocks = residual_blocks(model)
    inputs = block_inputs(model, torch.zeros(1, *shape), list(blocks))
    saved = 0
    for name, block in blocks.items():
        channels = inner(block)[0].out_channels
        saved += (channels - max(1, round(min(LEVELS) * channels))) * channel_macs(block, inputs[name])
    total = count_macs(model, shape)
    return total / (total - saved)


def _check_low_rank(name: str, model: nn.Module, study: Mapping[str, Any]) -> None:
    """Replaced layers exist and allow as many basis filters."""
    layers = zip(study["layers"], study["bases"], strict=True) if name == study["model"] else ()
    for place, (layer, bases) in enumerate(layers):
        key = f"low_rank.layers.{place}"
        try:
            conv = find_conv(model, layer)
            conv_geometry(conv)
            key = f"low_rank.bases.{place}"
            check_rank(bases, "the number of filters", conv.kernel_size[0] * conv.kernel_size[1])
            key = "low_rank.compression"
            if any(entry["scheme"] == "separable" for entry in study["expansions"].values()):
                SeparableConv2d.rank_for(conv, study["compression"])
        except ConvpressError as error:
            raise ConvpressError(f"{key}: {error}") from None


def _check_peers(name: str, model: nn.Module, peers: Mapping[str, Any] | None) -> None:
    """Networks that torch-pruning gets have residual blocks."""
    pruning = [method for method in peers["methods"] if method in PRUNING] if peers else []
    if peers and pruning and name in peers["models"]:
        try:
            residual_blocks(model)
        except ConvpressError:
            raise ConvpressError(
                f"peers.models.{peers['models'].index(name)}: {pruning[0]} prunes channels inside residual blocks, and "
                f"{name} has none; leave {name} out, or {' and '.join(pruning)} of peers.methods"
            ) from None


def _check_checkpoint(name: str, entry: Mapping[str, Any], model: nn.Module) -> nn.Module | None:
    """A checkpoint that is there fits `model`, which is given back with its weights; others are yet to come."""
    path = _present(name, entry["checkpoint"]) if entry["checkpoint"] else None
    if path is None:
        return None
    try:
        return import_pretrained(path, model, entry["key_prefix"])
    except ConvpressError as error:
        said = str(error)
    prefix = _fitting_prefix(path, model)
    if prefix not in ("", entry["key_prefix"]):
        said = f"{path}: its keys begin with {prefix!r}; set models.{name}.key_prefix to that"
    raise ConvpressError(f"models.{name}.checkpoint: {said}")


def _fitting_prefix(path: Path, model: nn.Module) -> str:
    """The prefix in a checkpoint's keys without which they are those of `model`; empty where there is none."""
    expected = [key for key in model.state_dict() if not key.endswith(COUNTER)]
    with suppress(Exception):  # why a file cannot be read has been said
        content = torch.load(path, map_location="cpu", weights_only=True)
        keys = {key for key in content.get("state_dict", content) if not key.endswith(COUNTER)}
        for prefix in (key.removesuffix(expected[0]) for key in keys if key.endswith(expected[0])):
            if keys == {prefix + key for key in expected}:
                return str(prefix)
    return ""


def _present(name: str, checkpoint: str) -> Path | None:
    """The file of a path; of a bare name the first with the checksum in it, which the fetch step takes as well."""
    files = [path for path in checkpoint_places(checkpoint) if path.is_file()]
    if "/" not in checkpoint:
        digits = checkpoint.rpartition("-")[2].removesuffix(".th")
        return next((path for path in files if sha256_file(path).startswith(digits)), None)
    if not files:
        raise ConvpressError(
            f"models.{name}.checkpoint: there is no file {checkpoint}; give the path of your own checkpoint, or a bare "
            "name such as resnet20-12fca82f.th to have it fetched"
        )
    return files[0]


def _check_distinct(study: ClusteringConfig, model: nn.Module) -> None:
    """No plan or ratio wants more clusters than a layer has distinct filters; `model` has its weights."""
    wanted = [(f"plans.rows.{number}", study.plans.plan(number)) for number in range(len(study.plans.rows))]
    for number, ratio in enumerate(study.ratios):
        plans = [plan_for(model, study.layers, ratio, remedy, {}) for remedy in _at_once(study)]
        wanted += [(f"ratios.{number}", plan) for plan in plans]
    layers = {layer for _, plan in wanted for layer in plan}
    distinct = {layer: len(find_conv(model, layer).weight.detach().flatten(1).unique(dim=0)) for layer in layers}
    for place, plan in wanted:
        for layer, clusters in plan.items():
            if clusters > distinct[layer]:
                raise ConvpressError(
                    f"clustering.{place}: {clusters} clusters for {layer}, some of whose filters are equal in the "
                    f"checkpoint; 1 to {distinct[layer]} are possible, the number of distinct ones"
                )


def _at_once(study: ClusteringConfig) -> list[RemedyConfig]:
    """The compared remedies that cluster whole filters of the checkpoint, before any training or sweep."""
    remedies = [study.remedies[name] for name in study.compare]
    return [r for r in remedies if not (r.elementwise or r.adaptive_k or r.progressive or r.norm_penalty)]
