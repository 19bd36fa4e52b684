"""Look at the test images once: accuracy right after the surgery and after the training."""

from pathlib import Path

import numpy as np

from common import job, sections
from convpress.checkpoints import load, read_metadata
from convpress.compute import resolve
from convpress.data import load_dataset
from convpress.files import atomic_path, write_json
from convpress.measure import count_macs, count_parameters, file_bytes
from convpress.predict import answered_right
from convpress.provenance import result_record
from convpress.statistics import wilson

# `predict` asks the saved network as it is.
EXACT = {"precision": "fp32", "compile": False}

with job(snakemake):
    settings, inputs = sections(snakemake), snakemake.input
    _, validation, test = load_dataset(inputs.data, settings["data"])
    compute = resolve(settings["compute"])

    def correct(path, data):
        """Whether each image is answered rightly."""
        return answered_right(load(path), data, compute.device).numpy()

    model = load(inputs.model)
    answers = correct(inputs.model, test)
    before = correct(inputs.start, test) if inputs.get("start") else answers
    accuracy = wilson(int(answers.sum()), len(answers))
    metrics = {
        "study": snakemake.wildcards.study,
        "variant": snakemake.wildcards.variant,
        "accuracy_before": float(before.mean()),
        "test_accuracy": accuracy.accuracy,
        "test_n": accuracy.n,
        "ci_low": accuracy.ci_low,
        "ci_high": accuracy.ci_high,
        "validation_accuracy": float(correct(inputs.model, validation).mean()),
        "validation_n": len(validation),
        "params": count_parameters(model),
        "macs": count_macs(model, test.images.shape[1:]),
        "bytes": file_bytes(inputs.model),
        "provenance": result_record(
            sorted(inputs), seed=snakemake.params.seed, code=snakemake.params.code, compute=compute.record() | EXACT
        )
        | {"training": read_metadata(inputs.model)["extra"].get("training")},
    }
    with atomic_path(Path(snakemake.output.predictions)) as path:
        np.savez_compressed(path, correct=answers)
    write_json(metrics, Path(snakemake.output.metrics))
