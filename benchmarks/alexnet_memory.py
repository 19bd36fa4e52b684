"""The most memory that training AlexNet takes, as params.yaml trains it: a few steps, evaluated and saved.

Measured in a process of its own; exit code 1 above the limit. `python benchmarks/alexnet_memory.py`
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import yaml

from convpress.compute import resolve
from convpress.config.sections import ComputeConfig, ModelConfig
from convpress.data import IMAGENET_MEAN, IMAGENET_STD, Dataset
from convpress.models.registry import create_model
from convpress.train import Trainer, fit
from convpress.workflow.startup import keep_freed_memory
from record import record

ROOT = Path(__file__).resolve().parents[1]
STEPS, IMAGES, LIMIT = 4, 50_000, 6.0
"""The data set has as many images as CIFAR-10; the limit is in GiB."""


def train() -> None:
    """A short training on noise, with the network, recipe and machine settings of the cifar10 run."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    config = ModelConfig(**settings["models"]["alexnet"])
    recipe = config.training.model_copy(update={"epochs": 1})
    compute = resolve(ComputeConfig(**settings["compute"]), config.training.epochs * IMAGES // recipe.batch_size)
    pixels = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    noise = Dataset(pixels, torch.arange(IMAGES) % 10, IMAGENET_MEAN, IMAGENET_STD, 10)
    some = noise.subset(torch.arange(STEPS * recipe.batch_size))
    model = create_model(config.architecture, **config.arguments)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(model, some, recipe, compute, seed=0, view_seed=0)
        fit(trainer, validation=some, state_path=Path(folder) / "state.pt", key="benchmark")


def peak_gib() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def main() -> None:
    """Print and keep the one row."""
    environment = dict(os.environ)
    keep_freed_memory(environment)
    command = [sys.executable, __file__, "train"]
    peak = float(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)
    print(f"AlexNet, {STEPS} steps: {peak:.2f} GiB at most, limit {LIMIT:g} GiB")
    row = {"case": "AlexNet as params.yaml trains it", "quantity": "peak memory", "unit": "GiB"}
    record("alexnet_memory", [row | {"ours": peak, "reference": LIMIT, "ratio": LIMIT / peak}])
    sys.exit(peak > LIMIT)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train()
        print(peak_gib())
    else:
        main()
