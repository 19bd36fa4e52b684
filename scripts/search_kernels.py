"""Train long masked factors together with the numbers that decide how long they are."""

from pathlib import Path

from common import job
from convpress.checkpoints import load, save_model
from convpress.config.kernel_search import RankConfig, SearchConfig
from convpress.kernel_search import extend, mac_penalty, record_sizes
from training import run_training

with job(snakemake):
    params = snakemake.params
    search = SearchConfig(**params.search)
    model = load(snakemake.input.model)
    extend(model, params.layers, search, cp=RankConfig(**params.cp), seed=params.seed)
    save_model(model, Path(snakemake.output.start))
    run_training(
        snakemake,
        model,
        search.training,
        record=record_sizes,
        penalties=[mac_penalty(search.mac_penalty)] if search.mac_penalty else [],
        rates={"*.sigma": search.sigma_lr},
    )
