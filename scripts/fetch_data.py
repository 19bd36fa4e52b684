"""Put the images into one file, from where they are found first."""

from pathlib import Path

from common import job
from convpress.files import write_json
from convpress.inputs import fetch_dataset

with job(snakemake):
    provenance = fetch_dataset(snakemake.params.name, Path(snakemake.output.images))
    write_json(provenance, Path(snakemake.output.provenance))
