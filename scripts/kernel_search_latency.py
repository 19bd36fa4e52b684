"""Time all stages of the study in turns, beside the dense baseline."""

from pathlib import Path

import pandas as pd
import torch

from common import job, sections
from convpress.checkpoints import load
from convpress.compute import resolve
from convpress.config.sections import MeasureConfig
from convpress.files import write_csv
from convpress.measure import interleaved_latency
from convpress.sidecar import write_record

with job(snakemake):
    measure = MeasureConfig(**snakemake.params.measure)
    compute = resolve(sections(snakemake)["compute"])
    paths = {"baseline": snakemake.input.baseline} | {Path(p).stem: p for p in snakemake.input.models}
    latencies = interleaved_latency(
        {name: load(path) for name, path in paths.items()},
        (3, 32, 32),
        batch_size=measure.batch_size,
        repeats=measure.repeats,
        warmup=measure.warmup,
        device=compute.device,
    )
    rows = [{"stage": name} | vars(latency) for name, latency in latencies.items()]
    frame = pd.DataFrame(rows).assign(
        batch_size=measure.batch_size,
        threads=torch.get_num_threads(),
        dtype="float32",
        layout="channels_last",
    )
    write_csv(frame, Path(snakemake.output.latency))
    write_record(
        snakemake.input,
        snakemake.output.latency,
        seed=None,
        code=snakemake.params.code,
        compute={"device": compute.device, "precision": "fp32", "threads": compute.threads},
    )
