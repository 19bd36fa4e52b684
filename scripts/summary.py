"""The test accuracy of every model in one small file, for `dvc metrics` and `dvc exp show`."""

from pathlib import Path

from common import job
from convpress.files import write_json
from convpress.report.reading import read_json

with job(snakemake):
    summary = {}
    for path in snakemake.input:
        record = read_json(path)
        summary.setdefault(record["study"], {})[record["variant"]] = record["test_accuracy"]
    write_json(summary, Path(snakemake.output.summary))
