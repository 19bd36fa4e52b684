"""The report page and the provenance of the run."""

import json
from pathlib import Path

from common import job
from convpress.report.page import write_report

with job(snakemake):
    inputs, metrics = (
        [json.loads(Path(path).read_text()) for path in paths]
        for paths in (snakemake.input.provenance, snakemake.input.metrics)
    )
    config = {"run": snakemake.params.run, "seed": snakemake.params.seed}
    write_report(Path(snakemake.output.page).parent, config, inputs, metrics, snakemake.input.histories)
