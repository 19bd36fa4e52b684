"""Merge a network as its variant says."""

from pathlib import Path

from common import job, sections
from convpress.checkpoints import load, save_model
from convpress.compute import resolve
from convpress.config.merging import MergeSurgery
from convpress.data import load_dataset
from convpress.merging.variant import Settings, compress_variant
from convpress.recalibrate import recalibrate

with job(snakemake):
    settings, params = sections(snakemake), snakemake.params
    train, _, _ = load_dataset(snakemake.input.data, settings["data"])
    resolve(settings["compute"])
    surgery, model = MergeSurgery(**params.surgery), load(snakemake.input.model)
    compress_variant(model, surgery, Settings(train, params.common["images"], params.common["drop"], params.seed))
    if surgery.recalibrate:
        recalibrate(model, train, images=params.common["recalibration"])
    save_model(model, Path(snakemake.output.model))
