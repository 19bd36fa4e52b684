"""Export all final variants of a network, check the files on test images, and time them in ONNX Runtime."""

from pathlib import Path
from tempfile import TemporaryDirectory

from common import job, sections
from convpress.checkpoints import load
from convpress.compute import resolve
from convpress.config.sections import MeasureConfig
from convpress.data import load_dataset
from convpress.deployment import check_export, time_networks
from convpress.files import write_csv, write_json
from convpress.report.reading import read_array
from convpress.sidecar import write_record

PACKAGES = ("onnxruntime", "onnxscript", "onnx-ir")

with job(snakemake), TemporaryDirectory() as folder:
    settings, inputs = sections(snakemake), snakemake.input
    compute = resolve(settings["compute"])
    _, _, test = load_dataset(inputs.data, settings["data"])
    records, exported = [], {}
    for model, predictions in zip(inputs.models, inputs.predictions, strict=True):
        study, variant = Path(model).parent.name, Path(model).stem
        correct = read_array(predictions, "correct")
        file = Path(folder, f"{study}-{variant}.onnx")
        record, runtime = check_export(load(model), correct, test, file)
        file.unlink()  # the session holds the weights, and the folder may lie in memory
        records.append({"study": study, "variant": variant} | record)
        exported[f"{study}/{variant}"] = runtime
    times = time_networks(exported, MeasureConfig(**snakemake.params.measure), backend="onnxruntime")
    write_json(records, Path(snakemake.output.metrics))
    write_csv(times, Path(snakemake.output.latency))
    write_record(
        inputs,
        snakemake.output.metrics,
        snakemake.output.latency,
        seed=None,
        code=snakemake.params.code,
        compute={"device": "cpu", "precision": "fp32", "threads": compute.threads},
        packages=PACKAGES,
    )
