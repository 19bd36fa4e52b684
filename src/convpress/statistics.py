"""Accuracy with its uncertainty, and whether two networks differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


@dataclass(frozen=True)
class Accuracy:
    """A fraction of correct answers and its 95 % Wilson interval."""

    accuracy: float
    n: int
    ci_low: float
    ci_high: float


def wilson(correct: int, n: int) -> Accuracy:
    """Accuracy of `correct` out of `n` with the 95 % interval of Wilson (1927)."""
    interval = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Accuracy(correct / n, n, float(interval.low), float(interval.high))


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """Exact two-sided McNemar p-value of two classifiers on the same images.

    `correct_a` and `correct_b` are boolean arrays of one length. Only the images on which the two disagree
    count; under the null hypothesis each is a fair coin (McNemar 1947, in its exact binomial form).
    """
    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(~correct_a & correct_b))
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)
