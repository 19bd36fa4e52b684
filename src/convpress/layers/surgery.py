"""Replacing layers of any network, and remembering what was replaced."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.registering import enter

Layer = TypeVar("Layer", bound=type[nn.Module])

LAYERS: dict[str, type[nn.Module]] = {
    "Conv2d": nn.Conv2d,
    "BatchNorm2d": nn.BatchNorm2d,
    "Linear": nn.Linear,
}
"""Class name to class of everything a surgery may put into a network."""

# torch's own layers do not tell their arguments; these are the names under which they keep them.
_PLAIN_ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: (
        *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
        *("bias", "padding_mode"),
    ),
    nn.BatchNorm2d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    nn.Linear: ("in_features", "out_features", "bias"),
}


def register_layer(cls: Layer) -> Layer:
    """Make a layer class known under its name; use as a decorator.

    The class must take JSON-able keyword arguments only and return them from ``arguments()``.

    Raises:
        ConvpressError: another class already has that name.
    """
    enter(LAYERS, cls.__name__, cls, "register_layer")
    return cls


@dataclass(frozen=True)
class Surgery:
    """One replaced layer: its dotted name, its class in :data:`LAYERS`, and the constructor's arguments."""

    layer: str
    kind: str
    arguments: dict[str, Any]


COMPILED = "_orig_mod"
"""Where ``torch.compile`` keeps the network that it wraps, and what it puts before all names."""


def uncompiled(model: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``; others as they are."""
    return getattr(model, COMPILED, model)


def uncompiled_name(name: str) -> str:
    """The name that a layer of a compiled network has in the network inside."""
    return name.removeprefix(f"{COMPILED}.")


def surgeries(model: nn.Module) -> list[Surgery]:
    """Return the surgeries done on `model`, oldest first (a new list)."""
    return list(getattr(uncompiled(model), "convpress_surgeries", []))


def layer_arguments(module: nn.Module) -> dict[str, Any]:
    """Return the JSON-able keyword arguments that rebuild `module` (without its weights).

    Raises:
        ConvpressError: the class is not in :data:`LAYERS`.
    """
    kind = type(module)
    if LAYERS.get(kind.__name__) is not kind:
        raise ConvpressError(
            f"{kind.__module__}.{kind.__name__} is not a registered layer; decorate it with register_layer "
            f"or use one of {', '.join(sorted(LAYERS))}."
        )
    if kind not in _PLAIN_ARGUMENTS:
        return module.arguments()  # type: ignore[operator]
    values = {name: getattr(module, name) for name in _PLAIN_ARGUMENTS[kind]}
    if "bias" in values:
        values["bias"] = values["bias"] is not None
    elif kind is nn.BatchNorm2d and module.affine and module.bias is None:
        values["bias"] = False  # noted where it says something, for older versions of torch do not know the argument
    # Lists, because that is what JSON gives back: a surgery equals itself after a round trip.
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def put_layer(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place of the submodule called `name`, in its mode, and note the surgery on `model`.

    A surgery noted earlier for the same layer, or for a part of it, is dropped: it no longer shows. Which parameters
    of `module` learn is for the caller to say: a new head learns on a frozen network.

    Raises:
        ConvpressError: there is no such submodule, or the class of `module` is not registered.
    """
    model, name = uncompiled(model), uncompiled_name(name)
    replaced = find_module(model, name)
    surgery = Surgery(name, type(module).__name__, layer_arguments(module))
    kept = [old for old in surgeries(model) if old.layer != name and not old.layer.startswith(name + ".")]
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module.train(replaced.training))
    model.convpress_surgeries = [*kept, surgery]  # type: ignore[assignment]


def find_conv(model: nn.Module, name: str) -> nn.Conv2d:
    """Return the ``nn.Conv2d`` of `model` called `name`.

    Raises:
        ConvpressError: there is none; the message names convolutions with similar names.
    """
    model = uncompiled(model)
    convolutions = [key for key, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    module = find_module(model, name, convolutions)
    if not isinstance(module, nn.Conv2d):
        raise ConvpressError(
            f"layer {name!r} is a {type(module).__name__}, not a Conv2d; convolutions with similar names: "
            f"{_similar(name, convolutions)}."
        )
    return module


def replace_conv(
    model: nn.Module, name: str, cls: type[Any], *, factors: Sequence[Tensor] | None = None, **options: Any
) -> nn.Module:
    """Replace the convolution `name` by ``cls.from_conv(conv, **options)`` and return it; what was frozen stays so.

    `factors`, if given, are an option as well. Example: ``replace_conv(model, "layer1.1.conv2", CPConv2d, rank=10)``.

    Raises:
        ConvpressError: no such convolution or one with several names, a grouped one, a class without ``from_conv``, an
            impossible rank, or factors that do not fit.
    """
    model, name = uncompiled(model), uncompiled_name(name)
    conv = find_conv(model, name)
    _check_one_name(model, name, conv)
    if not hasattr(cls, "from_conv"):
        raise ConvpressError(f"layer {name!r}: {cls.__name__} has no from_conv that would make it of a convolution.")
    if factors is not None:
        options["factors"] = factors
    try:
        layer = cls.from_conv(conv, **options)
    except ConvpressError as error:
        raise ConvpressError(f"layer {name!r}: {error}") from error
    put_layer(model, name, layer)
    _freeze_like(conv, layer)
    return layer


def _check_one_name(model: nn.Module, name: str, conv: nn.Conv2d) -> None:
    """Refuse to replace one of several uses of a convolution, which would no longer share their weights."""
    # Each owner counts once, so that a convolution in a block that itself has two names is no matter.
    owners = dict(model.named_modules())
    uses = [(owner, key) for owner in owners for key, child in owners[owner]._modules.items() if child is conv]
    if len(uses) > 1:
        names = ", ".join(".".join(filter(None, use)) for use in uses)
        raise ConvpressError(
            f"layer {name!r}: one convolution has the names {names}, and replacing one would part their weights; "
            "make a layer with from_conv and put it there under each name with put_layer."
        )


def _freeze_like(conv: nn.Conv2d, layer: nn.Module) -> None:
    """Let the biases of `layer` learn only if that of `conv` did, and the rest only if its weight did."""
    bias = conv.weight if conv.bias is None else conv.bias
    for name, parameter in layer.named_parameters():
        if not (bias if name.endswith("bias") else conv.weight).requires_grad:
            parameter.requires_grad_(False)


def find_module(model: nn.Module, name: str, candidates: Sequence[str] | None = None) -> nn.Module:
    """The module `name`; raises `ConvpressError` that names similar ones, of `candidates` if given."""
    model, name = uncompiled(model), uncompiled_name(name)
    modules = dict(model.named_modules(remove_duplicate=False))
    if name and name in modules:
        return modules[name]
    known = list(modules)[1:] if candidates is None else candidates
    raise ConvpressError(
        f"{type(model).__name__} has no layer {name!r}; layers with similar names: {_similar(name, known)}."
    )


def _similar(name: str, known: Sequence[str]) -> str:
    return ", ".join(difflib.get_close_matches(name, known, n=4, cutoff=0.0)) or "none"
