"""Accuracy with its uncertainty, and whether two networks differ."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

Z = 1.959963984540054
"""The standard normal distribution's quantile at 0.975, for two-sided intervals of 95 %."""


@dataclass(frozen=True)
class Accuracy:
    """A fraction of correct answers and its 95 % Wilson interval."""

    accuracy: float
    n: int
    ci_low: float
    ci_high: float


def wilson(correct: int, n: int) -> Accuracy:
    """Accuracy of `correct` out of `n` with the 95 % interval of Wilson (1927)."""
    # In closed form: scipy.stats takes most of a second to import, and every evaluation comes here.
    p = correct / n
    denominator = 2 * (n + Z**2)
    centre = (2 * n * p + Z**2) / denominator
    half = Z * sqrt(4 * n * p * (1 - p) + Z**2) / denominator
    return Accuracy(p, n, centre - half if correct else 0.0, centre + half if correct < n else 1.0)


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """Exact two-sided McNemar p-value of two classifiers on the same images.

    `correct_a` and `correct_b` are boolean arrays of one length. Only the images on which the two disagree
    count; under the null hypothesis each is a fair coin (McNemar 1947, in its exact binomial form).
    """
    from scipy.stats import binomtest  # slow to import, and only tables compare

    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(~correct_a & correct_b))
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)
