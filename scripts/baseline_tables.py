"""baselines.csv: every imported or trained network, and the controls."""

from pathlib import Path

from common import job
from convpress.report.baselines.tables import baselines_table
from convpress.report.latencies import read_times
from convpress.report.tables import read_results, write_table

with job(snakemake):
    results = read_results(snakemake.input.metrics, snakemake.input.predictions)
    frame = baselines_table(results, snakemake.params.controls, read_times(snakemake.input.latency))
    write_table(frame, Path(snakemake.output[0]))
