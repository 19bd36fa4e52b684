"""Let filters share centroids as a remedy says, then train with these centroids frozen or tied."""

from pathlib import Path

from common import job, sections
from convpress.checkpoints import load, save_model
from convpress.clustering.budget import read_curves
from convpress.clustering.remedies import freeze_shared, plan_for, share_filters
from convpress.config.clustering import RemedyConfig
from convpress.config.sections import TrainingConfig
from convpress.data import augmented, load_dataset
from convpress.recalibrate import IMAGES, recalibrate
from training import run_training

with job(snakemake):
    params, inputs = snakemake.params, snakemake.input
    model, variant, recipe = load(inputs.model), params.variant, TrainingConfig(**params.recipe)
    if variant["remedy"] is not None:  # the control has none
        remedy = RemedyConfig(**variant["remedy"])
        plan = variant["plan"] or plan_for(model, params.layers, variant["ratio"], remedy, read_curves(inputs.sweeps))
        share_filters(model, plan, remedy, seed=params.seed)
        if remedy.recalibrate:
            train, _, _ = load_dataset(inputs.data, sections(snakemake)["data"])
            recalibrate(model, augmented(train, IMAGES, params.seed, recipe.crop_padding, recipe.flip))
        freeze_shared(model, remedy)
    save_model(model, Path(snakemake.output.start))
    run_training(snakemake, model, recipe)
