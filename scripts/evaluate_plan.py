"""Accuracy on validation images of a plan: clusters chosen by hand for several layers at once; no training."""

from pathlib import Path

import torch

from common import job, sections
from convpress.checkpoints import load
from convpress.clustering.budget import unique_ratio
from convpress.clustering.remedies import sizes_of
from convpress.clustering.sweep import evaluate_plan
from convpress.compute import resolve
from convpress.config.clustering import SweepConfig
from convpress.data import load_dataset
from convpress.files import write_csv
from convpress.sidecar import write_record

with job(snakemake):
    params, settings = snakemake.params, sections(snakemake)
    compute, sweep = resolve(settings["compute"]), SweepConfig(**params.sweep)
    _, images, _ = load_dataset(snakemake.input.data, settings["data"])
    images = images.subset(torch.arange(min(sweep.images or len(images), len(images))))
    model = load(snakemake.input.model)
    where = {"device": compute.device, "bf16": compute.bf16}
    accuracy = evaluate_plan(model, params.plan, images, sweep, seed=params.seed, **where)
    ratio = unique_ratio(sizes_of(model, list(params.plan)), params.plan)
    row = {"name": snakemake.wildcards.plan, "clusters": params.clusters, "unique_ratio": ratio, "accuracy": accuracy}
    write_csv([row | {"images": len(images)}], Path(snakemake.output.points))
    write_record(
        snakemake.input,
        snakemake.output.points,
        seed=params.seed,
        code=params.code,
        compute={"device": compute.device, "precision": compute.precision, "threads": compute.threads},
    )
