"""tensorly's parafac on one kernel, from the starts of our CP decomposition."""

from pathlib import Path

import torch

from common import job
from convpress.checkpoints import load
from convpress.config.kernel_search import RankConfig
from convpress.decompose.reference import parafac_reference
from convpress.files import write_json
from convpress.layers.surgery import find_conv
from convpress.provenance import result_record

with job(snakemake):
    params, layer = snakemake.params, snakemake.wildcards.layer
    torch.set_num_threads(params.cpu["threads"])
    kernel = find_conv(load(snakemake.input.model), layer).weight.detach()
    rank = RankConfig(**params.rank).rank_for(kernel.shape[1])
    found = parafac_reference(kernel, rank, seed=params.seed, **params.asked)
    peer = {
        "layer": layer,
        "parafac_error": found.relative_error,
        "parafac_seconds": found.seconds,
        "provenance": result_record(
            [snakemake.input.model],
            seed=params.seed,
            code=params.code,
            compute={"device": "cpu", "precision": "fp64", "threads": params.cpu["threads"]},
        ),
    }
    write_json(peer, Path(snakemake.output.metrics))
