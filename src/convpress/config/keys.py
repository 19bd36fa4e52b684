"""Keys that stand twice in a file of parameters: Snakemake takes the last one without a word, DVC refuses the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from convpress.errors import ConvpressError

MERGE = "tag:yaml.org,2002:merge"


def check_keys(paths: Iterable[Path]) -> None:
    """Refuse files in which a section has a key twice; a key beside one that ``<<`` brings is an override.

    Raises:
        ConvpressError: naming file, line and key.
    """
    for path in paths:
        # What is no YAML at all, Snakemake refuses itself; it may be JSON, which is not always YAML.
        with contextlib.suppress(yaml.YAMLError), path.open(encoding="utf-8") as file:
            try:
                yaml.compose(file, Loader=_KeysOnce)
            except _TwiceError as error:
                raise ConvpressError(f"{path}, {error}") from None


class _TwiceError(Exception):
    """A key stands twice; says line and key."""


class _KeysOnce(yaml.SafeLoader):
    """Looks at each section as it is written, before merges are resolved."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that the section has already."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != MERGE):
            if (key.tag, key.value) in seen:
                line = key.start_mark.line + 1
                raise _TwiceError(f"line {line}: key {key.value!r} stands there twice; join the two")
            seen.add((key.tag, key.value))
        return node
