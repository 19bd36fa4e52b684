"""Merge a network as its variant says."""

from pathlib import Path

from common import job, sections
from convpress.checkpoints import load, save_model
from convpress.compute import resolve
from convpress.config.merging import MergeSurgery
from convpress.data import augmented, load_dataset
from convpress.merging.variant import Settings, compress_variant
from convpress.recalibrate import recalibrate

with job(snakemake):
    settings, params = sections(snakemake), snakemake.params
    train, _, _ = load_dataset(snakemake.input.data, settings["data"])
    resolve(settings["compute"])
    surgery, model, common = MergeSurgery(**params.surgery), load(snakemake.input.model), params.common
    seen = augmented(train, max(common["images"], common["recalibration"]), params.seed, **common["view"])
    compress_variant(model, surgery, Settings(seen, common["images"], common.get("drop", 0.0), params.seed))
    if surgery.recalibrate:
        recalibrate(model, seen, images=common["recalibration"])
    save_model(model, Path(snakemake.output.model))
