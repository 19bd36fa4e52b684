"""Variants and results of the study merging made by hand, whose story is known."""

import numpy as np
import pandas as pd

from convpress.report.tables import Result

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def entry(method="merged", rule="folded", **changes):
    """A variant as the configuration gives it to the tables."""
    return {
        **{"method": method, "rule": rule, "features": None, "recalibrate": rule != "seed", "model": None},
        **{"ratio": 0.8, "macs_divisor": None, "allocate": False, "replicate": 0, "training": {"epochs": 6}},
        **changes,
    }


ALLOCATED = {"rule": "fitted", "allocate": True}
VARIANTS = {
    "seed-80": entry(rule="seed"),
    "folded-80": entry(),
    "pca-80": entry(features="pca"),
    "allocated-80": entry(**ALLOCATED),
    "allocated-80-s1": entry(**ALLOCATED, replicate=1),
    "allocated-long": entry(**ALLOCATED, training={"epochs": 24}),
    "other-network": entry(**ALLOCATED, model="resnet56", ratio=None, macs_divisor=2.5),
}
RIGHT = {"seed-80": 60, "folded-80": 70, "pca-80": 69, "allocated-80": 74, "allocated-80-s1": 64, "allocated-long": 80}


def result(right, before=0.2):
    """The first `right` of 100 images are answered."""
    metrics = {"test_accuracy": right / 100, "test_n": 100, "ci_low": 0, "ci_high": 1, "validation_accuracy": 0.5}
    return Result(metrics | {"params": 1, "macs": 2, "bytes": 3, "accuracy_before": before}, np.arange(100) < right)


TIMES = pd.DataFrame({"variant": ["folded-80", "folded-80", "seed-80"], "latency_ms": [None, 7.0, 8.0]})
"""Times of some variants, as the study's table has them."""


def results():
    found = {("merging", name): result(right) for name, right in RIGHT.items()}
    found |= {("merging", "other-network"): result(50)}
    found |= {("baseline", model): result(90) for model in ("resnet20", "resnet56")}
    return found | {("control", "resnet20"): result(85), ("control", "resnet56"): result(95)}
