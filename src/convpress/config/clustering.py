"""Section clustering of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from convpress.config.sections import Count, Fraction, Section, TrainingConfig

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class LayerGroup(Section):
    """Layers that share one number of clusters."""

    name: Name = Field(description="Name in tables and files.")
    layers: list[str] = Field(min_length=1, description="Convolutions with the same number of filters.")


class SweepConfig(Section):
    """How the sweeps look at the validation images."""

    images: Count | None = Field(None, description="The first so many validation images; absent means all.")
    step: Count = Field(
        1, description="Distance of the numbers of clusters in the sweeps; the largest is always there."
    )
    batch_size: Count = Field(100, description="Images a step; small batches stay in the processor's cache.")


class PlansConfig(Section):
    """Numbers of clusters chosen by hand, several layers at once."""

    columns: list[LayerGroup] = Field(min_length=1, description="The layers that each number of a plan is for.")
    rows: list[Annotated[list[Count], Field(min_length=1)]] = Field(
        min_length=1, description="The plans, numbered from 0 as the seed does: clusters for each column."
    )
    finetune: list[Annotated[int, Field(ge=0)]] = Field([], description="Numbers of the plans that are fine-tuned.")
    remedy: str = Field(description="The remedy with which these are fine-tuned.")

    @model_validator(mode="after")
    def _plans_fit_the_columns(self) -> PlansConfig:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"rows.{number} has {len(row)} numbers; the {len(self.columns)} columns want one each")
        unknown = [number for number in self.finetune if number >= len(self.rows)]
        if unknown:
            raise ValueError(f"finetune names plan {unknown[0]}; plans 0 to {len(self.rows) - 1} are there")
        layers = [layer for column in self.columns for layer in column.layers]
        twice = sorted({layer for layer in layers if layers.count(layer) > 1})
        if twice:
            raise ValueError(f"columns name layer {twice[0]!r} twice; each layer may be in one column")
        return self

    def plan(self, number: int) -> dict[str, int]:
        """Clusters by layer of plan `number`, counted from 0."""
        columns = zip(self.columns, self.rows[number], strict=True)
        return {layer: clusters for column, clusters in columns for layer in column.layers}


class RemedyConfig(Section):
    """One way of sharing filters and of training afterwards; the keys can be combined."""

    filters: Literal["frozen", "tied"] = Field(
        description="frozen: shared filters stay as they are; tied: they learn, by the summed gradient of a cluster."
    )
    recalibrate: bool = Field(
        False, description="Re-estimate batch-norm statistics on training images, without labels, before the training."
    )
    threshold: Fraction | None = Field(
        None,
        description="Part of a layer's filters, the nearest to their centroids, that is replaced; the others stay.",
    )
    elementwise: bool = Field(False, description="Cluster each position of the filter by itself.")
    adaptive_k: bool = Field(
        False, description="More clusters where the layer sweep gains most, in place of the same part for all layers."
    )
    distance: Literal["euclidean", "cosine"] = Field("euclidean", description="What k-means takes for near.")
    norm_penalty: float = Field(
        0.0, ge=0, description="Weight of the penalty that pulls filter norms to 1 in the first half of the epochs."
    )
    progressive: bool = Field(
        False,
        description="Cluster layer after layer and train after each for an equal part of the epochs; "
        "without moving average.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> RemedyConfig:
        if self.elementwise and (self.threshold is not None or self.distance == "cosine"):
            raise ValueError("elementwise clusters single numbers; threshold and the cosine distance are for filters")
        if self.norm_penalty and self.progressive:
            raise ValueError("norm_penalty and progressive both divide the epochs; choose one")
        return self


class ClusteringConfig(Section):
    """The study clustering."""

    model: str = Field(description="The baseline whose filters are clustered.")
    layers: list[str] = Field(min_length=1, description="Convolutions that are swept and that the remedies cluster.")
    groups: list[LayerGroup] = Field(min_length=1, description="Groups of layers with one number of clusters each.")
    sweep: SweepConfig = Field(SweepConfig(), description="The sweeps over numbers of clusters.")  # type: ignore[call-arg]
    plans: PlansConfig = Field(description="Plans for several layers.")
    ratios: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        min_length=1, description="Parts of the layers' parameters at which the remedies are compared."
    )
    remedies: dict[Name, RemedyConfig] = Field(min_length=1, description="Remedies by name.")
    compare: list[str] = Field(min_length=1, description="Remedies that are trained at each ratio.")
    replicated: list[str] = Field([], description="Of these, the ones that are trained with several seeds.")
    seeds: Count = Field(3, description="Trainings of a replicated remedy.")
    training: TrainingConfig = Field(description="Recipe; every remedy gets these epochs, and so does the control.")

    @model_validator(mode="after")
    def _names_exist(self) -> ClusteringConfig:
        used = {f"compare.{i}": name for i, name in enumerate(self.compare)}
        if self.plans.finetune:
            used["plans.remedy"] = self.plans.remedy
        for place, name in used.items():
            if name not in self.remedies:
                raise ValueError(f"{place}: no remedy {name!r}; remedies has {sorted(self.remedies)}")
        for name in self.replicated:
            if name not in self.compare:
                raise ValueError(f"replicated: {name!r} is not in compare, which has {self.compare}")
        for name in {*used.values()}:
            if self.remedies[name].norm_penalty and self.training.epochs < 2:
                raise ValueError(f"training.epochs is {self.training.epochs}; {name} pulls norms first and needs 2")
        for label, names in (("layers", self.layers), ("groups", [group.name for group in self.groups])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{label}: {twice[0]!r} stands there twice")
        if len({ratio_name(ratio) for ratio in self.ratios}) < len(self.ratios):
            raise ValueError(f"ratios: {self.ratios} are not different in whole percent, by which they are named")
        return self


def ratio_name(ratio: float) -> str:
    """A ratio in file names: 0.5 is 050."""
    return f"{round(100 * ratio):03d}"


class Variant(Section):
    """One trained network of the study."""

    name: str = Field(description="Name in files and tables.")
    remedy: str = Field(description="Its remedy; empty for the control.")
    ratio: float | None = Field(description="The wanted ratio of unique parameters.")
    plan: int | None = Field(description="The plan, where one is used in place of a ratio.")
    replicate: int = Field(description="0 for the first seed.")


CONTROL = "control"


def variants(config: ClusteringConfig) -> dict[str, Variant]:
    """All networks to train, by name: the control, fine-tuned plans, and each compared remedy at each ratio."""
    found = [Variant(name=CONTROL, remedy="", ratio=None, plan=None, replicate=0)]
    for number in config.plans.finetune:
        name = f"plan{number}-{config.plans.remedy}"
        found.append(Variant(name=name, remedy=config.plans.remedy, ratio=None, plan=number, replicate=0))
    for remedy in config.compare:
        for ratio in config.ratios:
            for replicate in range(config.seeds if remedy in config.replicated else 1):
                name = f"{remedy}-{ratio_name(ratio)}" + (f"-s{replicate}" if replicate else "")
                found.append(Variant(name=name, remedy=remedy, ratio=ratio, plan=None, replicate=replicate))
    return {variant.name: variant for variant in found}


def pull_epochs(remedy: RemedyConfig, epochs: int) -> int:
    """Epochs in which a norm penalty works on the dense network before anything is clustered."""
    return epochs // 2 if remedy.norm_penalty else 0
