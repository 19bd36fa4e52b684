"""Grouping filters (or whatever describes them) by k-means, for all studies that let filters share something."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from convpress.decompose.tensors import check_numbers
from convpress.errors import ConvpressError


def filter_rows(filters: Tensor) -> np.ndarray:
    """Filters (n, ...) as rows (n, d) in float64.

    Raises:
        ConvpressError: their numbers are not finite, complex, or not there (on the meta device).
    """
    check_numbers(filters)
    rows = filters.detach().flatten(1).double().cpu().numpy()
    if not np.isfinite(rows).all():
        raise ConvpressError("filters hold numbers that are not finite; such a network cannot be clustered.")
    return rows


def cluster(features: Tensor, clusters: int, *, seed: int, weights: Tensor | None = None) -> Tensor:
    """Labels (n,) int64 of the rows of `features` (n, ...), k-means with k-means++ starts (scikit-learn).

    Labels are renumbered by first appearance, so they cover 0..k-1 and equal groupings have equal labels; they lie on
    the device of `features`, k-means itself runs on the CPU. `weights` (n,) weigh the rows.

    Raises:
        ConvpressError: `clusters` is no integer from 1 to the number of distinct rows, or as `filter_rows`.
    """
    from sklearn.cluster import KMeans  # slow to import, and whoever only reads shared filters clusters none

    rows = filter_rows(features)
    distinct = len(np.unique(rows, axis=0))
    if not isinstance(clusters, Integral) or not 1 <= clusters <= distinct:
        raise ConvpressError(f"clusters is {clusters}; 1 to {distinct} is possible, the number of distinct filters.")
    if clusters == distinct:
        _, found = np.unique(rows, axis=0, return_inverse=True)
    else:
        with threadpool_limits(1):  # more threads cost more than such small problems
            sample_weight = None if weights is None else weights.detach().double().cpu().numpy()
            found = KMeans(clusters, n_init=4, random_state=seed).fit(rows, sample_weight=sample_weight).labels_
    _, first, labels = np.unique(found, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return torch.from_numpy(rank[labels.ravel()].astype(np.int64)).to(features.device)
