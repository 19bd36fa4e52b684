"""Section low_rank of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from convpress.config.sections import Count, Positive, Section, TrainingConfig


class ExpansionConfig(Section):
    """One way of writing a convolution as a product of cheaper ones."""

    scheme: Literal["grouped", "decomposed", "separable"] = Field(
        description="grouped: filters for each input channel, then 1x1; decomposed: these filters split into d x 1 "
        "and 1 x d; separable: d x 1 to K channels, then 1 x d."
    )
    bases: Literal["shared", "per_channel"] = Field(
        "shared", description="For what the filters of grouped and decomposed are optimal: all input channels, or each."
    )


class RowConfig(Section):
    """One row of the table: an expansion and how it is trained."""

    row: Annotated[int, Field(ge=2)] = Field(description="Its number; row 1 is the original network.")
    expansion: str = Field(description="Name of an expansion.")
    l2: int = Field(0, ge=0, description="How many times the epochs of the recipe low_rank.l2, before ce.")
    ce: int = Field(0, ge=0, description="How many times the epochs of the recipe low_rank.ce.")

    @property
    def variant(self) -> str:
        """Name of the row's model: the expansion, then what was trained, e.g. replaced-l2-ce or replaced-ce2."""
        return "-".join([self.expansion, *(self._part("l2", self.l2)), *(self._part("ce", self.ce))])

    @staticmethod
    def _part(name: str, times: int) -> list[str]:
        return [f"{name}{times if times > 1 else ''}"] if times else []


class BasesConfig(Section):
    """The comparison of the closed form with the alternating method."""

    penalties: list[Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="Weights of the nuclear norm, relative to the norm of the kernel; 0 is none."
    )
    sweeps: Count = Field(description="Sweeps over all filters.")


class LowRankConfig(Section):
    """The study low_rank."""

    model: str = Field(description="The baseline that is expanded.")
    input_size: Count = Field(
        description="Pixels to which the images are enlarged, in training and evaluation; the same as "
        "arguments.input_size of the model. Costs are for cost_size."
    )
    cost_size: Count = Field(
        224, description="Pixels of the images for which operations and times are given; at least input_size."
    )
    layers: list[str] = Field(min_length=1, description="Convolutions that are expanded.")
    bases: list[Count] = Field(min_length=1, description="Filters for each input channel, one number a layer.")
    compression: Annotated[float, Field(gt=1)] = Field(
        description="By what factor separable lowers the operations of each layer."
    )
    expansions: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], ExpansionConfig] = Field(
        min_length=1, description="Expansions by name (small letters, digits and _; not original or control)."
    )
    rows: list[RowConfig] = Field(min_length=1, description="Rows of the table after the original network.")
    epochs_scale: Positive = Field(description="By what the epochs of l2 and ce are multiplied, to at least 1.")
    l2: TrainingConfig = Field(
        description="Recipe of matching the replaced layers' outputs to the original's; nothing else learns."
    )
    ce: TrainingConfig = Field(
        description="Recipe of training everything on the labels, or on a teacher's answers too; also of the control."
    )
    comparison: BasesConfig = Field(description="Closed form and alternating method.")
    repeats: Count = Field(description="Timed passes a network in float32; the median counts.")
    bf16_repeats: Count = Field(description="Timed passes a network in bfloat16.")

    @model_validator(mode="after")
    def _fits_together(self) -> LowRankConfig:
        if self.cost_size < self.input_size:
            raise ValueError(
                f"cost_size is {self.cost_size}, but the network enlarges images below input_size {self.input_size}, "
                "so that its costs would be those there; give at least as much"
            )
        if len(self.bases) != len(self.layers):
            raise ValueError(f"bases has {len(self.bases)} numbers for {len(self.layers)} layers; give one a layer")
        if taken := {"original", "control"} & set(self.expansions):
            raise ValueError(f"expansions.{min(taken)}: this name is taken by a network that is not expanded")
        for place, row in enumerate(self.rows):
            if row.expansion not in self.expansions:
                raise ValueError(
                    f"rows.{place}.expansion: no expansion {row.expansion!r}; expansions has {sorted(self.expansions)}"
                )
        for what, values in (
            ("have the number", [str(row.row) for row in self.rows]),
            ("are", [row.variant for row in self.rows]),
        ):
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"rows: two rows {what} {twice}; each row must be another network with its own number")
        return self

    def recipe(self, kind: str, times: int) -> TrainingConfig:
        """The recipe `l2` or `ce` with its epochs times `times`, scaled, at least one."""
        recipe: TrainingConfig = getattr(self, kind)
        return recipe.model_copy(update={"epochs": max(1, round(times * recipe.epochs * self.epochs_scale))})

    def chains(self) -> dict[str, tuple[str, str, int]]:
        """Trained variants: name to (variant it starts from, recipe's kind, times); intermediate ones included."""
        found = {}
        for row in self.rows:
            first = row.model_copy(update={"ce": 0})
            if row.l2:
                found[first.variant] = (row.expansion, "l2", row.l2)
            if row.ce:
                found[row.variant] = (first.variant, "ce", row.ce)
        return found

    def spent(self, variant: str) -> int:
        """Epochs of the chain of trainings that ends in a variant."""
        if variant not in self.chains():
            return 0
        source, kind, times = self.chains()[variant]
        return self.spent(source) + self.recipe(kind, times).epochs

    def control_times(self) -> tuple[int, int]:
        """How many times the epochs of l2 and ce the longest row trains."""
        longest = max(self.rows, key=lambda row: row.l2 * self.l2.epochs + row.ce * self.ce.epochs)
        return longest.l2, longest.ce

    def control(self) -> TrainingConfig:
        """The recipe ce for as many epochs as the longest row trains in all."""
        l2, ce = self.control_times()
        spent = sum(self.recipe(kind, times).epochs for kind, times in (("l2", l2), ("ce", ce)) if times)
        return self.ce.model_copy(update={"epochs": max(1, spent)})
