"""Compress one layer of torchvision's resnet18, save the network in one file, and export it to ONNX.

python examples/one_layer_of_resnet18.py [folder]
"""

import sys
from pathlib import Path

import torch

import convpress
from convpress import TuckerConv2d, replace_conv
from convpress.measure import count_macs, count_parameters

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

model = convpress.create_model("torchvision/resnet18")  # weights="DEFAULT" downloads trained ones
before = count_parameters(model), count_macs(model, (3, 224, 224))

layer = replace_conv(model, "layer3.1.conv2", TuckerConv2d, ranks=(64, 64))
print(f"layer3.1.conv2 is now {type(layer).__name__}, sensitivity {layer.sensitivity():.3g}")

convpress.save_model(model, folder / "resnet18-tucker.safetensors")
again = convpress.load(folder / "resnet18-tucker.safetensors")  # rebuilt from the file alone, no pickle
x = torch.randn(1, 3, 224, 224)
assert torch.equal(again(x), model.eval()(x))

after = count_parameters(again), count_macs(again, (3, 224, 224))
print(f"parameters {before[0]:,} to {after[0]:,}, MACs {before[1]:,} to {after[1]:,}")
print(convpress.export(again, folder / "resnet18-tucker.onnx", images=x))  # checked on these images
