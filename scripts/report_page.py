"""The report page and the provenance of the run."""

from pathlib import Path

from common import job
from convpress.report.page import write_report
from convpress.report.reading import read_json
from convpress.workflow.jobtimes import rule_seconds

with job(snakemake):
    inputs, metrics = (
        [read_json(path) for path in paths] for paths in (snakemake.input.provenance, snakemake.input.metrics)
    )
    config = {"run": snakemake.params.run, "seed": snakemake.params.seed}
    tables = [Path(path).stem for path in snakemake.input.tables]
    results = Path(snakemake.output.page).parent
    times = rule_seconds(Path(".snakemake", "metadata"), results)
    write_report(results, config, inputs, metrics, snakemake.input.histories, tables, times)
