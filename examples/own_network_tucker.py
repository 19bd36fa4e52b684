"""Tucker-2 layers: fewer channels before and after the spatial convolution.

python examples/own_network_tucker.py
"""

import copy

import torch
from my_network import compared

import convpress
from convpress import TuckerConv2d, replace_conv

torch.manual_seed(0)
model = convpress.create_model("my_network")
small = copy.deepcopy(model)
replace_conv(small, "2", TuckerConv2d, ranks=(12, 16))
replace_conv(small, "5", TuckerConv2d, ranks=(16, 16))

print(compared(model, small))
convpress.save_model(small, "my_network-tucker.safetensors")
