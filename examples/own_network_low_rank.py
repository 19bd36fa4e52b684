"""Low-rank expansions: d x 1 filters over all channels, then 1 x d, by one singular value decomposition.

python examples/own_network_low_rank.py
"""

import copy

import torch
from my_network import compared

import convpress
from convpress import SeparableConv2d, replace_conv

torch.manual_seed(0)
model = convpress.create_model("my_network")
small = copy.deepcopy(model)
for name, rank in (("2", 16), ("5", 20)):
    replace_conv(small, name, SeparableConv2d, rank=rank)

print(compared(model, small))
convpress.save_model(small, "my_network-low-rank.safetensors")
