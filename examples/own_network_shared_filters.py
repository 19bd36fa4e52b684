"""Shared filters: k-means groups similar filters, and each group keeps one.

python examples/own_network_shared_filters.py
"""

import copy

import torch
from my_network import compared

import convpress
from convpress import SharedFilterConv2d, find_conv, put_layer
from convpress.filters import cluster

torch.manual_seed(0)
model = convpress.create_model("my_network")
small = copy.deepcopy(model)
for name, clusters in (("2", 24), ("5", 20)):
    conv = find_conv(small, name)
    put_layer(small, name, SharedFilterConv2d.from_conv(conv, cluster(conv.weight, clusters, seed=0)))

print(compared(model, small))
convpress.save_model(small, "my_network-shared.safetensors")
