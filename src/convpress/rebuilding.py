"""Networks from what their files note of them, and whether weights fit a network."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from convpress.errors import ConvpressError
from convpress.models.registry import MODELS, create_model

_SHOWN = 3
_FILLS = ("normal_", "uniform_")


def rebuild(noted: Mapping[str, Any]) -> nn.Module:
    """Build the network of ``{"architecture": dict, "surgeries": list of dicts}`` with fresh weights.

    Raises:
        ConvpressError: it cannot be built; the message names model or layer.
    """
    from convpress.layers.surgery import LAYERS, put_layer

    try:
        architecture = noted["architecture"]
        model = create_model(architecture["name"], **architecture["arguments"])
        for surgery in noted["surgeries"]:
            if surgery["kind"] not in LAYERS:
                raise ConvpressError(
                    f"layer {surgery['layer']} is a {surgery['kind']}, which is not registered; import the module that "
                    f"defines it first (`convpress --import MODULE`), or use one of {', '.join(sorted(LAYERS))}"
                )
            put_layer(model, surgery["layer"], LAYERS[surgery["kind"]](**surgery["arguments"]))
    except ConvpressError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ConvpressError(f"its network cannot be rebuilt ({error!r}); make it again.") from error
    return model


def skeleton(noted: Mapping[str, Any]) -> nn.Module:
    """`rebuild` with names, shapes and types but no numbers: milliseconds and no memory, whatever the size.

    The random state is left as it was.

    Raises:
        ConvpressError: as `rebuild`.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with warnings.catch_warnings(), torch.device("meta"), _Unfilled():
                warnings.simplefilter("ignore")  # of weights that a constructor loads and that have no place here
                return rebuild(noted)
        except Exception:  # a constructor that computes with its numbers needs them
            return rebuild(noted)


class _Unfilled(TorchFunctionMode):
    """Leaves out random starts: on the meta device they do nothing, but load the compiler first, for seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _FILLS or (getattr(func, "__module__", "") == "torch.nn.init" and name.endswith("_")):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def take_type(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give `model` the floating type of `state`, if that has a single one."""
    types = {value.dtype for value in state.values() if value.is_floating_point()}
    if len(types) == 1:
        dtype = types.pop()
        model._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)  # .to would make complex numbers real


def check_comes_back(path: Path | str, model: nn.Module, noted: Mapping[str, Any]) -> None:
    """Check that what is noted gives `model` but for its numbers.

    That is modules of the same classes that say the same of themselves (stride, padding, slope and so on), weights of
    the same names, shapes and types, and the same sharing of weights.

    Raises:
        ConvpressError: it does not; the message names the first differences and the way out.
    """
    try:
        found = skeleton(noted)
    except ConvpressError as error:
        raise ConvpressError(f"{path}: not saved, the file could not be loaded: {error}") from error
    state = model.state_dict()
    _check_numbers(path, state)
    take_type(found, state)
    differences = _differences(state, found)
    if differences:
        way_out = _way_out(next(iter(differences)), state, found, model)
        raise ConvpressError(f"{path}: not saved, the file could not be loaded: {_first(differences)}; {way_out}.")
    if other := _other_modules(model, found):
        name, what = other
        raise ConvpressError(
            f"{path}: not saved, another network would come back: {name} {what}; {_way_to_note(name, model)}."
        )


def _check_numbers(path: Path | str, state: Mapping[str, Any]) -> None:
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise ConvpressError(
                f"{path}: not saved, {key} is a {type(value).__name__}, and a file holds tensors alone; let "
                "get_extra_state return a tensor, or make the state an argument of the network."
            )
        if is_lazy(value) or value.is_meta:
            way_out = "run the network on an image" if is_lazy(value) else "load its weights with assign=True"
            raise ConvpressError(f"{path}: not saved, {key} has no numbers yet; {way_out} first.")


