"""All tables of the study, from metrics, predictions, histories and models."""

from pathlib import Path

from common import job
from convpress.config.sensitivity import SensitivityConfig
from convpress.report.latencies import read_times
from convpress.report.sensitivity import tables
from convpress.report.sensitivity.pairs import correlation_table, pairs_table
from convpress.report.tables import read_results, with_intervals, write_table

with job(snakemake):
    inputs, output = snakemake.input, snakemake.output
    variants = SensitivityConfig(**snakemake.params.study).variants()
    results = read_results(inputs.metrics, inputs.predictions)
    models, histories = ({Path(path).stem: path for path in paths} for paths in (inputs.models, inputs.histories))
    layers, rates = tables.layers_table(inputs.factors), tables.probe_table(inputs.rates)
    about = {"controls": snakemake.params.controls, "times": read_times(inputs.latency)}
    study = tables.variants_table(variants, results, layers, rates, models, histories, **about)
    write_table(study, Path(output.sensitivity[0]))
    write_table(layers, Path(output.layers[0]))
    write_table(with_intervals(tables.probe_table(inputs.noise)), Path(output.noise[0]))
    write_table(rates, Path(output.rates[0]))
    write_table(tables.slacks_table(tables.probe_table(inputs.slacks)), Path(output.slacks[0]))
    write_table(pairs_table(study), Path(output.pairs[0]))
    write_table(correlation_table(study), Path(output.correlation[0]))
