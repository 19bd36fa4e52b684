"""How fragile the factors are before any training: under noise, at large rates, corrected with other slacks."""

from pathlib import Path
from types import SimpleNamespace

import torch

from common import job, sections
from convpress.checkpoints import load
from convpress.compute import resolve
from convpress.config.sections import TrainingConfig
from convpress.data import load_dataset
from convpress.files import write_csv
from convpress.fragility import noise_curve, slack_curve, try_rates
from convpress.sidecar import write_record
from factors import read_factors, with_factors

with job(snakemake):
    settings, params, inputs, names = sections(snakemake), snakemake.params, snakemake.input, snakemake.wildcards
    probe, recipe = SimpleNamespace(**params.probe), TrainingConfig(**params.recipe)
    train, validation, _ = load_dataset(inputs.data, settings["data"])
    some = validation.subset(torch.arange(min(probe.images, len(validation))))
    compute = resolve(settings["compute"])
    noise, rates = [], []
    for start in ("plain", "corrected"):
        key = dict(names.items()) | {"start": start}
        model = with_factors(inputs.model, inputs.factors, names.decomposition, start)
        for row in noise_curve(model, some, probe.noise, draws=probe.draws, seed=params.seed, device=compute.device):
            noise.append(key | row | {"images": len(some)})
        for row in try_rates(model, train, recipe, compute, rates=probe.rates, steps=probe.steps, seed=params.seed):
            rates.append(key | row | {"steps": probe.steps})
    plain = read_factors(inputs.factors, "plain")
    curve = slack_curve(load(inputs.model), names.decomposition, plain, probe.slacks)
    write_csv([dict(names.items()) | row for row in curve], Path(snakemake.output.slacks))
    write_csv(noise, Path(snakemake.output.noise))
    write_csv(rates, Path(snakemake.output.rates))
    threads = {"threads": compute.threads}
    for path, where in (
        (snakemake.output.slacks, {"device": "cpu", "precision": "fp64"} | threads),
        (snakemake.output.noise, {"device": compute.device, "precision": "fp32"} | threads),
        (snakemake.output.rates, compute.record()),  # as trainings do
    ):
        write_record(inputs, path, seed=params.seed, code=params.code, compute=where)
