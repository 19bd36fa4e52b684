"""Train a model further with a recipe; every study's fine-tuning is this script."""

from common import job
from convpress.checkpoints import load
from convpress.config.sections import TrainingConfig
from training import run_training

with job(snakemake):
    run_training(snakemake, load(snakemake.input.model), TrainingConfig(**snakemake.params.recipe))
