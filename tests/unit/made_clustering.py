"""Tables of the study clustering made by hand, whose story is known."""

import itertools

import numpy as np
import pandas as pd

from convpress.report.clustering.findings import COLUMNS

RATIOS = (0.87, 0.5)
REMEDIES = {
    # remedy: accuracy on validation images, on test images, epochs before the last surgery
    "frozen": (0.90, 0.88, 0),
    "tied": (0.94, 0.86, 0),
    "progressive": (0.92, 0.89, 1),
    "unit_norm": (0.91, 0.85, 1),
}


def row(variant, remedy, ratio, validation, test, **more):
    return {
        **{"variant": variant, "remedy": remedy, "replicate": 0, "target_ratio": ratio, "filters": "frozen"},
        **{"elementwise": remedy == "elementwise", "distance": "cosine" if remedy == "unit_norm" else "euclidean"},
        **{"unique_ratio": 1.0 if np.isnan(ratio) else ratio, "unique_params": 1e5, "accuracy_before": 0.5},
        **{"validation_accuracy": validation, "test_accuracy": test, "ci_low": test - 0.01, "ci_high": test + 0.01},
        **{"test_n": 1000, "delta_control": test - 0.91, "mcnemar_p": 0.01, "params": 2e5, "macs": 4e7, "bytes": 8e5},
        **{"delta_frozen": np.nan, "mcnemar_frozen_p": np.nan, "epochs": 2, "epochs_before": 0, "selected": False},
        **more,
    }


def finetuned(replicated=("tied",)):
    rows = [row("baseline", "", np.nan, 0.98, 0.92, epochs=0), row("control", "", np.nan, 0.98, 0.91)]
    rows.append(row("plan17-frozen", "frozen", np.nan, 0.9, 0.87, unique_ratio=0.85, accuracy_before=0.7))
    for (remedy, (validation, test, before)), ratio in itertools.product(REMEDIES.items(), RATIOS):
        loss = (0.87 - ratio) / 10
        for seed in range(2 if remedy in replicated else 1):
            name = f"{remedy}-{round(100 * ratio):03d}" + (f"-s{seed}" if seed else "")
            more = {"replicate": seed, "epochs_before": before, "selected": remedy == "tied" and not seed}
            more |= {"delta_frozen": test - 0.88, "mcnemar_frozen_p": 0.0001} if remedy != "frozen" else {}
            rows.append(row(name, remedy, ratio, validation - loss + 0.01 * seed, test - loss, **more))
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def norms(dense=2.0):
    networks = [("baseline", dense), ("unit_norm-s0", 1.05)]
    rows = [(network, "conv1", number, norm) for network, norm in networks for number in range(4)]
    return pd.DataFrame(rows, columns=["network", "layer", "filter", "norm"])


def sweep(kind, accuracies):
    """`accuracies`: name -> {clusters of 4: accuracy}."""
    rows = [(name, k, k / 4, a, 4 * a / k, 100) for name, points in accuracies.items() for k, a in points.items()]
    return pd.DataFrame(rows, columns=[kind, "clusters", "unique_ratio", "accuracy", "f_score", "images"])


LAYERS = sweep("layer", {"bumpy": {1: 0.9, 2: 0.5, 3: 0.895, 4: 0.9}, "deep": {1: 0.1, 2: 0.895, 3: 0.9, 4: 0.9}})
SEEDS = pd.DataFrame(
    [("clustering", "plan17_accuracy_before", "0.72", "p"), ("clustering", "plan17_accuracy", "0.89", "p")],
    columns=["study", "figure", "value", "source"],
)
