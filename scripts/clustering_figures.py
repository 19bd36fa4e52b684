"""All pictures of the study clustering, from its tables and the seed's figures."""

from pathlib import Path

import pandas as pd

from common import job
from convpress.report import clustering_figures as figures

with job(snakemake):
    tables = {Path(path).stem: pd.read_csv(path) for path in snakemake.input if path.endswith(".csv")}
    figures.draw_all(tables, {name: Path(path) for name, path in snakemake.output.items()})
