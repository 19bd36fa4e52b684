"""Let filters share centroids in one layer after another, and train after each, what is shared frozen or tied."""

from pathlib import Path

from clusters import plan_of, seen_by
from common import job, sections
from convpress.checkpoints import load
from convpress.clustering.progressive import Leg, Progress, fit_progressive
from convpress.clustering.remedies import apply_remedy
from convpress.compute import resolve
from convpress.config.clustering import RemedyConfig
from convpress.config.sections import TrainingConfig
from convpress.data import load_dataset
from convpress.files import write_csv
from convpress.predict import accuracy_of
from training import save_trained, teacher_of, training_key, turns

with job(snakemake):
    settings, params, inputs, output = sections(snakemake), snakemake.params, snakemake.input, snakemake.output
    model, recipe, remedy = (
        load(inputs.model),
        TrainingConfig(**params.recipe),
        RemedyConfig(**params.variant["remedy"]),
    )
    train, validation, _ = load_dataset(inputs.data, settings["data"])
    compute = resolve(settings["compute"], recipe.epochs * len(train) // recipe.batch_size // len(params.layers))
    plan, seen = plan_of(snakemake, model, remedy), seen_by(snakemake, remedy, recipe)
    layers = [layer for layer in params.layers if layer in plan]

    def cluster(network, layer):
        """Share the filters of one layer; all that share then stay or learn as the remedy says."""
        network.cpu()  # where the clustering and the images are; the next training moves it again
        apply_remedy(network, {layer: plan[layer]}, remedy, seed=params.seed, seen=seen)

    def observe(network):
        """Accuracy on the validation images."""
        return {"validation_accuracy": accuracy_of(network, validation, compute.device)}

    teacher = teacher_of(inputs) if recipe.distillation else None
    options = {"count": len(layers), "teacher": teacher} | turns(params)

    def leg(network, number):
        """The training after a layer."""
        return Leg(network, train, recipe, compute, number=number, **options)

    progress = Progress(Path(params.resume), training_key(snakemake, model, recipe, compute))
    model, history = fit_progressive(
        model,
        layers,
        epochs=recipe.epochs,
        cluster=cluster,
        leg=leg,
        observe=observe,
        progress=progress,
        start=Path(output.start),
    )
    write_csv(history, Path(output.history))
    save_trained(model, snakemake, compute)
    progress.clear()
