"""comparison.csv: every final variant of every study, baselines and controls."""

from pathlib import Path

from common import job
from convpress.report.comparison.tables import comparison_table
from convpress.report.tables import write_table
from finals import final_networks

with job(snakemake):
    frame, _ = final_networks(snakemake)
    write_table(comparison_table(frame), Path(snakemake.output[0]))
