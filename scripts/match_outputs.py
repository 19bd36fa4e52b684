"""Teach the replaced layers to answer as the original ones did; nothing else learns."""

from common import job
from convpress.checkpoints import load
from convpress.config.sections import TrainingConfig
from convpress.low_rank import OutputMatching, freeze_all_but
from training import run_training

with job(snakemake):
    model, layers = load(snakemake.input.model), snakemake.params.layers
    freeze_all_but(model, layers)
    objective = OutputMatching(load(snakemake.input.original), layers)
    run_training(snakemake, model, TrainingConfig(**snakemake.params.recipe), objective=objective)
