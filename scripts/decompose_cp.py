"""CP factors of one kernel by nonlinear least squares, and their corrected form."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from common import job
from convpress.checkpoints import load
from convpress.config.kernel_search import CPSolverConfig
from convpress.decompose.cp import cp_decompose, cp_reconstruct
from convpress.decompose.sensitivity import correct_cp, sensitivity_cp
from convpress.decompose.tensors import relative_error
from convpress.files import atomic_path, write_json
from convpress.layers.surgery import find_conv
from convpress.provenance import result_record

with job(snakemake):
    cp, seed, layer = CPSolverConfig(**snakemake.params.cp), snakemake.params.seed, snakemake.wildcards.layer
    torch.set_num_threads(snakemake.params.cpu["threads"])
    kernel = find_conv(load(snakemake.input.model), layer).weight.detach().double()
    rank = cp.rank_for(kernel.shape[1])
    plain = cp_decompose(kernel, rank, starts=cp.starts, seed=seed)
    corrected = correct_cp(kernel, plain.factors, slack=cp.slack)
    metrics = {
        "layer": layer,
        "rank": rank,
        "relative_error": plain.relative_error,
        "corrected_error": relative_error(kernel, cp_reconstruct(corrected)),
        "seconds": plain.seconds,
        "iterations": plain.iterations,
        "start": plain.start,
        "sensitivity": float(sensitivity_cp(plain.factors)),
        "corrected_sensitivity": float(sensitivity_cp(corrected)),
        "provenance": result_record(
            [snakemake.input.model],
            seed=seed,
            code=snakemake.params.code,
            compute={"device": "cpu", "precision": "fp64", "threads": snakemake.params.cpu["threads"]},
        ),
    }
    named = {"plain": plain.factors, "corrected": corrected}
    with atomic_path(Path(snakemake.output.factors)) as path:
        save_file({f"{k}.{n}": f.contiguous() for k, fs in named.items() for n, f in enumerate(fs)}, path)
    write_json(metrics, Path(snakemake.output.metrics))
