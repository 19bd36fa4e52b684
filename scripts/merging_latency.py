"""Time the sweep and all variants in turns, beside their dense baselines."""

from pathlib import Path

import pandas as pd
import torch

from common import job, sections
from convpress.checkpoints import load
from convpress.compute import prepare, resolve
from convpress.config.sections import MeasureConfig
from convpress.files import write_csv
from convpress.measure import Latency, interleaved_times
from convpress.report.merging.turns import TURNS, turns_cell
from convpress.sidecar import write_record

with job(snakemake):
    measure = MeasureConfig(**snakemake.params.measure)
    compute = resolve(sections(snakemake)["compute"])
    groups = {"baseline": "baselines", "sweep": "sweep", "variant": "variants"}
    paths = {(group, Path(p).stem): p for group, key in groups.items() for p in snakemake.input[key]}
    # Laid out before timing: what layers prepare for inference is then kept between passes.
    networks = {"/".join(name): prepare(load(path), compute) for name, path in paths.items()}
    times = interleaved_times(
        networks,
        (3, 32, 32),
        batch_size=measure.batch_size,
        repeats=measure.repeats,
        warmup=measure.warmup,
        device=compute.device,
    )
    rows = [
        dict(zip(("group", "name"), name.split("/"), strict=True))
        | vars(Latency.of(milliseconds))
        | {TURNS: turns_cell(milliseconds)}
        for name, milliseconds in times.items()
    ]
    facts = {"batch_size": measure.batch_size, "threads": torch.get_num_threads()}
    frame = pd.DataFrame(rows).assign(**facts, dtype="float32", layout="channels_last")
    write_csv(frame, Path(snakemake.output.latency))
    write_record(
        snakemake.input,
        snakemake.output.latency,
        seed=None,
        code=snakemake.params.code,
        compute={"device": compute.device, "precision": "fp32", "threads": compute.threads},
    )
