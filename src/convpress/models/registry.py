"""Networks by name. A model made here knows its own name and arguments, so that its file can rebuild it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from convpress.errors import ConvpressError
from convpress.registering import enter

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])

MODELS: dict[str, Callable[..., nn.Module]] = {}
"""Model name to the function that builds it; torchvision's are known as ``torchvision/<name>`` besides."""

TORCHVISION = "torchvision/"


def register_model(name: str) -> Callable[[Factory], Factory]:
    """Make a model known under `name`; use as a decorator of a function with JSON-able keyword arguments.

    Raises:
        ConvpressError: another function has that name.
    """

    def register(factory: Factory) -> Factory:
        enter(MODELS, name, factory, "register_model")
        return factory

    return register


def create_model(name: str, /, **arguments: Any) -> nn.Module:
    """Build a network with fresh weights and note its architecture in ``model.convpress_architecture``.

    ``torchvision/<name>`` builds a torchvision model; its ``weights`` argument is honoured and not noted, as
    a file brings its own weights.

    Raises:
        ConvpressError: unknown name, arguments the model does not take, or arguments that JSON cannot hold; or what
            is registered makes no module.
    """
    pretrained = name.startswith(TORCHVISION) and arguments.get("weights") is not None
    noted = {k: value for k, value in arguments.items() if k != "weights" or not name.startswith(TORCHVISION)}
    try:
        json.dumps(noted)
    except TypeError as error:
        raise ConvpressError(f"model {name}: arguments must be numbers, texts, lists or dicts ({error}).") from error
    factory = _factory(name)
    try:
        model = factory(**arguments)
    except Exception as error:  # a network refuses arguments in words of its own, by assertions too
        reason = str(error) or type(error).__name__
        raise ConvpressError(f"model {name}: cannot be built with {arguments} ({reason}).") from error
    if not isinstance(model, nn.Module):
        raise ConvpressError(f"model {name}: its function made a {type(model).__name__}; let it return an nn.Module.")
    if pretrained:
        # With weights, two of torchvision's models set these themselves; without them a reload must be told.
        noted |= {key: getattr(model, key) for key in ("aux_logits", "transform_input") if hasattr(model, key)}
    model.convpress_architecture = {"name": name, "arguments": noted}  # type: ignore[assignment]
    return model


def _factory(name: str) -> Callable[..., nn.Module]:
    if name in MODELS:
        return MODELS[name]
    known, own = sorted(MODELS), " if it is your own, import the module that defines it (`convpress --import MODULE`);"
    if name.startswith(TORCHVISION):
        import torchvision.models  # two seconds, and rarely needed

        names = torchvision.models.list_models(module=torchvision.models)
        if name.removeprefix(TORCHVISION) in names:
            return torchvision.models.get_model_builder(name.removeprefix(TORCHVISION))
        known, own = [TORCHVISION + item for item in names], ""
    near = ", ".join(difflib.get_close_matches(name, known, n=4, cutoff=0.4) or sorted(MODELS))
    raise ConvpressError(f"there is no model {name!r};{own} similar or known: {near}, or torchvision/<name>.")
