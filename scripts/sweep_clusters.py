"""Accuracy on validation images for every number of clusters that some layers share; no training."""

from pathlib import Path

import torch

from common import job, sections
from convpress.checkpoints import load
from convpress.clustering.sweep import sweep_together
from convpress.compute import resolve
from convpress.config.clustering import SweepConfig
from convpress.data import load_dataset
from convpress.files import write_csv
from convpress.layers.surgery import find_conv
from convpress.sidecar import write_record

with job(snakemake):
    params, settings = snakemake.params, sections(snakemake)
    compute, sweep = resolve(settings["compute"]), SweepConfig(**params.sweep)
    _, images, _ = load_dataset(snakemake.input.data, settings["data"])
    images = images.subset(torch.arange(min(sweep.images or len(images), len(images))))
    model = load(snakemake.input.model)
    where = {"device": compute.device, "bf16": compute.bf16}
    found = sweep_together(model, params.layers, images, sweep, seed=params.seed, **where)
    filters = find_conv(model, params.layers[0]).out_channels
    rows = [
        {"name": params.name, "clusters": k, "unique_ratio": k / filters, "accuracy": accuracy, "images": len(images)}
        for k, accuracy in found.items()
    ]
    write_csv(rows, Path(snakemake.output.points))
    write_record(
        snakemake.input,
        snakemake.output.points,
        seed=params.seed,
        code=params.code,
        compute={"device": compute.device, "precision": compute.precision, "threads": compute.threads},
    )
