"""Turn the masked factors back into dense kernels of the learned sizes."""

import logging
from pathlib import Path

from common import job
from convpress.checkpoints import load, save_model
from convpress.kernel_search import recompose

with job(snakemake):
    model = load(snakemake.input.model)
    logging.info("sizes: %s", recompose(model))
    save_model(model, Path(snakemake.output.model))
