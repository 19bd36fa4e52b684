"""Merge a network as its variant says."""

from pathlib import Path

from common import job, sections
from convpress.checkpoints import load, save_model
from convpress.compute import resolve
from convpress.config.merging import MergeVariant
from convpress.data import load_dataset
from convpress.merge_variant import Settings, compress_variant
from convpress.recalibrate import recalibrate

with job(snakemake):
    settings, params = sections(snakemake), snakemake.params
    train, _, _ = load_dataset(snakemake.input.data, settings["data"])
    resolve(settings["compute"])
    variant, model = MergeVariant(**params.variant), load(snakemake.input.model)
    compress_variant(model, variant, Settings(train, params.common["images"], params.common["drop"], params.seed))
    if variant.recalibrate:
        recalibrate(model, train, images=params.common["recalibration"])
    save_model(model, Path(snakemake.output.model))
