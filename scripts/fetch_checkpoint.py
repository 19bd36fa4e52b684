"""Put an imported checkpoint in its place, from where it is found first."""

from pathlib import Path

from common import job
from convpress.files import write_json
from convpress.inputs import fetch_checkpoint

with job(snakemake):
    provenance = fetch_checkpoint(snakemake.wildcards.checkpoint, Path(snakemake.output.checkpoint))
    write_json(provenance, Path(snakemake.output.provenance))
