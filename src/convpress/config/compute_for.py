"""Section compute_for of params.yaml, and its switch for the compiler, which YAML may read as a truth value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from convpress.config.sections import Count, Section


def switch(value: Any) -> Any:
    """The word for a truth value: unquoted on and off are such in YAML 1.1, and DVC writes them unquoted."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def with_switch(section: Any) -> Any:
    """A section compute as it was read, with the word in `compile`."""
    if isinstance(section, dict) and "compile" in section:
        return section | {"compile": switch(section["compile"])}
    return section


class ComputeForConfig(Section):
    """How the machine is used for trainings of one network; what is absent is as in compute."""

    threads: Count | None = Field(None, description="Threads of its training from scratch.")
    compile: Annotated[Literal["auto", "on", "off"] | None, BeforeValidator(switch)] = Field(
        None, description="torch.compile for its trainings; without batch norms there is little to gain."
    )
