"""Let filters share centroids as a remedy says, then train with these centroids frozen or tied."""

from pathlib import Path

from clusters import plan_of, seen_by
from common import job
from convpress.checkpoints import load, save_model
from convpress.clustering.remedies import apply_remedy
from convpress.config.clustering import RemedyConfig
from convpress.config.sections import TrainingConfig
from training import run_training

with job(snakemake):
    params, recipe = snakemake.params, TrainingConfig(**snakemake.params.recipe)
    model = load(snakemake.input.model)
    if params.variant["remedy"] is not None:  # the control has none
        remedy = RemedyConfig(**params.variant["remedy"])
        plan, seen = plan_of(snakemake, model, remedy), seen_by(snakemake, remedy, recipe)
        apply_remedy(model, plan, remedy, seed=params.seed, seen=seen)
    save_model(model, Path(snakemake.output.start))
    run_training(snakemake, model, recipe)
