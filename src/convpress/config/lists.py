"""Lists whose entries stand once, rise, or hold the first seed; and the recipes of all trainings.

Not in the sections themselves, because trainings import those, and all would run anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from convpress.config.sections import LARGEST_SEED, Section, TrainingConfig

if TYPE_CHECKING:
    from convpress.config.schema import Config


def recipes(value: Any, place: str = "") -> Iterator[tuple[str, TrainingConfig]]:
    """All trainings of a configuration with their paths."""
    if isinstance(value, TrainingConfig):
        yield place, value
    elif isinstance(value, Section):
        for name in type(value).model_fields:
            yield from recipes(getattr(value, name), f"{place}.{name}".lstrip("."))
    elif isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from recipes(value[key], f"{place}.{key}")


def check_lists(config: Config) -> None:
    """Refuse entries that stand twice, and numbers that do not rise where they must.

    Raises:
        ValueError: naming the list.
    """
    for place, entries in _with_entries_once(config):
        if twice := [entry for number, entry in enumerate(entries) if entry in entries[:number]]:
            raise ValueError(f"{place}: {twice[0]!r} stands there twice; name it once")
    rising = {f"{place}.milestones": recipe.milestones for place, recipe in recipes(config)}
    for place, numbers in (rising | {"sensitivity.probe.rates": config.sensitivity.probe.rates}).items():
        if any(left >= right for left, right in pairwise(numbers)):
            raise ValueError(f"{place} is {numbers}; the numbers must rise")


def _with_entries_once(config: Config) -> Iterator[tuple[str, Sequence[Any]]]:
    search, clustering, probe = config.kernel_search, config.clustering, config.sensitivity.probe
    yield "baselines", config.baselines
    yield from ((f"kernel_search.{key}", getattr(search, key)) for key in ("decompose", "layers"))
    for key in ("models", "decompositions", "compressions", "noise", "slacks"):
        yield f"sensitivity.probe.{key}", getattr(probe, key)
    yield from ((f"clustering.groups.{i}.layers", group.layers) for i, group in enumerate(clustering.groups))
    yield from ((f"clustering.{key}", getattr(clustering, key)) for key in ("compare", "replicated"))
    yield "clustering.plans.columns", [column.name for column in clustering.plans.columns]
    yield "clustering.plans.finetune", clustering.plans.finetune
    yield "merging.train", config.merging.train
    yield from ((f"merging.variants.{name}.replicates", v.replicates) for name, v in config.merging.variants.items())
    yield "low_rank.layers", config.low_rank.layers
    yield "low_rank.comparison.penalties", config.low_rank.comparison.penalties


def check_replicates(config: Config) -> None:
    """Refuse seeds that are too large, and replicates of a variant whose first training nobody asks for.

    Tables compare variants by their first training; the others tell how far seeds are apart.

    Raises:
        ValueError: naming the list, or the variant.
    """
    sets = {f"merging.variants.{name}": variant.replicates for name, variant in config.merging.variants.items()}
    grids = {f"sensitivity.grids.{name}": grid.replicates for name, grid in config.sensitivity.grids.items() if grid}
    for place, replicates in (sets | grids).items():
        if not replicates or max(replicates) > LARGEST_SEED:
            raise ValueError(f"{place}.replicates is {replicates}; give one or more, of 0 to {LARGEST_SEED}")
    for place, replicates in sets.items():
        if 0 not in replicates:
            raise ValueError(f"{place}.replicates is {replicates}; add 0, the training that the tables compare")
    variants = config.sensitivity.variants()
    for name, variant in variants.items():
        if (first := name.removesuffix(f"-s{variant.replicate}")) not in variants:
            raise ValueError(f"sensitivity.grids: {name} repeats {first}, which no grid has; add 0 to its replicates")
