"""Judge the targets by the tables."""

from pathlib import Path

from common import job
from convpress.report.tables import write_table
from convpress.report.targets import targets_table

with job(snakemake):
    output = Path(snakemake.output[0])
    write_table(targets_table(Path(snakemake.input.reference), output.parent), output)
