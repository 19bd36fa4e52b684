"""Compressed convolutions as modules, and putting them into a network.

A factorised layer stands for a dense ``nn.Conv2d``; ``kernel()`` multiplies its factors out again. A network
remembers what was replaced (:func:`surgeries`), so that it can be rebuilt from its file alone.
"""

from convpress.layers.cp import CPConv2d, SeparableCPConv2d
from convpress.layers.elementwise import ElementwiseSharedConv2d
from convpress.layers.factorised import FactorisedConv2d
from convpress.layers.low_rank import LowRankConv2d, SeparableConv2d
from convpress.layers.searched import SearchedConv2d
from convpress.layers.shared import SharedFilterConv2d
from convpress.layers.shared_kernels import SharedKernelConv2d
from convpress.layers.surgery import (
    LAYERS,
    Surgery,
    find_conv,
    layer_arguments,
    put_layer,
    register_layer,
    replace_conv,
    surgeries,
)
from convpress.layers.tensor_chain import TensorChainConv2d
from convpress.layers.tucker import TuckerConv2d

__all__ = [
    "LAYERS",
    "CPConv2d",
    "ElementwiseSharedConv2d",
    "FactorisedConv2d",
    "LowRankConv2d",
    "SearchedConv2d",
    "SeparableCPConv2d",
    "SeparableConv2d",
    "SharedFilterConv2d",
    "SharedKernelConv2d",
    "Surgery",
    "TensorChainConv2d",
    "TuckerConv2d",
    "find_conv",
    "layer_arguments",
    "put_layer",
    "register_layer",
    "replace_conv",
    "surgeries",
]
