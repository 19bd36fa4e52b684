"""peers.csv: other libraries in the same harness, in the columns of comparison.csv."""

from pathlib import Path

from common import job
from convpress.report import comparison_tables as tables
from convpress.report.tables import read_results, write_table

with job(snakemake):
    inputs, params = snakemake.input, snakemake.params
    results = read_results(inputs.metrics, inputs.predictions)
    frame = tables.final_networks_table(
        results, params.final, params.epochs, params.controls, inputs.latency, inputs.onnx
    )
    write_table(tables.peers_table(frame, inputs.compressed, results, params.rates), Path(snakemake.output[0]))
