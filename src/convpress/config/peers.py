"""Section peers of params.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from convpress.config.sections import Count, Section, TrainingConfig

Method = Literal["magnitude", "group_norm", "cp", "tucker"]
PRUNING = ("magnitude", "group_norm")
"""The methods of torch-pruning, which takes channels out of residual blocks."""


class TargetConfig(Section):
    """How small a peer makes the network."""

    cost: Literal["params", "macs"] = Field(description="What is counted: parameters or multiply-accumulates.")
    fraction: Annotated[float, Field(gt=0, lt=1)] = Field(description="Part of the baseline's cost that is left.")

    @property
    def name(self) -> str:
        """The target in a variant's name: params-50 leaves half of the parameters."""
        return f"{self.cost}-{100 * self.fraction:.0f}"


class PeersConfig(Section):
    """Other libraries in the same harness: torch-pruning (magnitude, group_norm) and tensorly-torch (cp, tucker)."""

    models: list[str] = Field(min_length=1, description="Baselines that the peers compress.")
    methods: list[Method] = Field(
        min_length=1,
        description="torch-pruning's magnitude and group_norm, tensorly-torch's cp and tucker.",
    )
    targets: list[TargetConfig] = Field(min_length=1, description="Sizes that each method has to reach.")
    iterations: Count = Field(100, description="Iterations of tensorly's decompositions.")
    finetune: TrainingConfig = Field(description="Recipe after the compression.")
    finetune_pruned: TrainingConfig | None = Field(
        None,
        description="Recipe after torch-pruning's methods, for a comparison with channels that our methods merge; "
        "null takes that of finetune.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> PeersConfig:
        grid: dict[str, list[str]] = {
            "models": self.models,
            "methods": list(self.methods),
            "targets": [target.name for target in self.targets],
        }
        for key, names in grid.items():
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{key}: {twice} stands there more than once")
        return self

    def recipe_of(self, method: Method) -> str:
        """The key of the recipe after a method."""
        pruned = self.finetune_pruned is not None and method in PRUNING
        return "finetune_pruned" if pruned else "finetune"

    def grid(self) -> dict[str, dict[str, Any]]:
        """Every network by every method to every target, by the name of the variant."""
        return {
            f"{model}-{method}-{target.name}": {"model": model, "method": method, **target.model_dump()}
            for model in self.models
            for method in self.methods
            for target in self.targets
        }
