"""Expanding a network's convolutions, and teaching the expanded layers to answer as the dense ones did."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convpress.config.low_rank import BasesConfig, ExpansionConfig
from convpress.data import Dataset
from convpress.decompose.low_rank import Bases, alternate, expand_kernel, expanded, split_basis
from convpress.decompose.tensors import relative_error
from convpress.errors import ConvpressError
from convpress.layers.low_rank import LowRankConv2d, SeparableConv2d
from convpress.layers.surgery import find_module, replace_convs, uncompiled, uncompiled_name
from convpress.measure import count_macs, count_parameters, interleaved_latency
from convpress.objectives import Batch
from convpress.optimizers import freeze
from convpress.predict import input_type

Rows = list[dict[str, Any]]


def expand(
    model: nn.Module,
    layers: Sequence[str],
    expansion: ExpansionConfig,
    *,
    bases: Sequence[int] = (),
    compression: float = 1.0,
) -> None:
    """Replace `layers` of `model` by their low-rank form, in place.

    Scheme 1 takes ``bases[i]`` filters for each input channel of the i-th layer; scheme 2 the rank that leaves
    1 / `compression` of the layer's parameters, and at stride 1 of its multiply-accumulates.

    Raises:
        ConvpressError: other than one of `bases` for each layer, or a layer that cannot be replaced; nothing is changed
            then.
    """
    separable, split = expansion.scheme == "separable", expansion.scheme == "decomposed"
    if not separable and len(bases) != len(layers):
        raise ConvpressError(f"{len(bases)} bases for {len(layers)} layers; one for each is needed.")
    counts = dict(zip(layers, bases, strict=False))

    def expanded(layer: str, conv: nn.Conv2d) -> nn.Module:
        if separable:
            return SeparableConv2d.from_conv(conv, SeparableConv2d.rank_for(conv, compression))
        return LowRankConv2d.from_conv(conv, counts[layer], choice=expansion.bases, decomposed=split)

    replace_convs(model, layers, expanded)


def freeze_all_but(model: nn.Module, layers: Sequence[str]) -> None:
    """Let the parameters of `layers` learn and no others; what batch norms keep besides, `OutputMatching` holds.

    Raises `ConvpressError` for a layer that is not there.
    """
    model = uncompiled(model)
    for layer in layers:
        find_module(model, layer)
    inside = tuple(f"{uncompiled_name(layer)}." for layer in layers)
    freeze(model, [name for name, _ in model.named_parameters() if not name.startswith(inside)])


@contextmanager
def captured(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A dict that holds the outputs of `layers`, by name, after each pass of `model`.

    Raises `ConvpressError` for a layer that is not there.
    """
    outputs: dict[str, Tensor] = {}

    def keeper(name: str):
        return lambda module, inputs, output: outputs.__setitem__(name, output.clone())

    modules = {name: find_module(model, name) for name in layers}  # all, before the first gets a hook
    handles = [module.register_forward_hook(keeper(name)) for name, module in modules.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


class OutputMatching:
    """An objective: the squared distance of the outputs of some layers to those of the original network.

    Each network computes its own inputs of these layers, so later layers learn to mend the errors of earlier ones.
    The loss is the mean over the layers of |y - y0|^2 / |y0|^2 on a batch. Batch norms outside the layers run in eval
    mode unless their parameters learn, so that equal networks answer alike and frozen ones stay as they are.
    """

    def __init__(self, original: nn.Module, layers: Sequence[str]) -> None:
        """`original` answers, with its weights and in eval mode; it does not learn."""
        self.original, self.layers = original.eval().requires_grad_(False), list(layers)

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss of a batch, and the logits."""
        _hold_norms(model, self.layers)
        with captured(model, self.layers) as ours:
            logits = model(batch.images)
        self.original.to(batch.images.device)
        with torch.no_grad(), captured(self.original, self.layers) as theirs:
            self.original(batch.images)
        terms = [_squares(ours[name], theirs[name]) / _squares(theirs[name]) for name in self.layers]
        return torch.stack(terms).mean(), logits


def _hold_norms(model: nn.Module, layers: Sequence[str]) -> None:
    """Put batch norms outside `layers` that do not learn into eval mode; a training puts all into train mode anew."""
    inside = {module for layer in layers for module in find_module(model, layer).modules()}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module not in inside:
            module.train(module.training and any(p.requires_grad for p in module.parameters()))


def _squares(outputs: Tensor, others: Tensor | float = 0.0) -> Tensor:
    others = others.float() if isinstance(others, Tensor) else others
    return (outputs.float() - others).square().sum()


@torch.inference_mode()
def output_distances(
    original: nn.Module, models: Mapping[str, nn.Module], data: Dataset, layers: Sequence[str], batch_size: int = 250
) -> Rows:
    """How far the layers' outputs are from the original network's: rows with model, layer, distance, relative.

    `distance` is the Euclidean norm for one image, averaged over `data`; `relative` is the root of the summed
    squares over that of the original's.
    """
    names = [(model, layer) for model in models for layer in layers]
    norms, squares = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    scale = dict.fromkeys(layers, 0.0)
    for start in range(0, len(data), batch_size):
        images = data.normalise(data.images[start : start + batch_size])
        with captured(original.eval(), layers) as theirs:
            original(images.to(input_type(original)))
        for layer in layers:
            scale[layer] += float(theirs[layer].double().square().sum())
        for name, model in models.items():
            with captured(model.eval(), layers) as ours:
                model(images.to(input_type(model)))
            for layer in layers:
                distances = (ours[layer] - theirs[layer]).flatten(1).norm(dim=1).double()
                norms[name, layer] += float(distances.sum())
                squares[name, layer] += float(distances.square().sum())
    return [
        {
            "variant": name,
            "layer": layer,
            "distance": norms[name, layer] / len(data),
            "relative": (squares[name, layer] / scale[layer]) ** 0.5,
        }
        for name, layer in names
    ]


def compare_bases(weight: Tensor, count: int, comparison: BasesConfig, *, seed: int) -> tuple[Rows, Rows]:
    """Errors of `count` basis filters for a kernel (N, C, h, w), by the closed forms and by alternation.

    Returns rows (method, penalty, relative_error, split_error, iterations, seconds), where split_error is that of
    the filters each made separable, and rows (penalty, sweep, relative_error) of the alternation.
    """
    errors, sweeps = [], []
    closed: tuple[Bases, ...] = ("shared", "per_channel")
    for choice in closed:
        start = time.perf_counter()
        basis, coefficients = expand_kernel(weight, count, choice)
        errors.append(_errors(weight, basis, coefficients, method=f"svd_{choice}", start=start))
    for penalty in comparison.penalties:
        start = time.perf_counter()
        found = alternate(weight, count, penalty=penalty, sweeps=comparison.sweeps, seed=seed)
        basis = found.basis.expand(weight.shape[1], -1, -1, -1)
        coefficients = found.coefficients.unflatten(0, (weight.shape[0], weight.shape[1]))
        row = _errors(weight, basis, coefficients, method="alternating", start=start)
        errors.append(row | {"penalty": penalty, "iterations": comparison.sweeps})
        sweeps += [
            {"penalty": penalty, "sweep": sweep, "relative_error": error}
            for sweep, error in enumerate(found.errors, start=1)
        ]
    return errors, sweeps


def _errors(weight: Tensor, basis: Tensor, coefficients: Tensor, *, method: str, start: float) -> dict[str, Any]:
    seconds = time.perf_counter() - start
    columns, rows = split_basis(basis)
    split = expanded(columns[..., :, None] * rows[..., None, :], coefficients)
    return {
        "method": method,
        "penalty": 0.0,
        "relative_error": relative_error(weight, expanded(basis, coefficients)),
        "split_error": relative_error(weight, split),
        "iterations": 1,
        "seconds": seconds,
    }


def measure_costs(
    models: dict[str, nn.Module],
    input_shape: Sequence[int],
    *,
    batch_size: int,
    repeats: Mapping[torch.dtype, int],
    warmup: int,
) -> Rows:
    """Parameters, operations for one image of `input_shape`, and milliseconds a batch, all in turns; a row a network.

    Columns cpu_ms (float32) with quartiles, cpu_bf16_ms, and cuda_ms (float32), which is None without a GPU.
    No copies are made: the models end in eval mode, channels-last, rounded to bfloat16, maybe on another device.
    """
    rows = {
        name: {"network": name, "params": count_parameters(model), "macs": count_macs(model, input_shape)}
        for name, model in models.items()
    }
    runs = [("cpu_", torch.float32, "cpu"), ("cpu_bf16_", torch.bfloat16, "cpu"), ("cuda_", torch.float32, "cuda")]
    for prefix, dtype, device in runs:
        if device == "cuda" and not torch.cuda.is_available():
            rows = {name: row | {"cuda_ms": None} for name, row in rows.items()}
            continue
        times = interleaved_latency(
            models,
            input_shape,
            batch_size=batch_size,
            repeats=repeats[dtype],
            warmup=warmup,
            dtype=dtype,
            device=device,
            in_place=True,
        )
        for name, time_ in times.items():
            rows[name] |= {f"{prefix}ms": time_.median_ms}
            if prefix == "cpu_":
                rows[name] |= {"cpu_q1_ms": time_.q1_ms, "cpu_q3_ms": time_.q3_ms}
    settings = {"batch_size": batch_size, "size": input_shape[-1], "threads": torch.get_num_threads()}
    return [row | settings for row in rows.values()]
