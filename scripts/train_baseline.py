"""Train a network from scratch."""

import torch

from common import job
from convpress.config.sections import ModelConfig
from convpress.models.registry import create_model
from training import run_training

with job(snakemake):
    config = ModelConfig(**snakemake.params.model)
    torch.manual_seed(snakemake.params.seed)
    model = create_model(config.architecture, **config.arguments)
    run_training(snakemake, model, config.training)
