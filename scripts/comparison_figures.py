"""Static pictures of the comparison, from its tables alone."""

from common import job
from convpress.report.comparison.figures import draw_all
from convpress.report.figures import draw_from

with job(snakemake):
    draw_from(snakemake.input, snakemake.output, draw_all)
