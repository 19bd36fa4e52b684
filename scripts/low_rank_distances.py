"""How far the replaced layers' outputs are from the original network's, on validation images."""

from pathlib import Path

from common import job, sections
from convpress.checkpoints import load
from convpress.compute import resolve
from convpress.data import load_dataset
from convpress.files import write_csv
from convpress.low_rank import output_distances
from convpress.sidecar import write_record

with job(snakemake):
    settings, inputs = sections(snakemake), snakemake.input
    compute = resolve(settings["compute"])
    _, validation, _ = load_dataset(inputs.data, settings["data"])
    models = {Path(path).stem: load(path) for path in inputs.models} | {"control": load(inputs.control)}
    rows = output_distances(load(inputs.original), models, validation, snakemake.params.layers)
    write_csv(rows, Path(snakemake.output.distances))
    write_record(
        inputs,
        snakemake.output.distances,
        seed=None,
        code=snakemake.params.code,
        compute={"device": "cpu", "precision": "fp32", "threads": compute.threads},
    )
