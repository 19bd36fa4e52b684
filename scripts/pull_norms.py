"""Train the dense network on while a penalty pulls its filter norms to 1; clustering by direction follows."""

from common import job
from convpress.checkpoints import load
from convpress.clustering.remedies import norm_penalty
from convpress.config.sections import TrainingConfig
from training import run_training

with job(snakemake):
    params = snakemake.params
    penalty = norm_penalty(params.layers, params.weight)
    model, recipe = load(snakemake.input.model), TrainingConfig(**params.recipe)
    run_training(snakemake, model, recipe, penalties=[penalty])
