"""Put the CP layers into the network."""

from pathlib import Path

from safetensors.torch import load_file

from common import job
from convpress.checkpoints import load, save_model
from convpress.layers.cp import SeparableCPConv2d
from convpress.layers.surgery import replace_conv

with job(snakemake):
    model = load(snakemake.input.model)
    for layer, path in zip(snakemake.params.layers, snakemake.input.factors, strict=True):
        tensors = load_file(path)
        factors = [tensors[f"{snakemake.wildcards.start}.{n}"] for n in range(4)]
        replace_conv(model, layer, SeparableCPConv2d, factors=factors)
    save_model(model, Path(snakemake.output.model))
