"""Time networks in turns, in one process; every study whose networks are timed alike uses this script."""

from pathlib import Path

from common import job, sections
from convpress.checkpoints import load
from convpress.compute import resolve
from convpress.config.sections import MeasureConfig
from convpress.deployment import time_networks
from convpress.files import write_csv
from convpress.sidecar import write_record

with job(snakemake):
    compute = resolve(sections(snakemake)["compute"])
    models = {f"{Path(path).parent.name}/{Path(path).stem}": load(path) for path in snakemake.input.models}
    times = time_networks(models, MeasureConfig(**snakemake.params.measure), bf16=compute.bf16, device=compute.device)
    write_csv(times, Path(snakemake.output.latency))
    precision = "fp32, bf16" if compute.bf16 else "fp32"
    write_record(
        snakemake.input,
        snakemake.output.latency,
        seed=None,
        code=snakemake.params.code,
        compute={"device": compute.device, "precision": precision, "threads": compute.threads},
    )
