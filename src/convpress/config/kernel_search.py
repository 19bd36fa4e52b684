"""Section kernel_search of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from convpress.config.sections import Count, Fraction, Positive, Section, TrainingConfig


class RankConfig(Section):
    """How many terms a decomposition has, by layer."""

    rank_divisor: Count = Field(2, description="Rank = input channels / rank_divisor.")
    rank: int | None = Field(None, description="One rank for all layers in place of rank_divisor.")

    def rank_for(self, in_channels: int) -> int:
        """Rank of a layer with so many input channels."""
        return in_channels // self.rank_divisor if self.rank is None else self.rank


class CPSolverConfig(RankConfig):
    """Canonical polyadic decomposition of the kernels."""

    starts: Count = Field(
        description="Effort of each layer's decomposition: so many starts compete for a kernel of 128 channels or "
        "more, twice as many for one of 64, and up to 16 times as many for smaller ones; the best result is kept."
    )
    slack: Fraction = Field(
        0.02, description="How far the corrected start may exceed the plain start's error (relative)."
    )


class CPConfig(CPSolverConfig):
    """Our decomposition, and tensorly's beside it."""

    tensorly_iterations: Count = Field(description="Iterations of tensorly's parafac, for comparison.")


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even, a kernel has an odd number of taps")
    return value


class SearchConfig(Section):
    """One way of learning kernel sizes."""

    mask: Literal["scaled", "preserving", "branch"] = Field(
        description="scaled: the seed's mask; preserving: same outputs at step 0; branch: beside the dense kernel."
    )
    extent: Annotated[int, Field(ge=3), AfterValidator(_odd)] = Field(
        21, description="Taps of the extended factors (odd)."
    )
    sigma: float = Field(-1.5, description="First value of the size parameter.")
    sigma_lr: Positive = Field(description="Learning rate of the size parameters.")
    mac_penalty: float = Field(0.0, ge=0, description="Weight of multiply-accumulates (relative to 3x3) in the loss.")
    training: TrainingConfig = Field(description="Recipe of the search.")


class KernelSearchConfig(Section):
    """The study kernel_search."""

    model: str = Field(description="The baseline whose kernels are searched.")
    decompose: list[str] = Field(min_length=1, description="Layers whose CP error is reported.")
    layers: list[str] = Field(min_length=1, description="Layers whose kernel size is searched.")
    cp: CPConfig = Field(description="Decomposition.")
    start: Literal["plain", "corrected"] = Field(description="Factors from which the search goes on.")
    finetune_cp: TrainingConfig = Field(description="Recipe after the decomposition.")
    search: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], SearchConfig] = Field(
        min_length=1, description="Variants of the search by name."
    )
    finetune_recomposed: TrainingConfig = Field(description="Recipe after the recomposition.")

    @model_validator(mode="after")
    def _searched_layers_are_decomposed(self) -> KernelSearchConfig:
        missing = [layer for layer in self.layers if layer not in self.decompose]
        if missing:
            raise ValueError(f"layers {missing} are searched but not decomposed; add them to decompose")
        return self

    def before(self, stage: str) -> int:
        """Epochs that the chain of trainings has had before a stage; a branch starts from the dense kernels."""
        kind, _, name = stage.partition("-")
        if kind == "finetune_recomposed":
            return self.spent(f"search_kernels-{name}")
        return self.finetune_cp.epochs if kind == "search_kernels" and self.search[name].mask != "branch" else 0

    def spent(self, stage: str) -> int:
        """Epochs of the chain that ends in a stage."""
        kind, _, name = stage.partition("-")
        recipe = self.search[name].training if kind == "search_kernels" else getattr(self, kind)
        return self.before(stage) + recipe.epochs
