"""Keys that stand twice in a file of parameters: Snakemake takes the last one without a word, DVC refuses the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from convpress.errors import ConvpressError

MERGE = "tag:yaml.org,2002:merge"

# Quicker where PyYAML was built with libyaml.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_keys(paths: Iterable[Path]) -> None:
    """Refuse files in which a section has a key twice; a key beside one that ``<<`` brings is an override.

    Raises:
        ConvpressError: naming file, line and key.
    """
    for path in paths:
        # What is no YAML at all, Snakemake refuses itself; it may be JSON, which is not always YAML.
        with contextlib.suppress(yaml.YAMLError), path.open(encoding="utf-8") as file:
            for key in _repeated(yaml.compose(file, Loader=LOADER)):
                line = key.start_mark.line + 1
                raise ConvpressError(f"{path}, line {line}: key {key.value!r} stands there twice; join the two")


def _repeated(root: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """Keys that their section has already, as it is written, before merges are resolved."""
    pending, known = [root], set()
    while pending:
        node = pending.pop()
        if node in known:  # an alias, perhaps of what it lies in
            continue
        known.add(node)
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        if isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                    if (key.tag, key.value) in seen:
                        yield key
                    seen.add((key.tag, key.value))
                pending.append(value)
