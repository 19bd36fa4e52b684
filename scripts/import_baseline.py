"""Read a foreign checkpoint into our network and save it in our format."""

from pathlib import Path

from common import job
from convpress.checkpoints import import_pretrained, save_model
from convpress.config.sections import ModelConfig
from convpress.models.registry import create_model

with job(snakemake):
    config = ModelConfig(**snakemake.params.model)
    model = create_model(config.architecture, **config.arguments)
    import_pretrained(Path(snakemake.input.checkpoint), model, prefix=config.key_prefix)
    # Another code makes another file, so that what was computed with the old one runs again, whenever a run stops.
    save_model(model, Path(snakemake.output.model), extra={"network_code": snakemake.params.architecture})
