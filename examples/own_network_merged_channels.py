"""Merged channels: channels that compute nearly the same become one, and the next convolution adds up their slices.

python examples/own_network_merged_channels.py
"""

import copy

import torch
from my_network import compared

import convpress
from convpress import put_layer
from convpress.merging import merge_channels

torch.manual_seed(0)
model = convpress.create_model("my_network")
small = copy.deepcopy(model)
names = ("2", "3", "5")  # convolution, batch norm, and (after a ReLU) the next convolution
for name, layer in zip(names, merge_channels(*map(small.get_submodule, names), k=16), strict=True):
    put_layer(small, name, layer)

print(compared(model, small))
convpress.save_model(small, "my_network-merged.safetensors")
