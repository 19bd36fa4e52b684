"""Networks of seconds."""

import torch
from torch import nn

import convpress
from convpress.data import Dataset

LAYERS = ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "layer2.0.conv2", "layer3.0.conv2"]


def random(*shape, seed=0):
    """Normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(seed=0):
    """A narrow ResNet-8 with statistics as of a trained one, so that its logits differ."""
    torch.manual_seed(seed)
    model = convpress.create_model("resnet8", width=4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def images(n=60):
    """Pixels of noise with labels."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Dataset(pixels, torch.randint(0, 10, (n,), generator=generator), (0.5,) * 3, (0.2,) * 3, 10)


def outputs(model):
    """Logits of three images."""
    with torch.no_grad():
        return model(random(3, 3, 32, 32, seed=5))


class Small(nn.Module):
    """A network of one's own: two plain convolutions, a grouped one, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=2))
        self.head = nn.Linear(4, 2)
