"""The table of baselines and controls."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from convpress.report.controls import Controls
from convpress.report.latencies import Times, time_columns
from convpress.report.tables import Result, accuracy_columns, compare


def baselines_table(results: Mapping[tuple[str, str], Result], controls: Controls, times: Times) -> pd.DataFrame:
    """A row a baseline or control; a control is compared with its baseline."""
    trained = {name: (model, epochs) for model, known in controls.items() for name, epochs in known.items()}
    rows = []
    for (study, name), result in results.items():
        model, epochs = trained[name] if study == "control" else (name, 0)
        comparison = compare(result, results["baseline", model])
        rows.append(
            {"model": model, "variant": study}
            | accuracy_columns(result)
            | time_columns(times, study, name, model)
            | {"epochs": epochs, "delta_baseline": comparison["delta"], "mcnemar_p": comparison["mcnemar_p"]}
        )
    return pd.DataFrame(rows).sort_values(["model", "variant", "epochs"], ignore_index=True)
