"""What pydantic finds wrong with a configuration, in the words of params.yaml."""

from __future__ import annotations

import difflib
import re
from typing import Any

from convpress.config.sections import LEARNS_NOTHING, Section


def explain(item: Any, root: type[Section]) -> str:
    """One of pydantic's errors about `root`: the key's path, what is wrong, what is allowed."""
    path = ".".join(str(part) for part in item["loc"] if part != "[key]") or "params"
    kind, found = item["type"], f", found {item['input']!r}"
    if kind == "extra_forbidden":
        return f"{path}: unknown key; {_allowed_here(item['loc'], root)}"
    if kind == LEARNS_NOTHING:
        return f"params: {path}.{item['msg']}"
    if kind in ("model_type", "dict_type"):
        empty = item["input"] is None
        return f"{path}: " + ("an empty section; give its keys or leave it out" if empty else f"not a section{found}")
    if kind == "string_pattern_mismatch":
        dash = "-" in item["ctx"]["pattern"].replace("a-z0-9", "")
        return f"{path}: a name is of small letters, digits{', _ and -' if dash else ' and _'}{found}"
    message = re.sub(r"^Value error, ", "", item["msg"])
    return f"{path}: {message[0].lower()}{message[1:]}" + ("" if kind in ("missing", "value_error") else found)


def _allowed_here(loc: tuple[Any, ...], root: type[Section]) -> str:
    section = _section_at(loc[:-1], root)
    allowed = sorted(section.model_fields)
    near = difflib.get_close_matches(str(loc[-1]), allowed, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}allowed here: {', '.join(allowed)}"


def _section_at(loc: tuple[Any, ...], section: type[Section]) -> type[Section]:
    for part in loc:
        field = section.model_fields.get(str(part))
        found = section_type(field.annotation) if field else None
        section = found or section  # a key of a dictionary of sections keeps the section
    return section


def section_type(annotation: Any) -> type[Section] | None:
    """The section that an annotation holds, also inside a dictionary or an option."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if found := section_type(argument):
            return found
    return None
