"""Let another library compress a baseline to a target."""

import time
from importlib.metadata import version
from pathlib import Path

import torch

from common import job
from convpress.checkpoints import load, save_model
from convpress.files import write_json
from convpress.peers import LIBRARY, compress
from convpress.provenance import result_record

with job(snakemake):
    params, peer = snakemake.params, snakemake.params.peer
    torch.set_num_threads(params.cpu["threads"])
    start = time.perf_counter()
    result = compress(
        load(snakemake.input.model),
        peer["method"],
        peer["cost"],
        peer["fraction"],
        iterations=peer["iterations"],
        seed=params.seed,
    )
    save_model(result.model, Path(snakemake.output.model))
    metrics = {
        "variant": snakemake.wildcards.variant,
        "method": peer["method"],
        "library": LIBRARY[peer["method"]],
        "version": version(LIBRARY[peer["method"]]),
        "target_cost": peer["cost"],
        "target": result.target,
        "strength": result.strength,
        "reached": result.reached,
        "seconds": time.perf_counter() - start,
        "provenance": result_record(
            [snakemake.input.model],
            seed=params.seed,
            code=params.code,
            compute={"device": "cpu", "precision": "fp32", "threads": params.cpu["threads"]},
        ),
    }
    write_json(metrics, Path(snakemake.output.metrics))
