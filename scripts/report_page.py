"""The report page and the provenance of the run."""

import json
from pathlib import Path

from common import job
from convpress.files import write_json
from convpress.provenance import run_record
from convpress.report.page import render_page
from convpress.report.tables import stage_seconds

with job(snakemake):
    results = Path(snakemake.output.page).parent
    inputs = [json.loads(Path(path).read_text()) for path in snakemake.input.provenance]
    metrics = [json.loads(Path(path).read_text()) for path in snakemake.input.metrics]
    config = {"run": snakemake.params.run, "seed": snakemake.params.seed}
    record = run_record(Path.cwd(), config, inputs, metrics)
    record["stage_seconds"] = stage_seconds(snakemake.input.histories)
    write_json(record, Path(snakemake.output.provenance))
    render_page(results, Path(snakemake.output.page))
