"""All tables of the study, from metrics, predictions, histories and models."""

from pathlib import Path

from common import job
from convpress.report.merging import tables
from convpress.report.merging.pairs import pairs_table
from convpress.report.tables import read_results, with_validation, write_table

with job(snakemake):
    inputs, output, params = snakemake.input, snakemake.output, snakemake.params
    results = read_results(inputs.metrics, inputs.predictions)
    history = tables.history_table(inputs.control_histories, inputs.histories, params.variants, params.controls)
    about = {"model": params.model, "seed": params.seed, "controls": params.controls}
    frame = tables.merging_table(results, inputs.sweep, inputs.latency, history, params.variants, **about)
    write_table(frame, Path(output.merging[0]))
    write_table(pairs_table(results, params.variants, params.model, frame), Path(output.pairs[0]))
    write_table(with_validation(history, results), Path(output.history[0]))
    write_table(tables.channels_table(inputs.starts), Path(output.channels[0]))
