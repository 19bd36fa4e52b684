"""All tables of the study, from sweeps, metrics, predictions, histories and models."""

from pathlib import Path

from common import job
from convpress.config.clustering import ClusteringConfig
from convpress.report.clustering import tables
from convpress.report.latencies import read_times
from convpress.report.tables import read_results, with_validation, write_table

with job(snakemake):
    inputs, output = snakemake.input, snakemake.output
    study = ClusteringConfig(**snakemake.params.study)
    results = read_results(inputs.metrics, inputs.predictions)
    history = tables.history_table(inputs.histories, study)
    models = {Path(path).stem: path for path in inputs.models}
    networks = {"baseline": str(inputs.dense)} | {Path(path).stem: path for path in inputs.pulled}
    write_table(tables.points_table(inputs.layers, "layer"), Path(output.layers[0]))
    write_table(tables.points_table(inputs.groups, "group"), Path(output.groups[0]))
    write_table(tables.points_table(inputs.plans, "plan"), Path(output.plans[0]))
    about = {"controls": snakemake.params.controls, "times": read_times(inputs.latency)}
    finetuned = tables.finetune_table(results, models, history, study, **about)
    write_table(finetuned, Path(output.finetune[0]))
    write_table(with_validation(history, results), Path(output.history[0]))
    write_table(tables.norms_table(networks, study.layers), Path(output.norms[0]))
