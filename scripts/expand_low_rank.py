"""Put the low-rank layers into the network, in closed form."""

from pathlib import Path

import torch

from common import job
from convpress.checkpoints import load, save_model
from convpress.config.low_rank import ExpansionConfig
from convpress.low_rank import expand

with job(snakemake):
    params = snakemake.params
    torch.set_num_threads(params.cpu["threads"])
    model = load(snakemake.input.model)
    expand(model, params.layers, ExpansionConfig(**params.expansion), **params.size)
    save_model(model, Path(snakemake.output.model))
