"""Ask the teacher once about one view of every training image."""

from pathlib import Path

from safetensors.torch import save_file

from common import job, sections
from convpress.checkpoints import load
from convpress.compute import resolve
from convpress.data import load_dataset
from convpress.files import atomic_path
from convpress.teachers import teacher_logits

with job(snakemake):
    settings, params = sections(snakemake), snakemake.params
    train, _, _ = load_dataset(snakemake.input.data, settings["data"])
    logits = teacher_logits(
        load(snakemake.input.model),
        train,
        resolve(settings["compute"]),
        view=int(snakemake.wildcards.view),
        view_seed=params.seed,
        **params.asked,
    )
    with atomic_path(Path(snakemake.output.logits)) as path:
        save_file({"logits": logits}, path)
