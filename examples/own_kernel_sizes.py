"""Learned kernel sizes: CP layers get long factors under a mask whose width is trained, then become dense again.

python examples/own_kernel_sizes.py
"""

import my_network  # noqa: F401 (registers the network)
import torch

import convpress
from convpress import SeparableCPConv2d, put_layer, replace_conv
from convpress.kernel_search import extend_cp, mac_penalty, recompose

torch.manual_seed(0)
model = convpress.create_model("my_network")
for name in ("2", "5"):
    layer = replace_conv(model, name, SeparableCPConv2d, rank=24, starts=2)
    put_layer(model, name, extend_cp(layer, extent=21, sigma=-1.5, mask="preserving"))

penalty, optimizer = mac_penalty(1.0), torch.optim.SGD(model.parameters(), lr=0.05)
for _ in range(20):  # your own training loop and images; the penalty prices large kernels
    images, labels = torch.randn(16, 3, 32, 32), torch.randint(10, (16,))
    loss = torch.nn.functional.cross_entropy(model(images), labels) + penalty(model)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print("learned kernel sizes:", recompose(model))
convpress.save_model(model, "my_network-recomposed.safetensors")
