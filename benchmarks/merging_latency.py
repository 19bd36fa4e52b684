"""Shared filters and merged channels against the dense network: medians of interleaved passes, and their ratios.

Four ways of running ResNet-20 with the blocks' filters clustered at each ratio: dense; the seed document's first
method, one convolution a centroid; ours, one convolution and copies of its channels, or dense where that is faster;
the seed's second method, fewer channels. `again` is a second dense network: how far from 1 equal networks are. Dense
and merged run a second time with their batch norms folded into the convolutions, as ONNX Runtime does by itself: what
normalising takes, a merged network saves less of. A last row tells how much merging can gain at all: a single channel
left in each block, also compiled. Then single wide layers, dense and ours. Random weights: times do not depend on them.
`--help` for options.
"""

from __future__ import annotations

import argparse

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from convpress.layers.shared import SharedFilterConv2d
from convpress.measure import Latency, interleaved_latency
from convpress.merging.channels import kept
from convpress.merging.networks import merge_network, share_network
from convpress.models.registry import create_model
from convpress.residual_blocks import inner, residual_blocks
from record import keep_memory, record


class ConvolutionACentroid(nn.Module):
    """The seed's layer: each centroid is convolved on its own, the results are written to its channels."""

    def __init__(self, layer: SharedFilterConv2d) -> None:
        super().__init__()
        self.index, self.channels = layer.index.tolist(), layer.out_channels
        self.centroids = nn.ModuleList()
        for filter_ in layer.weight.detach():
            conv = nn.Conv2d(layer.in_channels, 1, layer.kernel_size, layer.stride, layer.padding, bias=False)
            conv.weight.data.copy_(filter_[None])
            self.centroids.append(conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, S, H, W) to (N, T, H', W')."""
        maps = [conv(x) for conv in self.centroids]
        return torch.cat([maps[cluster] for cluster in self.index], 1)


def seeds_way(model: nn.Module) -> nn.Module:
    """The model with each shared layer run as the seed runs it."""
    for name, module in list(model.named_modules()):
        if isinstance(module, SharedFilterConv2d):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, ConvolutionACentroid(module))
    return model


REFERENCE = {f"{way} {how}": f"dense {how}" for way in ("merged", "limit") for how in ("folded", "compiled")}
"""What a way is held against, where that is not the dense network as it is."""
WAYS = ("again", "seed", "ours", "merged", "limit", *REFERENCE)
WIDE = ((64, 8), (128, 8), (256, 8), (256, 14))
"""Channels and pixels a side of the single layers."""
WIDE_RATIOS = (0.5, 0.875)


def merged(name: str, ratio: float) -> nn.Module:
    """The network with its blocks' inner channels merged at one ratio; one is left where it would leave none."""
    model = create_model(name)
    blocks = residual_blocks(model).items()
    merge_network(model, {block: kept(inner(module)[0].out_channels, ratio) for block, module in blocks})
    return model


def limits(name: str) -> dict[str, nn.Module]:
    """The dense network and the one with a single channel in each block; as they are, folded and compiled."""
    models = {"dense": create_model(name), "limit": merged(name, 0.99)}
    folded = {f"{way} folded": fuse(model.eval()) for way, model in models.items()}
    compiled = {f"{way} compiled": torch.compile(model.eval()) for way, model in models.items()}
    return models | folded | compiled


def networks(name: str, ratio: float) -> dict[str, nn.Module]:
    """The networks of one ratio."""
    models = {way: create_model(name) for way in ("dense", "again", "seed", "ours")} | {"merged": merged(name, ratio)}
    for way in ("seed", "ours"):
        share_network(models[way], ratio)
    seeds_way(models["seed"])
    return models | {f"{way} folded": fuse(models[way].eval()) for way in ("dense", "merged")}


def wide_layers(kind: str, batches: list[int], repeats: int) -> list[dict]:
    """A row for each wide layer, batch and ratio: dense, a second dense one, and ours."""
    rows = []
    for channels, side in WIDE:
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        for ratio in WIDE_RATIOS:
            labels = torch.arange(channels) % round(channels * (1 - ratio))
            layers = {"dense": conv, "again": conv, "ours": SharedFilterConv2d.from_conv(conv, labels)}
            for batch in batches:
                times = interleaved_latency(
                    layers, (channels, side, side), batch_size=batch, repeats=repeats * 3, dtype=getattr(torch, kind)
                )
                rows.append({"channels": channels, "side": side} | timed(kind, batch, ratio, times))
    return rows


def timed(kind: str, batch: int, ratio: float | None, times: dict[str, Latency]) -> dict:
    """A row: the medians, and how many times faster than its reference each way is."""
    reference = {way: times[REFERENCE.get(way, "dense")].median_ms for way in times}
    row = {"type": kind, "batch": batch, "ratio": ratio}
    row |= {f"{way} ms": latency.median_ms for way, latency in times.items()}
    return row | {f"dense/{way}": reference[way] / one.median_ms for way, one in times.items()}


def kept_lines(row: dict, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """What is kept of a row: each way against the dense network."""
    ratio = "one channel" if row["ratio"] is None else f"ratio {row['ratio']:g}"
    what = f"{row['channels']} channels, {row['side']} pixels a side" if "channels" in row else arguments.model
    about = f"{what}, {row['type']}, batch {row['batch']}, {ratio}"
    kind = "wide layers " if "channels" in row else ""
    ways = [way for way in WAYS if f"{way} ms" in row]
    return [
        {
            "case": f"{about}, {way}",
            "group": f"{kind}{way}, {row['type']}, batch {row['batch']}",
            "quantity": "forward pass against dense",
            "unit": "ms",
        }
        | {
            "ours": row[f"{way} ms"],
            "reference": row[f"{REFERENCE.get(way, 'dense')} ms"],
            "ratio": row[f"dense/{way}"],
        }
        for way in ways
    ]


def main() -> None:
    """Print a row for each type, batch and ratio."""
    keep_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--ratios", type=float, nargs="+", default=[n / 10 for n in range(1, 10)])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--types", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--without-seed", action="store_true", help="leave out the slow one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch._inductor.config.freezing = True  # compiled networks keep their weights, as deployed ones do
    torch.set_flush_denormal(True)  # what no training has scaled can become so small that processors slow down
    rows = []
    for kind in arguments.types:
        for ratio in (*arguments.ratios, None):
            models = limits(arguments.model) if ratio is None else networks(arguments.model, ratio)
            if arguments.without_seed:
                models.pop("seed", None)
            for model in models.values():
                model.to(getattr(torch, kind)).to(memory_format=torch.channels_last)
            for batch in arguments.batches:
                repeats = arguments.repeats * (5 if batch < 8 else 1)  # short passes scatter more
                times = interleaved_latency(
                    models, (3, 32, 32), batch_size=batch, repeats=repeats, dtype=getattr(torch, kind)
                )
                rows.append(timed(kind, batch, ratio, times))
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    wide = [row for kind in arguments.types for row in wide_layers(kind, arguments.batches, arguments.repeats)]
    print(tabulate(wide, headers="keys", floatfmt=".2f"))
    record("merging_latency", [line for row in rows + wide for line in kept_lines(row, arguments)])


if __name__ == "__main__":
    main()
