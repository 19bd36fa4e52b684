"""Note where a user's own checkpoint lies and what it was; it is read from there and not copied."""

from pathlib import Path

from common import job
from convpress.files import sha256_file, write_json

with job(snakemake):
    path = Path(snakemake.input.checkpoint)
    record = {"file": path.name, "sha256": sha256_file(path), "source": "own file", "origin": str(path)}
    write_json(record | {"md5": None, "verified": False}, Path(snakemake.output.provenance))
