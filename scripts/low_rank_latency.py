"""Operations of each network and its times in turns: float32, bfloat16, and on a GPU where there is one."""

from pathlib import Path

import torch

from common import job, sections
from convpress.checkpoints import load
from convpress.compute import resolve
from convpress.config.sections import MeasureConfig
from convpress.files import write_csv
from convpress.low_rank import measure_costs
from convpress.sidecar import write_record

with job(snakemake):
    params = snakemake.params
    measure = MeasureConfig(**params.measure)
    compute = resolve(sections(snakemake)["compute"])
    paths = {"original": snakemake.input.original} | {Path(path).stem: path for path in snakemake.input.models}
    rows = measure_costs(
        {name: load(path) for name, path in paths.items()},
        (3, params.size, params.size),
        batch_size=measure.batch_size,
        repeats={getattr(torch, dtype): repeats for dtype, repeats in params.repeats.items()},
        warmup=measure.warmup,
    )
    facts = {"device": "cpu", "dtype": "float32", "layout": "channels_last"}
    facts |= {"repeats": params.repeats["float32"], "bf16_repeats": params.repeats["bfloat16"]}
    write_csv([row | facts for row in rows], Path(snakemake.output.latency))
    write_record(
        snakemake.input,
        snakemake.output.latency,
        seed=None,
        code=params.code,
        compute={"device": facts["device"], "precision": "fp32, bf16", "threads": compute.threads},
    )
