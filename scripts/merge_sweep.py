"""Merge in one way at every ratio; accuracies on validation images, before and after re-estimated statistics."""

from pathlib import Path

from common import job, sections
from convpress.checkpoints import load, save_model
from convpress.compute import resolve
from convpress.config.merging import MergeMethod
from convpress.data import augmented, load_dataset
from convpress.files import write_csv
from convpress.measure import count_macs, count_parameters, file_bytes
from convpress.merging.variant import Settings, compress
from convpress.predict import accuracy_of
from convpress.recalibrate import recalibrate
from convpress.sidecar import write_record

with job(snakemake):
    settings, params = sections(snakemake), snakemake.params
    train, validation, _ = load_dataset(snakemake.input.data, settings["data"])
    compute = resolve(settings["compute"])
    common = params.common
    seen = augmented(train, max(common["images"], common["recalibration"]), params.seed, **common["view"])
    look = Settings(seen, common["images"], common.get("drop", 0.0), params.seed)

    rows, method = [], MergeMethod(**params.method)
    for ratio, path in zip(params.ratios, map(Path, snakemake.output.models), strict=True):
        model = load(snakemake.input.model)
        compress(model, method, ratio, look)
        row = {"point": path.stem, "series": snakemake.wildcards.series, "ratio": ratio}
        row |= method.model_dump()
        row |= {"validation_n": len(validation), "validation_before": accuracy_of(model, validation)}
        recalibrate(model, seen, images=common["recalibration"])
        row["validation_recalibrated"] = accuracy_of(model, validation)
        save_model(model, path)
        row |= {"params": count_parameters(model), "bytes": file_bytes(path)}
        rows.append(row | {"macs": count_macs(model, train.images.shape[1:])})
    write_csv(rows, Path(snakemake.output.accuracies))
    write_record(
        snakemake.input,
        snakemake.output.accuracies,
        seed=params.seed,
        code=params.code,
        compute={"device": "cpu", "precision": "fp32", "threads": compute.threads},
    )
