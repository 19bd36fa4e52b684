"""What is checked of the section clustering against the network itself, before any job starts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from convpress.clustering.budget import proportional
from convpress.clustering.remedies import sizes_of
from convpress.clustering.sweep import cut, traced
from convpress.config.clustering import ClusteringConfig
from convpress.errors import ConvpressError
from convpress.layers.base import conv_geometry
from convpress.layers.surgery import find_conv


def check_clustering(config: ClusteringConfig, model: nn.Module) -> None:
    """Check layer names, numbers of clusters and ratios; `model` may be without weights.

    Raises:
        ConvpressError: naming the key and what is possible.
    """
    try:
        traced(model)
    except ConvpressError as error:
        raise ConvpressError(f"clustering.model: {error}") from None
    _check_layers("clustering.layers", config.layers, model)
    for number, group in enumerate(config.groups):
        _check_equal(f"clustering.groups.{number}", group.layers, model)
    plans = config.plans
    for number, column in enumerate(plans.columns):
        place = f"clustering.plans.columns.{number}"
        filters = _check_equal(place, column.layers, model)
        for row, plan in enumerate(plans.rows):
            if plan[number] > filters:
                raise ConvpressError(
                    f"clustering.plans.rows.{row}: {plan[number]} clusters for column {column.name}; "
                    f"1 to {filters} are possible, the number of filters of {column.layers[0]}"
                )
    for number, ratio in enumerate(config.ratios):
        try:
            proportional(sizes_of(model, config.layers), ratio, {})
        except ConvpressError as error:
            raise ConvpressError(f"clustering.ratios.{number}: {error}") from None


def _check_layers(place: str, layers: Sequence[str], model: nn.Module) -> list[int]:
    """The numbers of filters of the layers, which must all be there, and computed once."""
    filters = []
    for number, layer in enumerate(layers):
        try:
            filters.append(conv_geometry(find_conv(model, layer))["out_channels"])
        except ConvpressError as error:
            raise ConvpressError(f"{place}.{number}: {error}") from None
    try:
        cut(model, list(layers))
    except ConvpressError as error:
        raise ConvpressError(f"{place}: {error}") from None
    return filters


def _check_equal(place: str, layers: list[str], model: nn.Module) -> int:
    filters = _check_layers(f"{place}.layers", layers, model)
    if len(set(filters)) > 1:
        raise ConvpressError(f"{place}: its layers have {sorted(set(filters))} filters; they must have equally many")
    return filters[0]
