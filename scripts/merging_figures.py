"""All pictures of the study, from its tables alone."""

from pathlib import Path

import pandas as pd

from common import job
from convpress.report import merging_figures as figures

with job(snakemake):
    tables = {Path(path).stem: pd.read_csv(path) for path in snakemake.input if path.endswith(".csv")}
    figures.draw_all(tables, {name: Path(path) for name, path in snakemake.output.items()})
