"""Merging in whole residual networks: which layers, a least-squares repair, and how many channels each block keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.filters import cluster
from convpress.layers.shared_kernels import SharedKernelConv2d
from convpress.layers.surgery import find_conv, put_layer
from convpress.merging import Features, Merged, MergeRule, kept, merge_channels, share_filters

INNER = ("conv1", "bn1", "conv2")
LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.32, 0.25, 0.2, 0.15, 0.1, 0.05)
"""Parts of a block's inner channels that the allocation chooses from."""

ROWS = 4096
"""Places (image and pixel) that a least-squares fit looks at; the largest block has 576 unknowns an output."""

RIDGE = 1e-3
"""Ridge of the fit, relative to the mean square of its inputs."""


def residual_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Modules with conv1, bn1, conv2 and bn2 by name, in the order of the network.

    Raises:
        ConvpressError: there are none.
    """
    wanted = {"conv1": nn.Conv2d, "bn1": nn.BatchNorm2d, "conv2": nn.Conv2d, "bn2": nn.BatchNorm2d}
    found = {
        name: module
        for name, module in model.named_modules()
        if all(isinstance(getattr(module, part, None), kind) for part, kind in wanted.items())
    }
    if not found:
        raise ConvpressError(f"{type(model).__name__} has no blocks of conv1, bn1, conv2, bn2; none can be merged.")
    return found


def inner(block: nn.Module) -> Merged:
    """The two convolutions of a block and the batch norm between them."""
    conv1, bn1, conv2 = (block.get_submodule(part) for part in INNER)
    assert isinstance(conv1, nn.Conv2d)
    assert isinstance(bn1, nn.BatchNorm2d)
    assert isinstance(conv2, nn.Conv2d)
    return conv1, bn1, conv2


def share_network(model: nn.Module, ratio: float, *, features: Features = "raw", seed: int = 0) -> None:
    """Let the filters of each convolution in the blocks share int(n (1 - ratio)) centroids; in place."""
    for name, block in residual_blocks(model).items():
        for conv_name, bn_name in (("conv1", "bn1"), ("conv2", "bn2")):
            conv, bn = find_conv(model, f"{name}.{conv_name}"), block.get_submodule(bn_name)
            assert isinstance(bn, nn.BatchNorm2d)
            layer = share_filters(conv, kept(conv.out_channels, ratio), features=features, seed=seed, bn=bn)
            put_layer(model, f"{name}.{conv_name}", layer)


def share_kernels_network(model: nn.Module, ratio: float, *, drop: float = 0.25, seed: int = 0) -> None:
    """Let single 2-D kernels share centroids, as many numbers as `share_network` keeps at `ratio`; in place.

    The part `drop` of each layer's kernels, the weakest by their norm, becomes zero.
    """
    for name in residual_blocks(model):
        for conv_name in ("conv1", "conv2"):
            conv = find_conv(model, f"{name}.{conv_name}")
            budget = kept(conv.out_channels, ratio) * conv.in_channels
            put_layer(
                model, f"{name}.{conv_name}", SharedKernelConv2d.from_conv(conv, kernel_labels(conv, budget, drop, seed))
            )


def kernel_labels(conv: nn.Conv2d, clusters: int, drop: float, seed: int) -> Tensor:
    """Cluster of each 2-D kernel, (T, S) int64; -1 for the weakest part `drop`."""
    kernels = conv.weight.detach().flatten(0, 1)
    order = kernels.flatten(1).norm(dim=1).argsort(stable=True)
    strong = order[int(drop * len(order)) :].sort().values
    labels = torch.full((len(kernels),), -1, dtype=torch.int64)
    labels[strong] = cluster(kernels[strong], min(clusters, len(strong)), seed=seed)
    return labels.view(conv.out_channels, conv.in_channels)


def merge_network(
    model: nn.Module,
    counts: Mapping[str, int],
    *,
    rule: MergeRule = "folded",
    features: Features | None = None,
    seed: int = 0,
    inputs: Mapping[str, Tensor] | None = None,
) -> None:
    """Merge the inner channels of each block in `counts` to so many; in place.

    With `inputs` (images of each block's input, from `block_inputs` of the uncompressed network) the second
    convolution is fitted to give what it gave before; re-estimate the batch norms afterwards.
    """
    for name, block in residual_blocks(model).items():
        if name not in counts or counts[name] == block.get_submodule("conv1").out_channels:
            continue
        merged = merge_channels(*inner(block), counts[name], rule=rule, features=features, seed=seed)
        if inputs is not None:
            fit_second(inner(block), merged, inputs[name])
        for part, layer in zip(INNER, merged, strict=True):
            put_layer(model, f"{name}.{part}", layer)


@torch.no_grad()
def block_inputs(model: nn.Module, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """What comes into each block for normalised `images` (N, C, H, W), in eval mode."""
    seen: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
        for name in names
    ]
    was_training = model.training
    model.eval()(images)
    model.train(was_training)
    for handle in handles:
        handle.remove()
    return seen


@torch.no_grad()
def fit_second(old: Merged, new: Merged, x: Tensor) -> Tensor:
    """Refit `new`'s second convolution by ridge regression, in place; return what is left, (T,) mean squares.

    The target is the output of `old` for the inputs `x`, up to an offset by channel, which the batch norm behind
    takes away when its statistics are re-estimated. Before that the inner batch norm gets the statistics of `x`.
    """
    conv1, bn, conv2 = new
    before = conv1(x)
    bn.running_mean.copy_(before.mean((0, 2, 3)))  # type: ignore[union-attr]
    bn.running_var.copy_(before.var((0, 2, 3), unbiased=False))  # type: ignore[union-attr]
    target = _relu_then(old, x, old[0](x)).flatten(2)
    places = _places(len(x), target.shape[2])
    rows, answers = [], []
    for start in range(0, len(x), 32):
        part = slice(start, start + 32)
        h = F.relu(_eval_norm(bn, before[part]))
        patches = F.unfold(h, conv2.kernel_size, conv2.dilation, conv2.padding, conv2.stride)  # type: ignore[arg-type]
        chosen = places[part]
        rows.append(_at(patches, chosen))
        answers.append(_at(target[part], chosen))
    a, b = torch.cat(rows).double(), torch.cat(answers).double()
    a, b = a - a.mean(0), b - b.mean(0)
    gram = a.T @ a
    gram.diagonal().add_(RIDGE * gram.diagonal().mean() + 1e-12)
    solution = torch.linalg.solve(gram, a.T @ b)
    conv2.weight.copy_(solution.T.reshape(conv2.weight.shape))
    return (b - a @ solution).square().mean(0)


def _relu_then(layers: Merged, x: Tensor, before: Tensor) -> Tensor:
    return layers[2](F.relu(_eval_norm(layers[1], before)))


def _eval_norm(bn: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.0, bn.eps)


def _places(images: int, pixels: int) -> Tensor:
    """Pixels to look at, (images, p): the same for the same sizes."""
    each = min(pixels, -(-ROWS // images))
    generator = torch.Generator().manual_seed(pixels)
    return torch.stack([torch.randperm(pixels, generator=generator)[:each] for _ in range(images)])


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Columns of (n, d, pixels) at `places` (n, p), as rows (n p, d)."""
    index = places[:, None, :].expand(-1, values.shape[1], -1)
    return values.gather(2, index).transpose(1, 2).flatten(0, 1)


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

    The error is that of the fitted block's branch, after its last batch norm, relative to the mean square of the
    block's output: how much it disturbs the stream.
    """
    old, bn2 = inner(block), block.get_submodule("bn2")
    assert isinstance(bn2, nn.BatchNorm2d)
    assert bn2.running_var is not None
    channels, output = old[0].out_channels, block(x)
    scale = (bn2.weight / (bn2.running_var + bn2.eps).sqrt()).double()
    power = output.double().square().mean((0, 2, 3)).sum()
    each = old[0].weight[0].numel() + old[2].weight[:, 0].numel()
    pixels = output.shape[2] * output.shape[3]
    found = []
    for k in sorted({max(1, round(level * channels)) for level in LEVELS}, reverse=True):
        error = 0.0
        if k < channels:
            merged = merge_channels(*old, k, seed=seed)
            k = merged[0].out_channels
            error = float((fit_second(old, merged, x) * scale.square()).sum() / power)
        found.append(Candidate(k, error, k * (each + 2), k * each * pixels))
    return found


def allocate(choices: Mapping[str, Sequence[Candidate]], limits: Mapping[str, float]) -> dict[str, int]:
    """Channels for each block so that the sums of what `limits` names (params, macs) stay below, greedily.

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
            raise ConvpressError(f"no choice of channels stays below {dict(limits)}; allow more.")
        _, name, step = min(steps)
        place[name] = step
    return {name: choices[name][i].channels for name, i in place.items()}
