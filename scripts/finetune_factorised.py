"""Put the factors into the network and train it, where the treatment says so with its sensitivity in the loss."""

from common import job
from convpress.checkpoints import save_model
from convpress.config.sections import TrainingConfig
from convpress.sensitivity import sensitivity_penalty
from factors import with_factors
from training import run_training

with job(snakemake):
    params, inputs = snakemake.params, snakemake.input
    model = with_factors(inputs.model, inputs.factors, params.decomposition, params.start)
    save_model(model, snakemake.output.start)
    penalties = [sensitivity_penalty(params.penalty)] if params.penalty else []
    run_training(snakemake, model, TrainingConfig(**params.recipe), penalties=penalties)
