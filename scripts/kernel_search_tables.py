"""All tables of the study, from metrics, predictions, histories and models."""

from pathlib import Path

from common import job
from convpress.report.kernel_search import tables
from convpress.report.tables import read_results, with_validation, write_table

with job(snakemake):
    inputs, output, params = snakemake.input, snakemake.output, snakemake.params
    results = read_results(inputs.metrics, inputs.predictions)
    history = tables.history_table(inputs.control_history[0], inputs.histories, params.epochs)
    searched = {Path(path).stem.split("-", 1)[1]: path for path in inputs.searched}
    after = {Path(path).stem.split("-", 1)[1]: path for path in inputs.after}
    write_table(tables.cp_error_table(inputs.cp, inputs.parafac), Path(output.cp_error[0]))
    write_table(
        tables.stages_table(
            results, inputs.latency, params.epochs, params.spent, searched, params.layers, params.controls
        ),
        Path(output.kernel_search[0]),
    )
    write_table(with_validation(history, results), Path(output.history[0]))
    write_table(tables.sizes_table(inputs.histories), Path(output.sizes[0]))
    write_table(tables.masks_table(searched), Path(output.masks[0]))
    write_table(tables.kernels_table(inputs.before, after, params.layers), Path(output.kernels[0]))
