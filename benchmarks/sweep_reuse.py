"""How much a layer sweep saves by computing what lies before the layer once, against each point from the image on.

Both ways evaluate the same networks. The two accuracies of a point may differ by 0.1 % of the images
in float32 and 1 % in bfloat16, where last bits decide more often; more is an error. ResNet-20 on noise or validation
images; one thread. The whole layer sweep of the study clustering, 669 points on all validation images:
`python benchmarks/sweep_reuse.py --whole`.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

from convpress.clustering.remedies import cluster_filters
from convpress.clustering.sweep import sweep_together
from convpress.compute import resolve
from convpress.config.clustering import RemedyConfig, SweepConfig
from convpress.config.sections import ComputeConfig, DataConfig
from convpress.data import IMAGENET_MEAN, IMAGENET_STD, Dataset, load_dataset
from convpress.errors import ConvpressError
from convpress.predict import predict
from record import pretrained, record

CHECKPOINT = "resnet20-12fca82f.th"
LAYERS = ["layer1.1.conv1", "layer2.1.conv1", "layer3.0.conv2", "layer3.2.conv2"]
WHOLE = Path("data/cifar10.safetensors")
NOISE = 500
ROUNDING = {False: 0.001, True: 0.01}
"""In so many of the images the last bits may decide between two classes, in float32 and in bfloat16."""


def load_images(data: Path | None, count: int | None, model: nn.Module) -> Dataset:
    """The first validation images of a cifar10.safetensors (all: None), or noise labelled as `model` answers it."""
    if data is not None:
        _, validation, _ = load_dataset(data, DataConfig(name="cifar10"))
        return validation.subset(torch.arange(len(validation) if count is None else count))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count or NOISE, 3, 32, 32), dtype=torch.uint8, generator=generator)
    noise = Dataset(pixels, torch.zeros(len(pixels), dtype=torch.int64), IMAGENET_MEAN, IMAGENET_STD, 10)
    return replace(noise, labels=predict(model, noise).argmax(1))


def from_the_image(model: nn.Module, layer: str, clusters: int, data: Dataset, *, bf16: bool) -> float:
    """Accuracy of one point by itself."""
    alone = copy.deepcopy(model)
    cluster_filters(alone, {layer: clusters}, RemedyConfig(filters="frozen"), seed=0)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return float((predict(alone, data, batch_size=100).argmax(1) == data.labels).double().mean())


def measure(model: nn.Module, layer: str, data: Dataset, step: int, *, bf16: bool) -> dict[str, Any]:
    """One row of the table; both ways must agree but for `ROUNDING`."""
    begin = time.perf_counter()
    reused = sweep_together(model, [layer], data, SweepConfig(step=step), seed=0, bf16=bf16)
    middle = time.perf_counter()
    alone = {clusters: from_the_image(model, layer, clusters, data, bf16=bf16) for clusters in reused}
    end = time.perf_counter()
    if any(abs(alone[clusters] - reused[clusters]) > ROUNDING[bf16] for clusters in reused):
        raise AssertionError(f"{layer}: {alone} from the image on, {reused} with shared activations")
    times = {"shared s": middle - begin, "from the image s": end - middle}
    return {"layer": layer, "points": len(reused)} | times | {"times faster": (end - middle) / (middle - begin)}


def in_all(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row for all layers."""
    sums = {name: sum(row[name] for row in rows) for name in ("points", "shared s", "from the image s")}
    faster = sums["from the image s"] / sums["shared s"]
    return {"layer": f"all {len(rows)} layers"} | sums | {"times faster": faster}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, metavar="N", help=f"images (default {NOISE}; with --whole all)")
    parser.add_argument("--step", type=int, default=8, metavar="N", help="every N-th number of clusters (default 8)")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help=f"{CHECKPOINT} (default: mirror or download)")
    parser.add_argument("--data", type=Path, metavar="PATH", help=f"{WHOLE} (default: noise; with --whole this file)")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="as compute.precision")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="all 19 layers and every number of clusters, each also from the image on (about an hour); kept by itself",
    )
    arguments = parser.parse_args()
    bf16 = resolve(ComputeConfig(precision=arguments.precision, device="cpu")).bf16
    whole = arguments.whole
    try:
        model = pretrained("resnet20", CHECKPOINT, arguments.checkpoint)
        count = arguments.images or (None if whole else NOISE)
        data = load_images(arguments.data or (WHOLE if whole else None), count, model)
    except ConvpressError as error:
        sys.exit(str(error))
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)] if whole else LAYERS
    few = data.subset(torch.arange(100))  # kernels are made at their first use
    sweep_together(model, layers[:1], few, SweepConfig(step=8), seed=0, bf16=bf16)
    from_the_image(model, layers[0], 8, few, bf16=bf16)
    rows = [measure(model, layer, data, 1 if whole else arguments.step, bf16=bf16) for layer in layers]
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    if whole:
        rows = [in_all(rows)]
        print(
            "all points: {shared s:.0f} s with shared activations, {from the image s:.0f} s without".format(**rows[0])
        )
    kept = [
        {
            "case": row["layer"],
            "group": f"every point, {len(data)} images"
            if whole
            else f"{'bfloat16' if bf16 else 'float32'}, shared activations",
            "quantity": f"sweep of {row['points']} points",
            "unit": "s",
        }
        | {"ours": row["shared s"], "reference": row["from the image s"], "ratio": row["times faster"]}
        for row in rows
    ]
    record("sweep_reuse, whole" if whole else "sweep_reuse", kept)


if __name__ == "__main__":
    main()
