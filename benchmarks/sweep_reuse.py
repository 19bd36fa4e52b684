"""How much a layer sweep saves by computing what lies before the layer once, against each point from the image on.

Both ways give the same accuracies, which is asserted. ResNet-20 on validation images or noise; one thread.
`python benchmarks/sweep_reuse.py --help` for options.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from pathlib import Path

import torch
from tabulate import tabulate

from convpress.checkpoints import import_pretrained
from convpress.clustering.remedies import share_filters
from convpress.clustering.sweep import sweep_together
from convpress.config.clustering import RemedyConfig, SweepConfig
from convpress.config.sections import DataConfig
from convpress.data import Dataset, load_dataset
from convpress.errors import ConvpressError
from convpress.inputs import fetch_checkpoint
from convpress.models.registry import create_model
from convpress.predict import predict
from record import record

CHECKPOINT = "resnet20-12fca82f.th"
LAYERS = ["layer1.1.conv1", "layer2.1.conv1", "layer3.0.conv2", "layer3.2.conv2"]


def load_network(checkpoint: Path | None) -> torch.nn.Module:
    """ResNet-20 from a file, the mirror or a download."""
    model = create_model("resnet20")
    with tempfile.TemporaryDirectory() as folder:
        if checkpoint is None:
            checkpoint = Path(folder) / CHECKPOINT
            fetch_checkpoint(CHECKPOINT, checkpoint)
        return import_pretrained(checkpoint, model)


def load_images(data: Path | None, count: int) -> Dataset:
    """Validation images of a cifar10.safetensors, or noise with labels as the network answers it."""
    if data is not None:
        _, validation, _ = load_dataset(data, DataConfig(name="cifar10"))
        return validation.subset(torch.arange(count))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Dataset(pixels, torch.arange(count) % 10, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 10)


def from_the_image(model: torch.nn.Module, layer: str, clusters: int, data: Dataset) -> float:
    """Accuracy of one point by itself."""
    alone = copy.deepcopy(model)
    share_filters(alone, {layer: clusters}, RemedyConfig(filters="frozen"), seed=0)
    return float((predict(alone, data, batch_size=100).argmax(1) == data.labels).double().mean())


def measure(model: torch.nn.Module, layer: str, data: Dataset, step: int) -> dict[str, object]:
    """One row of the table; both ways must agree."""
    begin = time.perf_counter()
    reused = sweep_together(model, [layer], data, SweepConfig(step=step), seed=0)
    middle = time.perf_counter()
    alone = {clusters: from_the_image(model, layer, clusters, data) for clusters in reused}
    end = time.perf_counter()
    if alone != reused:
        raise AssertionError(f"{layer}: {alone} from the image on, {reused} with shared activations")
    times = {"shared s": middle - begin, "from the image s": end - middle}
    return {"layer": layer, "points": len(reused)} | times | {"times faster": (end - middle) / (middle - begin)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500, metavar="N", help="images (default 500)")
    parser.add_argument("--step", type=int, default=8, metavar="N", help="every N-th number of clusters (default 8)")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help=f"{CHECKPOINT} (default: mirror or download)")
    parser.add_argument("--data", type=Path, metavar="PATH", help="data/cifar10.safetensors (default: noise)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        model, data = load_network(arguments.checkpoint), load_images(arguments.data, arguments.images)
    except ConvpressError as error:
        sys.exit(str(error))
    rows = [measure(model, layer, data, arguments.step) for layer in LAYERS]
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    kept = [
        {
            "case": row["layer"],
            "group": "shared activations",
            "quantity": f"sweep of {row['points']} points",
            "unit": "s",
        }
        | {"ours": row["shared s"], "reference": row["from the image s"], "ratio": row["times faster"]}
        for row in rows
    ]
    record("sweep_reuse", kept)


if __name__ == "__main__":
    main()