def _other_modules(model: nn.Module, found: nn.Module) -> tuple[str, str] | None:
    """The first module that is another in `found`, and how, if there is one."""
    here, there = (dict(network.named_modules(remove_duplicate=False)) for network in (model, found))
    for name in (*there, *here):
        ours, theirs = here.get(name), there.get(name)
        if isinstance(theirs, LazyModuleMixin):
            continue
        if ours is None or theirs is None:
            return name, "was removed" if ours is None else "was added"
        if _said(ours) != _said(theirs):
            return name or "the network", f"is {_said(ours)}, and was {_said(theirs)}"
    for name, other in sorted(_twins(found) ^ _twins(model)):
        return name, f"and {other} share their weights in one of the two networks alone"
    return None


def _said(module: nn.Module) -> str:
    # These two name the devices of their tensors, whose names, shapes and types are compared besides.
    of_itself = "" if isinstance(module, nn.ParameterDict | nn.ParameterList) else module.extra_repr()
    return f"{type(module).__name__}({of_itself})"


def _twins(model: nn.Module) -> set[tuple[str, str]]:
    """Pairs of names of one parameter, the first with each other."""
    names: dict[int, str] = {}
    return {
        (names[id(p)], name)
        for name, p in model.named_parameters(remove_duplicate=False)
        if names.setdefault(id(p), name) != name
    }


def _way_to_note(name: str, model: nn.Module) -> str:
    from convpress.layers.hooks import has_hooks
    from convpress.layers.surgery import LAYERS

    layer = dict(model.named_modules(remove_duplicate=False)).get(name)
    kind = type(layer)
    if layer is not None and LAYERS.get(kind.__name__) is kind and not has_hooks(layer):  # no note keeps hooks
        return f"put the layer there with convpress.put_layer(model, {name!r}, ...), on the whole model"
    return "register a function that makes the network as it is (convpress.register_model)"


def _way_out(key: str, state: Mapping[str, Tensor], found: nn.Module, model: nn.Module) -> str:
    """What to do about the difference in `key`, found in the nearest layer that the noted network has as well."""
    there = found.state_dict().get(key)
    if there is not None and key in state and there.shape == state[key].shape:
        return "give all weights one type, for example with model.float()"
    layers = dict(found.named_modules())
    while key not in layers:
        key = key.rpartition(".")[0]
    return _way_to_note(key, model)


def check_state(
    path: Path | str, state: Mapping[str, Tensor], model: nn.Module, counters_optional: bool = False
) -> None:
    """Compare names, shapes and types of a state dict with a model's.

    Raises:
        ConvpressError: they differ; the message names the first differences, and the network that would fit.
    """
    differences = _differences(state, model, counters_optional)
    if not differences:
        return
    name = getattr(model, "convpress_architecture", {"name": type(model).__name__})["name"]
    looks = _recognise(state)
    hint = f", it looks like {looks}" if looks else ""
    raise ConvpressError(
        f"{path}: does not fit {name}{hint}: {_first(differences)}; "
        "choose the checkpoint and the architecture that belong together."
    )


def _first(differences: Mapping[str, str]) -> str:
    more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return "; ".join(f"{key} {what}" for key, what in list(differences.items())[:_SHOWN]) + more


def _differences(state: Mapping[str, Tensor], model: nn.Module, counters_optional: bool = False) -> dict[str, str]:
    """What is wrong, by name in the state dict."""
    expected = model.state_dict()
    # Counters of batches came with PyTorch 0.4.1; older checkpoints lack them and they do not matter.
    missing = [
        key for key in expected if key not in state and not (counters_optional and key.endswith("num_batches_tracked"))
    ]
    result = dict.fromkeys(missing, "is missing")
    result |= {key: "is not expected" for key in state if key not in expected}
    for key in (key for key in expected if key in state and not is_lazy(expected[key])):
        here, there = state[key], expected[key]
        if here.shape != there.shape:
            result[key] = f"has shape {tuple(here.shape)}, not {tuple(there.shape)}"
        elif here.dtype != there.dtype:
            result[key] = f"is {here.dtype}, not {there.dtype}"
    return result


def _recognise(state: Mapping[str, Tensor]) -> str | None:
    """The registered network, made without arguments, to which a state dict belongs, if there is one."""
    for name in sorted(MODELS):
        with suppress(Exception):  # a network of the user's own, which may need arguments
            candidate = skeleton({"architecture": {"name": name, "arguments": {}}, "surgeries": []})
            if not _differences(state, candidate, counters_optional=True):
                return name
    return None
