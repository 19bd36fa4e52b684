"""What the scripts that share filters and train have in common."""

from __future__ import annotations

from typing import Any

from torch import nn

from common import sections
from convpress.clustering.budget import Plan, read_curves
from convpress.clustering.remedies import plan_for
from convpress.config.clustering import RemedyConfig
from convpress.config.sections import TrainingConfig
from convpress.data import Dataset, augmented, load_dataset
from convpress.recalibrate import IMAGES


def plan_of(snakemake: Any, model: nn.Module, remedy: RemedyConfig) -> Plan:
    """Clusters by layer: the variant's own, or those that its ratio leaves."""
    params = snakemake.params
    if params.variant["plan"]:
        return params.variant["plan"]
    curves = read_curves(snakemake.input.sweeps)
    return plan_for(model, params.layers, params.variant["ratio"], remedy, curves)


def seen_by(snakemake: Any, remedy: RemedyConfig, recipe: TrainingConfig) -> Dataset | None:
    """Images as the training sees them, for a remedy that re-estimates batch norms."""
    if not remedy.recalibrate:
        return None
    train, _, _ = load_dataset(snakemake.input.data, sections(snakemake)["data"])
    return augmented(train, IMAGES, snakemake.params.seed, recipe.crop_padding, recipe.flip)
