"""A training of seconds: few random images, a small network, a short recipe."""

import torch
from torch import nn

from convpress.compute import Compute
from convpress.config.sections import TrainingConfig
from convpress.data import Dataset
from convpress.train import Trainer

CPU = Compute("cpu", "fp32", False, True, 1)


def random_images():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (96, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Dataset(images, torch.arange(96) % 4, (0.5,) * 3, (0.25,) * 3, 4)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def recipe(**changes):
    return TrainingConfig(**({"epochs": 4, "batch_size": 16, "lr": 0.05, "ema": 0.9, "crop_padding": 2} | changes))


def trainer(data, training, model=None, **options):
    return Trainer(model or network(), data, training, CPU, seed=1, view_seed=2, **options)


def weights(run):
    return torch.cat([value.flatten().double() for value in run.result.state_dict().values()])
