"""What all training scripts share: data, teacher, resuming, history and model as the rule names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from common import ROOTS, sections
from convpress.checkpoints import save_model
from convpress.compute import Compute, resolve
from convpress.config.sections import TrainingConfig
from convpress.data import load_dataset
from convpress.files import sha256_file, write_csv
from convpress.provenance import processor
from convpress.teachers import Teacher
from convpress.train import Trainer, fit, run_key
from convpress.workflow.codehash import code_hash


def run_training(snakemake: Any, model: nn.Module, recipe: TrainingConfig, record: Any = None, **options: Any) -> None:
    """Train `model` on the job's data, then write its `model` and `history`; a killed job goes on where it was.

    `options` go to `Trainer`.
    """
    settings, params, inputs = sections(snakemake), snakemake.params, snakemake.input
    train, validation, _ = load_dataset(inputs.data, settings["data"])
    compute = resolve(settings["compute"], recipe.epochs * len(train) // recipe.batch_size)
    teacher = teacher_of(inputs) if recipe.distillation else None
    trainer = Trainer(model, train, recipe, compute, teacher=teacher, **turns(params), **options)
    key = training_key(snakemake, model, recipe, compute)
    resume = Path(params.resume)
    history = fit(trainer, validation=validation, record=record or (lambda model: {}), state_path=resume, key=key)
    write_csv(history, Path(snakemake.output.history))
    save_trained(trainer.result, snakemake, compute)
    resume.unlink(missing_ok=True)


def save_trained(model: nn.Module, snakemake: Any, compute: Compute) -> None:
    """Write the job's `model` with what it was trained on, for machines differ in precision and compiler."""
    extra: dict[str, Any] = {"training": compute.record() | {"processor": processor()}}
    if architecture := snakemake.params.get("architecture"):
        # As for imported networks: a baseline whose code is another is another file.
        extra["network_code"] = architecture
    save_model(model, Path(snakemake.output.model), extra)


def turns(params: Any) -> dict[str, int]:
    """What a training sees in which order: the seeds, and the epochs of the trainings before it in its chain."""
    # Replicates differ in the order of the images; the views are those that the teacher has seen.
    view_seed, before = params.get("view_seed", params.seed), params.get("before") or {"epochs": 0}
    return {"seed": params.seed, "view_seed": view_seed, "first_epoch": before["epochs"]}


def teacher_of(inputs: Any) -> Teacher:
    """The teacher whose answers about each view are a file among the job's inputs."""
    return Teacher(torch.stack([load_file(path)["logits"] for path in inputs.teacher]))


def training_key(snakemake: Any, model: nn.Module, recipe: TrainingConfig, compute: Compute) -> str:
    """What names a training: all that decides its result, so that a state of another is never taken up."""
    layers = sorted({type(module).__module__ for module in model.modules()})
    code = code_hash(Path(__file__), ROOTS, layers)
    return run_key(recipe, compute, code, dict(snakemake.params.items()), *map(sha256_file, sorted(snakemake.input)))
