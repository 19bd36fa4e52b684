"""Train a model further with a recipe; every study's fine-tuning is this script."""

from pathlib import Path

from safetensors.torch import load_file

from common import job, sections
from convpress.checkpoints import load, save_model
from convpress.compute import resolve
from convpress.config.sections import TrainingConfig
from convpress.data import load_dataset
from convpress.files import sha256_file, write_csv
from convpress.teachers import CachedTeacher
from convpress.train import Trainer, fit, run_key

with job(snakemake):
    settings, params, inputs = sections(snakemake), snakemake.params, snakemake.input
    recipe = TrainingConfig(**params.recipe)
    train, validation, _ = load_dataset(inputs.data, settings["data"])
    compute = resolve(settings["compute"], recipe.epochs * len(train) // recipe.batch_size)
    teacher = CachedTeacher(load_file(inputs.teacher)["logits"]) if recipe.distillation else None
    trainer = Trainer(
        load(inputs.model), train, recipe, compute, seed=params.seed, view_seed=params.seed, teacher=teacher
    )
    key = run_key(recipe, params.seed, params.code, compute, *[sha256_file(file) for file in sorted(inputs)])
    history = fit(trainer, validation=validation, state_path=Path(params.resume), key=key)
    write_csv(history, Path(snakemake.output.history))
    save_model(trainer.result, Path(snakemake.output.model))
    Path(params.resume).unlink(missing_ok=True)
