"""The parameter reference, generated from the schema: `python -m convpress.config.reference`."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from convpress.config.mistakes import section_type
from convpress.config.schema import Config
from convpress.config.sections import Section, TrainingConfig

RECIPE = "training recipe"
MANY = {"dict": ".<name>", "list": "[]"}
"""What stands behind the key of sections that are several: each has a name, or a place in a list."""

SEEDS = (
    '"The seed" is a document of another author that a study follows (`report/reference/README.md`); seeds of random '
    "numbers are in the keys `seed`, `split_seed` and `replicates`."
)


def rows(section: type[Section] = Config, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Rows (key, type, default, description), depth first; a training recipe's keys are listed once, at the end."""
    for name, field in section.model_fields.items():
        inner = section_type(field.annotation)
        many = next((mark for kind, mark in MANY.items() if inner and kind in str(field.annotation)), "")
        key = prefix + name + many
        default = "required" if field.is_required() else ("" if inner else f"`{field.default!r}`")
        words = "section" if many != MANY["list"] else "list of sections"
        kind = RECIPE if inner is TrainingConfig else (words if inner else type_name(field.annotation))
        yield key, kind, default, field.description or ""
        if inner and inner is not TrainingConfig:
            yield from rows(inner, key + ".")


def type_name(annotation: Any) -> str:
    """A field's type in words: without the limits of its values, `int or None` for an option."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return type_name(parts[0])
    if kind is Literal:
        *most, last = (f"`{part}`" for part in parts)
        return f"{', '.join(most)} or {last}" if most else last
    if kind in (Union, UnionType):
        return " or ".join(map(type_name, parts))
    if kind is list:
        return f"list of {type_name(parts[0])}"
    if parts:
        return f"{kind.__name__}[{', '.join(map(type_name, parts))}]"  # type: ignore[union-attr]
    return "None" if annotation is NoneType else str(annotation.__name__)


def markdown() -> str:
    """The whole page."""
    lines = ["# Parameters", "", "Generated from the schema (`make docs`); every key of `params.yaml`.", "", SEEDS, ""]
    for title, section in (("", Config), (RECIPE, TrainingConfig)):
        if title:
            lines += ["", f"## Keys of a {title}", ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [f"| `{key}` | {kind} | {default} | {text} |" for key, kind, default, text in rows(section)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
