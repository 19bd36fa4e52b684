"""convpress: compress convolutional networks in five ways and compare them honestly."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

_HOME = {
    "ConvpressError": "convpress.errors",
    "CPConv2d": "convpress.layers",
    "ElementwiseSharedConv2d": "convpress.layers",
    "LowRankConv2d": "convpress.layers",
    "SearchedConv2d": "convpress.layers",
    "SeparableCPConv2d": "convpress.layers",
    "SeparableConv2d": "convpress.layers",
    "SharedFilterConv2d": "convpress.layers",
    "SharedKernelConv2d": "convpress.layers",
    "TensorChainConv2d": "convpress.layers",
    "TuckerConv2d": "convpress.layers",
    "create_model": "convpress.models",
    "export": "convpress.onnx_export",
    "find_conv": "convpress.layers",
    "load": "convpress.checkpoints",
    "put_layer": "convpress.layers",
    "register_layer": "convpress.layers",
    "register_model": "convpress.models",
    "replace_conv": "convpress.layers",
    "save_model": "convpress.checkpoints",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    # Late, so that reading a configuration does not wait for torch.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'convpress' has no attribute {name!r}; it offers {', '.join(__all__)}")
