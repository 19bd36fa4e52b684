"""tensorly's parafac on one kernel, from the starts of our CP decomposition."""

from pathlib import Path

from common import job
from convpress.checkpoints import load
from convpress.config.kernel_search import RankConfig
from convpress.decompose.reference import parafac
from convpress.files import write_json
from convpress.layers.surgery import find_conv

with job(snakemake):
    params, layer = snakemake.params, snakemake.wildcards.layer
    kernel = find_conv(load(snakemake.input.model), layer).weight.detach()
    rank = RankConfig(**params.rank).rank_for(kernel.shape[1])
    found = parafac(kernel, rank, starts=params.starts, seed=params.seed, iterations=params.iterations)
    peer = {"layer": layer, "parafac_error": found.relative_error, "parafac_seconds": found.seconds}
    write_json(peer, Path(snakemake.output.metrics))
