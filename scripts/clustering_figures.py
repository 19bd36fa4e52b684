"""All pictures of the study clustering, from its tables and the seed's figures."""

from common import job
from convpress.report.clustering.figures import draw_all
from convpress.report.figures import draw_from

with job(snakemake):
    draw_from(snakemake.input, snakemake.output, draw_all)
