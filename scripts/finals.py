"""What the tables of the comparison and of the peers share: the final networks of all studies."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report.comparison.tables import final_networks_table
from convpress.report.tables import Result, read_results


def final_networks(snakemake: Any) -> tuple[pd.DataFrame, dict[tuple[str, str], Result]]:
    """A row a network, and the results by study and variant."""
    inputs, params = snakemake.input, snakemake.params
    results = read_results(inputs.metrics, inputs.predictions)
    about = (params.final, params.epochs, params.rates, params.controls, inputs.latency, inputs.onnx)
    return final_networks_table(results, *about), results
