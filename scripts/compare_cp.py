"""tensorly's parafac on one kernel, from the starts of our CP decomposition."""

from pathlib import Path

from common import job
from convpress.checkpoints import load
from convpress.config.kernel_search import CPConfig
from convpress.decompose.reference import parafac
from convpress.files import write_json
from convpress.layers.surgery import find_conv

with job(snakemake):
    cp, seed, layer = CPConfig(**snakemake.params.cp), snakemake.params.seed, snakemake.wildcards.layer
    kernel = find_conv(load(snakemake.input.model), layer).weight.detach()
    rank = cp.rank_for(kernel.shape[1])
    found = parafac(kernel, rank, starts=cp.starts, seed=seed, iterations=cp.tensorly_iterations)
    peer = {"layer": layer, "parafac_error": found.relative_error, "parafac_seconds": found.seconds}
    write_json(peer, Path(snakemake.output.metrics))
