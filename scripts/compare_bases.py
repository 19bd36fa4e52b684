"""Basis filters in closed form and by the alternating method, beside each other."""

from pathlib import Path

import pandas as pd
import torch

from common import job
from convpress.checkpoints import load
from convpress.config.low_rank import BasesConfig
from convpress.files import write_csv
from convpress.layers.surgery import find_conv
from convpress.low_rank import compare_bases
from convpress.sidecar import write_record

with job(snakemake):
    params = snakemake.params
    torch.set_num_threads(params.cpu["threads"])
    model, comparison = load(snakemake.input.model), BasesConfig(**params.comparison)
    errors, sweeps = [], []
    for layer, count in zip(params.layers, params.bases, strict=True):
        found = compare_bases(find_conv(model, layer).weight, count, comparison, seed=params.seed)
        errors.append(pd.DataFrame(found[0]).assign(layer=layer, bases=count))
        sweeps.append(pd.DataFrame(found[1]).assign(layer=layer))
    write_csv(pd.concat(errors, ignore_index=True), Path(snakemake.output.errors))
    write_csv(pd.concat(sweeps, ignore_index=True), Path(snakemake.output.sweeps))
    write_record(
        snakemake.input,
        snakemake.output.errors,
        snakemake.output.sweeps,
        seed=params.seed,
        code=params.code,
        compute={"device": "cpu", "precision": "fp64", "threads": params.cpu["threads"]},
    )
