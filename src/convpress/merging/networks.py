"""Merging in whole residual networks: which layers, and a least-squares repair of the second convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.layers.shared_kernels import SharedKernelConv2d
from convpress.layers.surgery import check_one_use, exchange_layers, find_module, naming, replace_convs
from convpress.measure import evaluating
from convpress.merging.channels import Features, MergeRule, group, kept, merge_channels, share_filters
from convpress.predict import input_type
from convpress.residual_blocks import INNER, Inner, check_order, inner, part_name, residual_blocks

ROWS = 4096
"""Places (image and pixel) that a least-squares fit looks at; the largest block has 576 unknowns an output."""

RIDGE = 1e-3
"""Ridge of the fit, relative to the mean square of its inputs."""


def share_network(model: nn.Module, ratio: float, *, features: Features = "raw", seed: int = 0) -> None:
    """Let the filters of conv1 and conv2 in each block share int(n (1 - ratio)) centroids; in place.

    Raises:
        ConvpressError: folded features where a block does not run conv1, bn1, ReLU, conv2, or a convolution that cannot
            be replaced; the message names it, and nothing is changed then.
    """
    blocks = residual_blocks(model)
    if features == "folded":
        for name, block in blocks.items():
            check_order(name, block)

    def shared(name: str, conv: nn.Conv2d) -> nn.Module:
        block, _, part = name.rpartition(".")
        bn = model.get_submodule(part_name(block, part.replace("conv", "bn")))
        assert isinstance(bn, nn.BatchNorm2d)
        return share_filters(conv, kept(conv.out_channels, ratio), features=features, seed=seed, bn=bn)

    replace_convs(model, _inner_convs(blocks), shared)


def _inner_convs(blocks: Iterable[str]) -> list[str]:
    return [part_name(block, conv) for block in blocks for conv in ("conv1", "conv2")]


def share_kernels_network(model: nn.Module, ratio: float, *, drop: float = 0.25, seed: int = 0) -> None:
    """Let single 2-D kernels share centroids, as many numbers as `share_network` keeps at `ratio`; in place.

    The part `drop` of each layer's kernels, the weakest by their norm, becomes zero, or less where `ratio` leaves more.
    The time grows with the fourth power of the channels: seconds a layer for 64, minutes for 128.

    Raises:
        ConvpressError: `drop` is outside [0, 1), or a convolution cannot be replaced; nothing is changed then.
    """

    def shared(name: str, conv: nn.Conv2d) -> nn.Module:
        budget = kept(conv.out_channels, ratio) * conv.in_channels
        return SharedKernelConv2d.from_conv(conv, kernel_labels(conv, budget, drop, seed))

    replace_convs(model, _inner_convs(residual_blocks(model)), shared)


def kernel_labels(conv: nn.Conv2d, clusters: int, drop: float, seed: int) -> Tensor:
    """Cluster of each 2-D kernel, (T, S) int64; -1 for the weakest part `drop`.

    There are as many clusters as there are distinct kernels when fewer than `clusters` are distinct.

    Raises:
        ConvpressError: `drop` is outside [0, 1).
    """
    if not 0 <= drop < 1:
        raise ConvpressError(f"drop is {drop!r}; 0 or more and less than 1 is allowed.")
    kernels = conv.weight.detach().flatten(0, 1)
    order = kernels.flatten(1).norm(dim=1).argsort(stable=True)
    strong = order[min(int(drop * len(order)), max(0, len(order) - clusters)) :].sort().values
    labels = torch.full((len(kernels),), -1, dtype=torch.int64, device=kernels.device)
    labels[strong] = group(kernels[strong], clusters, seed=seed)
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

    Raises:
        ConvpressError: there is no such block or nothing of it in `inputs`, it does not run conv1, bn1, ReLU, conv2 in
            this order, or `merge_channels` refuses it; nothing is merged then.
    """
    found = residual_blocks(model)
    if unknown := sorted(counts.keys() - found.keys()):
        raise ConvpressError(f"{type(model).__name__} has no block {unknown[0]!r}; there are {', '.join(found)}.")
    if inputs is not None and (missing := sorted(counts.keys() - inputs.keys())):
        raise ConvpressError(f"there are no inputs of block {missing[0]!r}; name it in block_inputs as well.")
    blocks = {
        name: block
        for name, block in found.items()
        if name in counts and counts[name] != block.get_submodule("conv1").out_channels
    }
    for name, block in blocks.items():
        for part in INNER:
            check_one_use(model, part_name(name, part))
        check_order(name, block, None if inputs is None else inputs[name][:1])
    all_merged = {}
    for name, block in blocks.items():
        with naming(name, "block"):
            all_merged[name] = merge_channels(*inner(block), counts[name], rule=rule, features=features, seed=seed)
    made: dict[str, nn.Module] = {}
    for name, merged in all_merged.items():
        if inputs is not None:
            fit_second(inner(blocks[name]), merged, inputs[name])
        made |= {part_name(name, part): layer for part, layer in zip(INNER, merged, strict=True)}
    exchange_layers(model, made)


@torch.no_grad()
def block_inputs(model: nn.Module, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """What comes into each block for normalised `images` (N, C, H, W), in eval mode, on the network's device.

    Images take the network's own type. Raises `ConvpressError` for a block that is not there.
    """
    blocks = {name: find_module(model, name) if name else model for name in names}
    seen: dict[str, Tensor] = {}
    handles = [  # copies, for a block may work in place
        block.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0].clone()}))
        for name, block in blocks.items()
    ]
    try:
        with evaluating(model):
            model(images.to(next(model.parameters()).device, input_type(model)))
    finally:
        for handle in handles:
            handle.remove()
    return seen


@torch.no_grad()
def fit_second(old: Inner, new: Inner, x: Tensor) -> Tensor:
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
        patches = F.unfold(_bordered(conv2, h), conv2.kernel_size, conv2.dilation, 0, conv2.stride)  # type: ignore[arg-type]
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


def _bordered(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`x` with the border that `conv` sees, whatever its padding."""
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    return F.pad(x, conv._reversed_padding_repeated_twice, mode)


def _relu_then(layers: Inner, x: Tensor, before: Tensor) -> Tensor:
    return layers[2](F.relu(_eval_norm(layers[1], before)))


def _eval_norm(bn: nn.BatchNorm2d, x: Tensor) -> Tensor:
    return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.0, bn.eps)


def _places(images: int, pixels: int) -> Tensor:
    """Pixels to look at, (images, p): the same for the same sizes."""
    each = min(pixels, -(-ROWS // images))
    generator = torch.Generator().manual_seed(pixels)
    return torch.stack([torch.randperm(pixels, generator=generator, device="cpu")[:each] for _ in range(images)])


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Columns of (n, d, pixels) at `places` (n, p), as rows (n p, d)."""
    index = places.to(values.device)[:, None, :].expand(-1, values.shape[1], -1)
    return values.gather(2, index).transpose(1, 2).flatten(0, 1)
