"""Entering models and layers under names."""

from __future__ import annotations

from typing import Any

from convpress.errors import ConvpressError


def enter(known: dict[str, Any], name: str, made: Any, decorator: str) -> None:
    """Put `made` into `known`; the same definition, run again (a notebook's cell, a reload), replaces itself.

    Raises:
        ConvpressError: another definition has that name.
    """
    other = known.get(name)
    if other is not None and _definition(other) != _definition(made):
        raise ConvpressError(
            f"{decorator}: the name {name!r} is taken by {_definition(other)[0]}; choose another name."
        )
    known[name] = made


def _definition(made: Any) -> tuple[Any, Any]:
    return getattr(made, "__module__", None), getattr(made, "__qualname__", id(made))
