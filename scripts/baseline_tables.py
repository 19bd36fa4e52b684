"""baselines.csv: every imported or trained network, and the controls."""

from pathlib import Path

from common import job
from convpress.report.tables import baselines_table, read_results, write_table

with job(snakemake):
    results = read_results(snakemake.input.metrics, snakemake.input.predictions)
    histories = {Path(path).stem: path for path in snakemake.input.histories}
    write_table(baselines_table(results, histories), Path(snakemake.output[0]))
