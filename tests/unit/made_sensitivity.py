"""A table of the study sensitivity made by hand, whose answer is known."""

import numpy as np
import pandas as pd

CELLS = [("resnet20", 2), ("resnet20", 4), ("resnet32", 2), ("resnet32", 4)]
SHRINK = {"plain": 1.0, "corrected": 1e-2, "regularised": 0.5, "both": 1e-3}


def study(gain=0.01, replicates=(0,), families=("cp",)):
    """`gain`: how much accuracy a tenfold fall of the sensitivity brings."""
    rows = []
    for family in families:
        for cell, (model, compression) in enumerate(CELLS):
            for treatment, shrink in SHRINK.items():
                for replicate in replicates:
                    accuracy = 0.8 - 0.02 * cell + 0.001 * replicate - gain * np.log10(shrink)
                    accuracy += 0.0002 * replicate * (treatment != "plain")
                    rows.append(
                        {"model": model, "decomposition": family, "compression": compression, "treatment": treatment}
                        | {
                            "allocated": False,
                            "suffix": "",
                            "replicate": replicate,
                            "variant": f"{model}-{treatment}",
                            "epochs": 1,
                            "control_epochs": 1,
                        }
                        | {"relative_sensitivity": 1e4 * shrink, "relative_sensitivity_after": 2e4 * shrink}
                        | {"test_accuracy": accuracy, "validation_accuracy": accuracy + 0.01}
                        | {"ci_low": accuracy - 0.01, "ci_high": accuracy + 0.01, "mcnemar_plain_p": 0.2}
                        | {"relative_error": 0.5, "largest_lr": {"plain": 0.0, "corrected": 0.3}.get(treatment)}
                    )
    return pd.DataFrame(rows)
