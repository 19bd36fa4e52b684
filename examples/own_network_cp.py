"""Canonical polyadic layers: a kernel as a sum of R rank-one terms.

python examples/own_network_cp.py
"""

import copy

import torch
from my_network import compared

import convpress
from convpress import SeparableCPConv2d, replace_conv

torch.manual_seed(0)
model = convpress.create_model("my_network")
small = copy.deepcopy(model)
for name in ("2", "5"):  # slack: lower the factors' sensitivity for at most 2 % more error
    replace_conv(small, name, SeparableCPConv2d, rank=24, starts=2, slack=0.02)

print(compared(model, small))
convpress.save_model(small, "my_network-cp.safetensors")
