"""Section sensitivity of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal

from pydantic import Field, model_validator

from convpress.config.sections import Count, Fraction, Positive, Section, TrainingConfig

Decomposition = Literal["cp", "tucker", "tensor_chain"]
Treatment = Literal["plain", "corrected", "regularised", "both"]
Compression = Annotated[int, Field(ge=2)]
STARTS: dict[str, str] = {"plain": "plain", "corrected": "corrected", "regularised": "plain", "both": "corrected"}
"""The factors that a treatment starts from."""
ALLOCATED = "-allocated"
"""What the name of a decomposition ends with whose ranks are allocated over the layers."""
PENALISED = ("regularised", "both")
"""The treatments whose training has the sensitivity in its loss."""


@dataclass(frozen=True)
class Variant:
    """One network of the study: what is done to which baseline, and how it is trained."""

    model: str
    decomposition: str
    compression: int
    allocated: bool
    treatment: str
    replicate: int
    suffix: str
    recipe: TrainingConfig

    @property
    def factors(self) -> str:
        """The decomposition that it starts from, as the name of its file."""
        return f"{self.model}-{self.decomposition}-{self.compression}x{ALLOCATED if self.allocated else ''}"


class SelectionConfig(Section):
    """Every combination of what is listed."""

    models: list[str] = Field(min_length=1, description="Baselines.")
    decompositions: list[Decomposition] = Field(min_length=1, description="Kinds of factorisation.")
    compressions: list[Compression] = Field(
        min_length=1, description="How many times fewer parameters each factorised layer has, about (see allocate)."
    )

    @property
    def factors(self) -> list[tuple[str, str, int]]:
        """(model, decomposition, compression) of all decompositions that it needs."""
        return list(product(self.models, self.decompositions, self.compressions))


class GridConfig(SelectionConfig):
    """Variants: every combination of what is listed."""

    treatments: list[Treatment] = Field(
        min_length=1, description="plain, corrected (start), regularised (loss), or both."
    )
    allocate: bool = Field(
        False,
        description="Ranks by layer (Tucker alone): the compression is that of all layers together, and parameters go "
        "where they lower the sum of squared relative errors most; layers may stay dense. Needs a suffix.",
    )
    replicates: list[Annotated[int, Field(ge=0)]] = Field([0], description="Added to the run's seed, a training each.")
    suffix: Annotated[str, Field(pattern=r"^[a-z0-9_]*$")] = Field(
        "",
        description="Last word of the variants' names; tells grids with own recipes or allocated ranks apart.",
    )
    training: TrainingConfig | None = Field(None, description="Recipe of this grid in place of the study's own.")

    @model_validator(mode="after")
    def _can_be_allocated(self) -> GridConfig:
        if self.allocate and self.decompositions != ["tucker"]:
            raise ValueError(f"allocate: only the ranks of tucker can be, not of {' and '.join(self.decompositions)}")
        if self.allocate and not self.suffix:
            raise ValueError("allocate: give the grid a suffix, which tells its variants from the others")
        return self


class ProbeConfig(SelectionConfig):
    """How fragile the decompositions are before any training."""

    noise: list[Positive] = Field(min_length=1, description="Noise of the factors over their root mean square.")
    draws: Count = Field(3, description="Draws of the noise at each level.")
    images: Count = Field(1000, description="Validation images of the noise curve.")
    rates: list[Positive] = Field(min_length=1, description="Constant learning rates that are tried, rising.")
    steps: Count = Field(100, description="Training steps at each rate.")
    slacks: list[Fraction] = Field(
        [0.0, 0.01, 0.02], min_length=1, description="Slacks of the correction that are set side by side."
    )


class SensitivityConfig(Section):
    """The study sensitivity."""

    starts: Count = Field(
        description="Effort of each CP decomposition, as kernel_search.cp.starts; the other families have starts of "
        "their own."
    )
    iterations: Count = Field(description="Most iterations of a CP or tensor-chain decomposition.")
    slack: Fraction = Field(0.02, description="How far corrected factors may exceed the plain ones' error (relative).")
    penalty: Positive = Field(description="Weight of the summed sensitivity in the loss (regularised, both).")
    training: TrainingConfig = Field(description="Recipe of all variants whose grid has none of its own.")
    grids: dict[str, GridConfig | None] = Field(
        description="The variants: grids of combinations by name; null leaves one out."
    )
    probe: ProbeConfig = Field(description="Perturbed factors and large learning rates.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> SensitivityConfig:
        if not self.variants():
            raise ValueError("grids: all are left out; keep one")
        known = {entry for grid in self._grids if not grid.allocate for entry in grid.factors}
        if missing := [entry for entry in self.probe.factors if entry not in known]:
            model, kind, compression = missing[0]
            raise ValueError(
                f"probe: {kind} of {model} at {compression}x is in none of the grids; add it to one or leave it out"
            )
        return self

    def variants(self) -> dict[str, Variant]:
        """All variants by name, e.g. resnet20-cp-2x-plain-s1; the first replicate goes without a number."""
        found: dict[str, Variant] = {}
        for grid in self._grids:
            for model, kind, ratio in grid.factors:
                for treatment, replicate in product(grid.treatments, grid.replicates):
                    words = [model, kind, f"{ratio}x", treatment, grid.suffix, f"s{replicate}" if replicate else ""]
                    name = "-".join(word for word in words if word)
                    if name in found:
                        raise ValueError(
                            f"grids: {name} is there twice; name each entry of a list once, and give one of two grids "
                            "another suffix"
                        )
                    recipe = grid.training or self.training
                    found[name] = Variant(model, kind, ratio, grid.allocate, treatment, replicate, grid.suffix, recipe)
        return found

    @property
    def models(self) -> list[str]:
        """All baselines of the study, in the order of the grids."""
        return list(dict.fromkeys(model for grid in self._grids for model in grid.models))

    @property
    def _grids(self) -> list[GridConfig]:
        return [grid for grid in self.grids.values() if grid]
