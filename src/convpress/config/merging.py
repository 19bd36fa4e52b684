"""Section merging of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from convpress.config.sections import Count, Section, TrainingConfig

Ratio = Annotated[float, Field(ge=0, lt=1)]


class MergeMethod(Section):
    """What is merged, and how."""

    method: Literal["shared", "kernels", "merged"] = Field(
        description="shared: filters share centroids (the seed's method 1); kernels: single 2-D kernels do; "
        "merged: channels are merged (its method 2)."
    )
    rule: Literal["seed", "folded", "fitted"] = Field(
        "folded",
        description="Of the method merged. seed: as the seed document; folded: members are aligned, their slices "
        "summed; fitted: as folded, then the second convolution is fitted by least squares.",
    )
    features: Literal["raw", "pca", "folded"] | None = Field(
        None, description="What is clustered; absent: raw, for folded and fitted merging folded."
    )

    @model_validator(mode="after")
    def _only_channels_have_a_rule(self) -> MergeMethod:
        if self.method != "merged" and self.rule != "folded":
            raise ValueError(f"rule {self.rule} is for the method merged, not for {self.method}; leave it away")
        return self

    @model_validator(mode="after")
    def _kernels_have_no_features(self) -> MergeMethod:
        if self.method == "kernels" and self.features not in (None, "raw"):
            raise ValueError("single kernels are clustered by their own numbers; leave features away")
        return self


class MergeSurgery(MergeMethod):
    """What a network is merged to."""

    model: str | None = Field(None, description="The baseline; absent: that of the study.")
    ratio: Ratio | None = Field(None, description="Part of the filters or channels that goes, 0 to below 1.")
    macs_divisor: Annotated[float, Field(gt=1)] | None = Field(
        None, description="In the place of ratio: so many times fewer multiply-accumulates in the whole network."
    )
    allocate: bool = Field(
        False,
        description="Choose each block's channels by its error. With ratio: no more parameters and MACs than equal "
        "ratios leave; with macs_divisor: MACs alone are limited.",
    )
    recalibrate: bool = Field(True, description="Re-estimate the batch norms' statistics before fine-tuning.")

    @model_validator(mode="after")
    def _one_goal(self) -> MergeSurgery:
        if (self.ratio is None) == (self.macs_divisor is None):
            raise ValueError("give either ratio or macs_divisor, not both and not neither")
        if self.macs_divisor is not None and not self.allocate:
            raise ValueError("macs_divisor needs allocate: true")
        if self.allocate and self.method != "merged":
            raise ValueError(f"allocate is for the method merged, not for {self.method}")
        return self


class MergeVariant(MergeSurgery):
    """A network that is merged and fine-tuned."""

    replicates: list[Annotated[int, Field(ge=0)]] = Field(
        [0], min_length=1, description="Added to the seed, a variant each; those above 0 are named NAME-sN."
    )
    training: TrainingConfig = Field(description="Recipe of the fine-tuning.")


class MergingConfig(Section):
    """The study merging."""

    model: str = Field(description="The baseline of the sweep, and of the variants that name no other.")
    images: Count = Field(256, description="Training images for least-squares fits and for the allocation.")
    recalibration: Count = Field(2000, description="Training images for the batch norms' statistics.")
    drop: Ratio = Field(
        0.25,
        description="Part of the 2-D kernels, the weakest, that the method kernels drops, as far as the ratio lets it.",
    )
    ratios: list[Ratio] = Field(min_length=1, description="Ratios of the sweep.")
    sweep: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], MergeMethod] = Field(
        min_length=1, description="Methods of the sweep by name (small letters, digits and _)."
    )
    variants: dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")], MergeVariant] = Field(
        min_length=1, description="Variants that can be fine-tuned, by name."
    )
    train: list[str] = Field(min_length=1, description="Variants that this run fine-tunes.")

    @model_validator(mode="after")
    def _trained_variants_exist(self) -> MergingConfig:
        for i, name in enumerate(self.train):
            if name not in self.variants:
                raise ValueError(f"train.{i}: no variant {name!r}; variants has {sorted(self.variants)}")
        return self

    @model_validator(mode="after")
    def _files_have_names_of_their_own(self) -> MergingConfig:
        percents = [round(100 * ratio) for ratio in self.ratios]
        for i, percent in enumerate(percents):
            if percent in percents[:i]:
                raise ValueError(f"ratios.{i}: {self.ratios[i]} is called {percent:02d} as one before it; keep one")
        for name in self.train:
            again = [f"{name}-s{number}" for number in self.variants[name].replicates if number]
            if taken := set(again) & set(self.train):
                raise ValueError(f"variants.{taken.pop()}: a replicate of {name} is called so; choose another name")
        return self

    def models(self) -> list[str]:
        """The networks of the sweep and of the variants that are fine-tuned."""
        return sorted({self.model, *(self.variants[name].model or self.model for name in self.train)})
