"""Which filters of a layer share: one function a way, all with the same signature."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from convpress.config.clustering import RemedyConfig
from convpress.errors import ConvpressError
from convpress.filters import cluster, filter_rows
from convpress.layers.shared import cluster_means

Grouping = Callable[[Tensor, int, RemedyConfig, int], Tensor]
"""Maps filters (T, S, h, w), the number of filters to keep, the remedy and a seed to labels, 0 at least."""


def group_filters(filters: Tensor, clusters: int, remedy: RemedyConfig, seed: int) -> Tensor:
    """Labels (T,) by k-means; of the directions alone where the remedy's distance is cosine.

    On the unit sphere the squared Euclidean distance is twice the cosine distance.

    Raises:
        ConvpressError: `clusters` is below 1 or above the number of distinct filters.
    """
    return cluster(_directions(filters) if remedy.distance == "cosine" else filters, clusters, seed=seed)


def group_near_filters(filters: Tensor, clusters: int, remedy: RemedyConfig, seed: int) -> Tensor:
    """Labels (T,) with at most `clusters` values: filters far from their centroid stay themselves.

    The part `remedy.threshold` of the filters, the nearest ones, is replaced; at 0 nothing is. To keep within
    `clusters`, k-means gets the largest number of clusters that leaves room for the filters that stay. Where so
    many would stay that there is no room, only the furthest do. Source: seed document 002, second problem.

    Raises:
        ConvpressError: as `group_filters`.
    """
    assert remedy.threshold is not None
    features = _directions(filters) if remedy.distance == "cosine" else filters.detach()
    for first in range(clusters, 0, -1) or (clusters,):  # what is below 1 is refused there
        labels = split_far(features, group_filters(filters, first, remedy, seed), remedy.threshold)
        if int(labels.max()) < clusters:
            return labels
    one = torch.zeros(len(filters), dtype=torch.int64)
    return split_far(features, one, 1 - (clusters - 1) / len(filters))


def split_far(features: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Labels in which the ``1 - threshold`` of the rows that lie furthest from their centroid are alone.

    Rows that equal their centroid gain nothing and stay where they are.
    """
    rows = features.flatten(1).double()
    distance = (rows - cluster_means(rows, labels)[labels]).norm(dim=1)
    alone = distance.argsort(descending=True, stable=True)[: math.ceil(round((1 - threshold) * len(rows), 9))]
    alone = alone[distance[alone] > 1e-12 * rows.norm(dim=1).max()]
    labels = labels.clone()
    labels[alone] = int(labels.max()) + 1 + torch.arange(len(alone))
    return labels.unique(return_inverse=True)[1]


def group_elements(filters: Tensor, clusters: int, remedy: RemedyConfig, seed: int) -> Tensor:
    """Labels (T, S, h, w): the T numbers at each position of the filter are grouped by themselves, exactly.

    Source: seed document 002, third problem. On a line the best k-means is found by dynamic programming, so there
    is nothing to seed.

    Raises:
        ConvpressError: `clusters` is below 1 or above the number of filters, or as `filter_rows`.
    """
    if not 1 <= clusters <= len(filters):
        raise ConvpressError(f"clusters is {clusters}; 1 to {len(filters)} is possible, the number of filters.")
    return torch.from_numpy(cluster_lines(filter_rows(filters), clusters)).view(filters.shape)


def cluster_lines(values: np.ndarray, clusters: int) -> np.ndarray:
    """Optimal k-means of each column of `values` (n, columns) by itself; labels (n, columns) int64, ascending.

    Exact in O(k n^2) by dynamic programming over the sorted numbers (Wang and Song, Ckmeans.1d.dp, 2011).
    """
    n, columns = values.shape
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    ordered = ordered - ordered.mean(axis=0)  # the sums of squares below cancel less
    zero = np.zeros((1, columns))
    sums = np.vstack([zero, ordered.cumsum(axis=0)])
    squares = np.vstack([zero, (ordered**2).cumsum(axis=0)])
    best = np.vstack([zero, np.full((n, columns), np.inf)])  # best[j]: the cost of the first j numbers
    starts = np.zeros((clusters, n + 1, columns), dtype=np.int16)
    for level in range(clusters):
        new = np.full_like(best, np.inf)
        for end in range(level + 1, n + 1):
            start = np.arange(level, end)
            count = (end - start)[:, None]
            within = squares[end] - squares[start] - (sums[end] - sums[start]) ** 2 / count
            cost = best[start] + np.maximum(within, 0)
            choice = cost.argmin(axis=0)
            starts[level, end] = start[choice]
            new[end] = np.take_along_axis(cost, choice[None], axis=0)[0]
        best = new
    labels = np.empty((n, columns), dtype=np.int64)
    ends = np.full(columns, n)
    for level in reversed(range(clusters)):
        begins = starts[level, ends, np.arange(columns)]
        inside = (np.arange(n)[:, None] >= begins) & (np.arange(n)[:, None] < ends)
        np.put_along_axis(labels, order, np.where(inside, level, np.take_along_axis(labels, order, 0)), 0)
        ends = begins
    return labels


def _directions(filters: Tensor) -> Tensor:
    rows = filters.detach().flatten(1).double()
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
