"""Factors of the 3x3 kernels of a network after the first, plain and with corrected sensitivity."""

import logging
from pathlib import Path

import torch
from safetensors.torch import save_file

from common import job
from convpress.checkpoints import load
from convpress.files import atomic_path, write_json
from convpress.layers.surgery import find_conv
from convpress.provenance import result_record
from convpress.sensitivity import factorise_kernel, left_dense, ranks_of_layers

with job(snakemake):
    params, names = snakemake.params, snakemake.wildcards
    torch.set_num_threads(params.cpu["threads"])
    model, rows, tensors = load(snakemake.input.model), [], {}
    compression, allocate = int(names.compression), bool(names.allocation)
    for layer, ranks in ranks_of_layers(model, names.decomposition, compression, allocate=allocate).items():
        kernel = find_conv(model, layer).weight
        if ranks is None:
            rows.append({"layer": layer} | left_dense(kernel))
            continue
        found = factorise_kernel(kernel, names.decomposition, ranks, seed=params.seed, **params.options)
        rows.append({"layer": layer} | found.metrics)
        for kind, factors in (("plain", found.plain), ("corrected", found.corrected)):
            tensors |= {f"{kind}/{layer}/{n}": factor.contiguous() for n, factor in enumerate(factors)}
        logging.info("%s rank %s error %.4f", layer, found.metrics["rank"], found.metrics["relative_error"])
    with atomic_path(Path(snakemake.output.factors)) as path:
        save_file(tensors, path)
    key = {"model": names.model, "decomposition": names.decomposition, "compression": compression}
    key |= {"allocated": allocate}
    provenance = result_record(
        [snakemake.input.model],
        seed=params.seed,
        code=params.code,
        compute={"device": "cpu", "precision": "fp64", "threads": params.cpu["threads"]},
    )
    write_json(key | {"layers": rows, "provenance": provenance}, Path(snakemake.output.metrics))
