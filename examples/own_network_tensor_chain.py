"""Tensor-chain layers: the kernel as a ring of three cores.

python examples/own_network_tensor_chain.py
"""

import copy

import torch
from my_network import compared

import convpress
from convpress import TensorChainConv2d, replace_conv

torch.manual_seed(0)
model = convpress.create_model("my_network")
small = copy.deepcopy(model)
for name in ("2", "5"):
    replace_conv(small, name, TensorChainConv2d, ranks=(4, 4, 4), seed=0)

print(compared(model, small))
convpress.save_model(small, "my_network-chain.safetensors")
