"""peers.csv: other libraries in the same harness, in the columns of comparison.csv."""

from pathlib import Path

from common import job
from convpress.report.comparison.tables import peers_table
from convpress.report.tables import write_table
from finals import final_networks

with job(snakemake):
    frame, results = final_networks(snakemake)
    table = peers_table(frame, snakemake.input.compressed, results)
    write_table(table, Path(snakemake.output[0]))
