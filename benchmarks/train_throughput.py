"""Images a second of our training loop against a plain reference loop, on the same network, data and machine.

The reference trains as the checkpoints' author does: a DataLoader with PIL transforms (flip, padded crop), float32,
NCHW, SGD. Both loops run in turns in one process, and the median of the pairwise ratios is printed.
`python benchmarks/train_throughput.py --help` for options; a random CIFAR-shaped data set is used.
"""

import argparse
import os
import statistics
import time
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from convpress.compute import resolve
from convpress.config.sections import ComputeConfig, TrainingConfig
from convpress.data import IMAGENET_MEAN, IMAGENET_STD, Dataset
from convpress.models.registry import create_model
from convpress.teachers import Teacher
from convpress.train import Trainer
from record import record

BATCH = 128
ROOT = Path(__file__).resolve().parents[1]


class PilImages(TorchDataset):
    """Images one by one as PIL, transformed one by one."""

    def __init__(self, data: Dataset) -> None:
        self.images, self.labels = data.images, data.labels
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomHorizontalFlip(),
                transforms.RandomCrop(32, 4),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.transform(self.images[index]), self.labels[index]


def reference_steps(model, data, workers):
    """Yield after every training step of the reference loop."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    while True:
        for images, labels in DataLoader(PilImages(data), BATCH, shuffle=True, num_workers=workers, drop_last=True):
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            yield


def our_engine(model, data, compute):
    """Our engine as the controls of params.yaml train: with clipping, average and a teacher (of random answers)."""
    control = yaml.safe_load((ROOT / "params.yaml").read_text())["control"]
    recipe = TrainingConfig(**control | {"epochs": 10_000, "batch_size": BATCH})
    answers = torch.randn(1, len(data), data.num_classes, generator=torch.Generator().manual_seed(0))
    return Trainer(model, data, recipe, compute, seed=0, view_seed=0, teacher=Teacher(answers.half()))


def measure_ours(trainer):
    """Images a second over an epoch."""
    start = time.perf_counter()
    trainer.run_epoch()
    return trainer.steps_per_epoch * BATCH / (time.perf_counter() - start)


def measure(steps, n):
    """Images a second over `n` steps."""
    start = time.perf_counter()
    for _ in islice(steps, n):
        pass
    return n * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Print a line a network: medians and the ratio ours / reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["resnet20", "resnet32"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="training steps a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, default=0, help="processes of the reference's DataLoader")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--compile", default="auto", choices=["auto", "on", "off"])
    options = parser.parse_args()
    config = ComputeConfig(threads=options.threads, precision=options.precision, compile=options.compile)
    compute = resolve(config, steps=10_000)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH * options.steps, 3, 32, 32), dtype=torch.uint8, generator=generator)
    data = Dataset(images, torch.arange(len(images)) % 10, IMAGENET_MEAN, IMAGENET_STD, 10)
    print(f"ours: {compute.record()}")
    rows = []
    for name in options.models:
        reference = reference_steps(create_model(name), data, options.workers)
        ours = our_engine(create_model(name), data, compute)
        measure(reference, 2), measure_ours(ours)  # warm-up, compilation
        pairs = [(measure_ours(ours), measure(reference, options.steps)) for _ in range(options.rounds)]
        fast, slow = (statistics.median(values) for values in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{name}: ours {fast:.0f} images/s, reference {slow:.0f} images/s, ratio {ratio:.2f}")
        case = f"{name}, {compute.precision}, {options.threads} threads, control's recipe"
        rows.append({"case": case, "quantity": "training", "unit": "images/s"})
        rows[-1] |= {"ours": fast, "reference": slow, "ratio": ratio}
    record("train_throughput", rows)


if __name__ == "__main__":
    main()
