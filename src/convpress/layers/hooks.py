"""Hooks on layers, which surgery would lose without a word."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from convpress.errors import ConvpressError


def has_hooks(module: nn.Module) -> bool:
    """Whether something wants to see the module itself run."""
    return any((module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks))


def check_unhooked(layer: nn.Module, name: str) -> None:
    """Refuse a layer that would take hooks with it: of its parts too, of what they save and load, and of gradients.

    Raises:
        ConvpressError: there are such hooks; `name` names the layer.
    """
    gradients = (hooks for p in layer.parameters() for hooks in (p._backward_hooks, p._post_accumulate_grad_hooks))
    if any(has_hooks(part) or _has_state_hooks(part) for part in layer.modules()) or any(gradients):
        raise ConvpressError(
            f"{name} has hooks, which would be lost with it; remove them (their handles do that) and "
            "register them again on the new layer."
        )


def _has_state_hooks(part: nn.Module) -> bool:
    saving = (part._state_dict_pre_hooks, part._state_dict_hooks, part._load_state_dict_post_hooks)
    # Parametrisations hook loading, to know files that are older than they.
    return any(saving) or bool(part._load_state_dict_pre_hooks and not is_parametrized(part))
