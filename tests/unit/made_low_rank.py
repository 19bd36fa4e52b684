"""Small tables of the study low_rank whose story is known."""

import pandas as pd

from convpress.report.contents import Run
from convpress.report.low_rank.findings import COLUMNS
from convpress.report.low_rank.speeds import with_input_size


def rows(separable=0.829, speedup=1.6):
    shared = {"test_n": 1000, "size": 224, "input_size": 96, "batch_size": 64, "mcnemar_p": 0.4, "delta_control": -0.01}
    shared |= {"repeats": 7, "bf16_repeats": 3}
    schemes = {"replaced": "grouped", "separable": "separable"}
    table = [
        ("1", "original", "original", 0, 0, 0.83, 1.0, None),
        ("2", "replaced", "replaced", 0, 0, 0.70, 0.9, 50.0),
        ("3", "replaced-l2", "replaced", 2, 0, 0.72, 0.9, 20.0),
        ("4", "replaced-l2-ce", "replaced", 2, 1, 0.825, 0.9, 30.0),
        ("10", "separable", "separable", 0, 0, 0.6, speedup, 60.0),
        ("12", "separable-l2-ce", "separable", 2, 1, separable, speedup, 30.0),
        ("control", "control", "control", 0, 3, 0.835, 1.0, None),
    ]
    frame = pd.DataFrame(
        [
            {
                **shared,
                **{"row": row, "variant": variant, "expansion": expansion, "l2_epochs": l2, "ce_epochs": ce},
                "scheme": schemes.get(expansion, ""),
                **{"test_accuracy": accuracy, "accuracy_before": 0.6, "ci_low": accuracy - 0.01},
                **{"ci_high": accuracy + 0.01, "cpu_ms": 500 / faster, "cpu_bf16_ms": 200 / faster},
                **{"macs": 7e8 / faster, "speedup": faster, "bf16_speedup": faster, "params": 4e7, "bytes": 1.7e8},
                "macs_input_size": 2e8 / faster,
                **{"delta_original": accuracy - 0.83, "mcnemar_original": 0.3, "l2_distance": distance},
            }
            for row, variant, expansion, l2, ce, accuracy, faster, distance in table
        ]
    )
    return frame.reindex(columns=list(COLUMNS))


def alone(frame):
    """The rows in a run without a comparison of all networks."""
    return with_input_size(Run("nowhere", "nowhere"), frame)


BASES = pd.DataFrame(
    {
        "layer": ["a"] * 4,
        "bases": 2,
        "method": ["svd_shared", "svd_per_channel", "alternating", "alternating"],
        "penalty": [0.0, 0.0, 0.0, 0.1],
        "relative_error": [0.5, 0.4, 0.55, 0.8],
        "split_error": [0.6, 0.5, 0.6, 0.8],
        "iterations": [1, 1, 30, 30],
        "seconds": [0.1, 0.1, 1.0, 1.0],
    }
)
SWEEPS = pd.DataFrame(
    {"layer": "a", "penalty": [0.0, 0.0, 0.1, 0.1], "sweep": [1, 2, 1, 2], "relative_error": [0.7, 0.55, 0.9, 0.8]}
)
