"""All tables of the study, from metrics, predictions, histories and models."""

from pathlib import Path

from common import job
from convpress.config.low_rank import LowRankConfig
from convpress.report.low_rank import tables
from convpress.report.reading import read_rows
from convpress.report.tables import read_results, with_validation, write_table

with job(snakemake):
    inputs, output = snakemake.input, snakemake.output
    study = LowRankConfig(**snakemake.params.study)
    results = read_results(
        [inputs.baseline[0], inputs.control[0], *inputs.metrics],
        [inputs.baseline[1], inputs.control[1], *inputs.predictions],
    )
    histories = {Path(path).stem: path for path in inputs.histories} | {"control": inputs.control_history}
    rows = tables.rows_table(study, results, inputs.latency, inputs.distances, histories, inputs.original)
    trained = tables.last_trained(study, inputs.models)
    write_table(tables.with_speedup(rows), Path(output.low_rank[0]))
    write_table(read_rows(inputs.errors), Path(output.bases[0]))
    write_table(read_rows(inputs.sweeps), Path(output.sweeps[0]))
    write_table(with_validation(tables.history_table(study, histories), results), Path(output.history[0]))
    write_table(tables.filters_table(study, inputs.original, trained), Path(output.filters[0]))
