"""baselines.csv: every imported or trained network, and the controls."""

from pathlib import Path

from common import job
from convpress.report.tables import baselines_table, read_results, write_table

with job(snakemake):
    results = read_results(snakemake.input.metrics, snakemake.input.predictions)
    write_table(baselines_table(results, snakemake.params.controls), Path(snakemake.output[0]))
