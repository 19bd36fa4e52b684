"""All pictures of the study, from its tables alone."""

from common import job
from convpress.report.figures import draw_from
from convpress.report.kernel_search.figures import draw_all

with job(snakemake):
    draw_from(snakemake.input, snakemake.output, draw_all)
