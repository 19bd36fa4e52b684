"""The networks. A new one is a file here with a registered function, and a line below."""

from convpress.models import alexnet as alexnet  # importing registers
from convpress.models import resnet_cifar as resnet_cifar
from convpress.models.registry import MODELS, create_model, register_model

__all__ = ["MODELS", "create_model", "register_model"]
