"""Train long masked factors together with the numbers that decide how long they are."""

from pathlib import Path

from safetensors.torch import load_file

from common import job, sections
from convpress.checkpoints import load, save_model
from convpress.compute import resolve
from convpress.config.kernel_search import CPConfig, SearchConfig
from convpress.data import load_dataset
from convpress.files import sha256_file, write_csv
from convpress.kernel_search import extend, mac_penalty, record_sizes
from convpress.teachers import CachedTeacher
from convpress.train import Trainer, fit, run_key

with job(snakemake):
    settings, params, inputs = sections(snakemake), snakemake.params, snakemake.input
    search, seed = SearchConfig(**params.search), params.seed
    model = load(inputs.model)
    extend(model, params.layers, search, cp=CPConfig(**params.cp), seed=seed)
    save_model(model, Path(snakemake.output.start))
    train, validation, _ = load_dataset(inputs.data, settings["data"])
    recipe = search.training
    compute = resolve(settings["compute"], recipe.epochs * len(train) // recipe.batch_size)
    trainer = Trainer(
        model,
        train,
        recipe,
        compute,
        seed=seed,
        view_seed=seed,
        teacher=CachedTeacher(load_file(inputs.teacher)["logits"]) if recipe.distillation else None,
        penalties=[mac_penalty(search.mac_penalty)] if search.mac_penalty else [],
        rates={"*.sigma": search.sigma_lr},
    )
    key = run_key(recipe, search, seed, params.code, compute, *[sha256_file(file) for file in sorted(inputs)])
    history = fit(trainer, validation=validation, record=record_sizes, state_path=Path(params.resume), key=key)
    write_csv(history, Path(snakemake.output.history))
    save_model(trainer.result, Path(snakemake.output.model))
    Path(params.resume).unlink(missing_ok=True)
