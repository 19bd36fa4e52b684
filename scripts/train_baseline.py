"""Train a network from scratch."""

from pathlib import Path

import torch

from common import job, sections
from convpress.checkpoints import save_model
from convpress.compute import resolve
from convpress.config.sections import ModelConfig
from convpress.data import load_dataset
from convpress.files import sha256_file, write_csv
from convpress.models.registry import create_model
from convpress.train import Trainer, fit, run_key

with job(snakemake):
    settings, seed = sections(snakemake), snakemake.params.seed
    config = ModelConfig(**snakemake.params.model)
    train, validation, _ = load_dataset(snakemake.input.data, settings["data"])
    torch.manual_seed(seed)
    model = create_model(config.architecture, **config.arguments)
    compute = resolve(settings["compute"], config.training.epochs * len(train) // config.training.batch_size)
    trainer = Trainer(model, train, config.training, compute, seed=seed, view_seed=seed)
    key = run_key(config.training, config, seed, snakemake.params.code, compute, sha256_file(snakemake.input.data))
    history = fit(trainer, validation=validation, state_path=Path(snakemake.params.resume), key=key)
    write_csv(history, Path(snakemake.output.history))
    save_model(trainer.result, Path(snakemake.output.model))
    Path(snakemake.params.resume).unlink(missing_ok=True)
