"""The report page and the provenance of the run."""

from pathlib import Path

from common import job
from convpress.report.page import write_report
from convpress.report.reading import read_json
from convpress.workflow.jobtimes import job_times

with job(snakemake):
    files = snakemake.input
    inputs, metrics, records = (
        [read_json(path) for path in paths] for paths in (files.provenance, files.metrics, files.records)
    )
    config = {"run": snakemake.params.run, "seed": snakemake.params.seed}
    tables = [Path(path).stem for path in files.tables]
    results = Path(snakemake.output.page).parent
    times = job_times(Path(".snakemake", "metadata"), results, Path("rules"))
    write_report(results, config, inputs, metrics, files.histories, tables, times, records)
