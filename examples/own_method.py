"""A method of one's own: a layer that files can hold, and the surgery that puts it into a network.

The method: a spatial kernel is split into an h x 1 and a 1 x w convolution with R channels between them, by the
singular value decomposition of the kernel as a (S h) x (T w) matrix (Jaderberg et al., BMVC 2014).

    python examples/own_method.py
"""

import torch
from torch import Tensor, nn

import convpress
from convpress import find_conv, put_layer, register_layer
from convpress.measure import count_parameters


@register_layer  # a file that names SplitConv2d can be loaded wherever this module is imported
class SplitConv2d(nn.Module):
    """S to R channels by h x 1, then R to T by 1 x w."""

    def __init__(self, in_channels: int, out_channels: int, rank: int, size: int) -> None:
        """Arguments must be plain numbers, lists or texts: a file keeps them as JSON."""
        super().__init__()
        self.vertical = nn.Conv2d(in_channels, rank, (size, 1), padding=(size // 2, 0), bias=False)
        self.horizontal = nn.Conv2d(rank, out_channels, (1, size), padding=(0, size // 2), bias=False)

    def arguments(self) -> dict[str, int]:
        """What `__init__` needs to build this layer again, without its weights."""
        first, second = self.vertical, self.horizontal
        return {
            "in_channels": first.in_channels,
            "out_channels": second.out_channels,
            "rank": first.out_channels,
            "size": first.kernel_size[0],
        }

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, S, H, W) to (N, T, H, W)."""
        return self.horizontal(self.vertical(x))


def split(conv: nn.Conv2d, rank: int) -> SplitConv2d:
    """The best split of a convolution with stride 1 and no bias, in the Frobenius norm."""
    t, s, h, w = conv.weight.shape
    matrix = conv.weight.detach().permute(1, 2, 0, 3).reshape(s * h, t * w)
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    layer = SplitConv2d(s, t, rank, h)
    root = values[:rank].sqrt()
    with torch.no_grad():
        layer.vertical.weight.copy_((u[:, :rank] * root).T.reshape(rank, s, h, 1))
        layer.horizontal.weight.copy_((v[:rank].T * root).reshape(t, w, rank).permute(0, 2, 1)[:, :, None])
    return layer


if __name__ == "__main__":
    model = convpress.create_model("resnet20")
    print(f"{count_parameters(model):,} parameters")
    for name in ("layer3.1.conv2", "layer3.2.conv2"):
        put_layer(model, name, split(find_conv(model, name), rank=48))
    print(f"{count_parameters(model):,} parameters")

    convpress.save_model(model, "resnet20-split.safetensors")
    again = convpress.load("resnet20-split.safetensors")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(x), model.eval()(x))
    print("saved and loaded; on the command line:")
    print("PYTHONPATH=examples convpress --import own_method info resnet20-split.safetensors")
