"""Replacing layers of any network, and remembering what was replaced."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.layers.base import conv_geometry
from convpress.layers.hooks import check_unhooked
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
    """The network inside ``torch.compile``; others as they are.

    Raises:
        ConvpressError: it is no module, or inside ``DataParallel``, which gives its layers other names.
    """
    if not isinstance(model, nn.Module):
        raise ConvpressError(f"the network is a {type(model).__name__}; give a module, as convpress.load returns one.")
    model = getattr(model, COMPILED, model)
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ConvpressError(f"the network is inside {type(model).__name__}; give the network itself, model.module.")
    return model


def uncompiled_name(name: str) -> str:
    """The name that a layer of a compiled network has in the network inside.

    Raises:
        ConvpressError: it is no text.
    """
    if not isinstance(name, str):
        raise ConvpressError(f"the name of a layer is {name!r}; give text such as 'layer1.0.conv2'.")
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

    A layer with weights that has several names is replaced under all of them: its uses go on sharing their weights. A
    surgery noted earlier for the same layer, or for a part of it, is dropped: it no longer shows. Which parameters of
    `module` learn is for the caller to say (`exchange_layer` takes over what was frozen): a new head learns on a frozen
    network.

    Raises:
        ConvpressError: there is no such submodule, or the class of `module` is not registered.
    """
    model, name = uncompiled(model), uncompiled_name(name)
    replaced = find_module(model, name)
    surgery = Surgery(name, type(module).__name__, layer_arguments(module))
    kept = [old for old in surgeries(model) if old.layer != name and not old.layer.startswith(name + ".")]
    parent, _, child = name.rpartition(".")
    uses = {(model.get_submodule(parent), child)}
    if next(replaced.parameters(), None) is not None:
        uses |= set(_uses(model, replaced))
    for owner, key in uses:
        setattr(owner, key, module)
    module.train(replaced.training)
    model.convpress_surgeries = [*kept, surgery]  # type: ignore[assignment]


def exchange_layer(model: nn.Module, name: str, module: nn.Module) -> None:
    """As `exchange_layers`, of one."""
    exchange_layers(model, {name: module})


def exchange_layers(model: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """As `put_layer` for each name, all or none, and what was frozen stays so.

    The biases of a module learn only if that of the layer before did, and the rest only if its weights did.

    Raises:
        ConvpressError: as `put_layer`, or a layer before has hooks, which would be lost, or is a part of a compressed
            layer.
    """
    for name, module in modules.items():
        layer_arguments(module)
        check_unhooked(find_module(model, name), f"layer {name!r}")
        _check_no_part(uncompiled(model), uncompiled_name(name))
    for name, module in modules.items():
        before = find_module(model, name)
        put_layer(model, name, module)
        _freeze_like(before, module)


def _freeze_like(before: nn.Module, module: nn.Module) -> None:
    learns: dict[bool, list[bool]] = {True: [], False: []}
    for key, parameter in before.named_parameters():
        learns[key.endswith("bias")].append(parameter.requires_grad)
    for key, parameter in module.named_parameters():
        of_its_kind = learns[key.endswith("bias")] or learns[False]
        if of_its_kind and not any(of_its_kind):
            parameter.requires_grad_(False)


def _uses(model: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where `module` is: its owners, each once, and the names that they have for it."""
    return [(owner, key) for owner in model.modules() for key, child in owner._modules.items() if child is module]


def check_one_use(model: nn.Module, name: str) -> None:
    """Refuse a layer that has several names where only one of its uses would change its number of channels.

    Raises:
        ConvpressError: the layer has several names; the message tells them.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if len(_uses(model, modules[name])) > 1:
        names = [other for other, module in modules.items() if module is modules[name]]
        raise ConvpressError(f"layer {name!r}: one layer has the names {', '.join(names)}; leave it as it is.")


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

    A convolution with several names is replaced under all of them. `factors`, if given, are an option as well.
    Example: ``replace_conv(model, "layer1.1.conv2", CPConv2d, rank=10)``.

    Raises:
        ConvpressError: no such convolution or a grouped one, one with hooks, one that is a part of a compressed layer,
            a class without ``from_conv``, options that it does not take, an impossible rank, or factors that do not
            fit.
    """
    model, name = uncompiled(model), uncompiled_name(name)
    conv = find_conv(model, name)
    if not hasattr(cls, "from_conv"):
        called = getattr(cls, "__name__", repr(cls))
        raise ConvpressError(f"layer {name!r}: {called} has no from_conv that would make it of a convolution.")
    _check_no_part(model, name)
    if factors is not None:
        options["factors"] = factors
    with naming(name):
        layer = _made_of(cls, conv, options)
    exchange_layer(model, name, layer)
    return layer


def replace_convs(model: nn.Module, names: Iterable[str], make: Callable[[str, nn.Conv2d], nn.Module]) -> None:
    """Put ``make(name, conv)`` in the place of the convolutions `names`: of all or of none; what was frozen stays so.

    Raises:
        ConvpressError: there is no such convolution, one cannot be replaced, or as `make`; the message names it.
    """
    convs = {name: find_conv(model, name) for name in names}
    for name, conv in convs.items():
        with naming(name):
            conv_geometry(conv)  # before the first is made, which may take minutes
    made = {}
    for name, conv in convs.items():
        with naming(name):
            made[name] = make(name, conv)
    exchange_layers(model, made)


def _made_of(cls: type[Any], conv: nn.Conv2d, options: dict[str, Any]) -> nn.Module:
    try:
        return cls.from_conv(conv, **options)
    except TypeError as error:
        _, *taken = inspect.signature(cls.from_conv).parameters.values()
        known = ", ".join(str(option.replace(annotation=option.empty)) for option in taken)
        raise ConvpressError(f"{cls.__name__} is not made with these options ({error}); it takes {known}.") from error


def _check_no_part(model: nn.Module, name: str) -> None:
    """Refuse a part of a layer that reads the weights of its parts when it is asked for its kernel."""
    owner = name
    while owner := owner.rpartition(".")[0]:
        kind = type(model.get_submodule(owner))
        if LAYERS.get(kind.__name__) is kind and hasattr(kind, "kernel"):
            raise ConvpressError(
                f"layer {name!r} is a part of the {kind.__name__} {owner!r}, which needs it as it is; put a "
                "convolution of its kernel() in the place of the whole and compress that."
            )


@contextmanager
def naming(name: str, what: str = "layer") -> Iterator[None]:
    """Put the name of a layer before what is wrong with it."""
    try:
        yield
    except ConvpressError as error:
        raise ConvpressError(f"{what} {name!r}: {error}") from error


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
