"""The schema of params.yaml: every key with its type, its limits and a description."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from convpress.config.clustering import ClusteringConfig
from convpress.config.compute_for import ComputeForConfig, with_switch
from convpress.config.kernel_search import KernelSearchConfig
from convpress.config.lists import check_lists, check_replicates, recipes
from convpress.config.low_rank import LowRankConfig
from convpress.config.merging import MergingConfig
from convpress.config.mistakes import explain
from convpress.config.peers import PeersConfig
from convpress.config.sections import (
    LARGEST_SEED,
    ComputeConfig,
    Count,
    DataConfig,
    MeasureConfig,
    ModelConfig,
    Section,
    TeacherConfig,
    TrainingConfig,
)
from convpress.config.sensitivity import SensitivityConfig
from convpress.errors import ConvpressError

TRAINING_IMAGES = {"cifar10": 50_000, "digits": 1_437}
"""Training images of each data set, before `data.validation` of them are set aside."""
_FETCHED = re.compile(r".+-[0-9a-f]{8,64}\.th")


def _absent(value: Any) -> Any:
    """None for the word: ``--config`` hands on texts."""
    return None if value in ("null", "") else value


class Config(Section):
    """Everything about a run."""

    run: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] = Field(
        description="Name of the run; its results lie in results/<run>/."
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of all trainings and decompositions.")
    compute: Annotated[ComputeConfig, BeforeValidator(with_switch)] = Field(
        ComputeConfig(),  # type: ignore[call-arg]
        description="How the machine is used.",
    )
    compute_for: dict[str, ComputeForConfig] = Field(
        {}, description="Exceptions from compute for trainings, by network."
    )
    data: DataConfig = Field(description="The images.")
    models: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], ModelConfig] = Field(
        description="Baseline networks by name."
    )
    baselines: list[str] = Field(min_length=1, description="Networks that stand in baselines.csv.")
    control: TrainingConfig = Field(
        description="Recipe of the control: the baseline trained further. Give it as many epochs as the longest chain "
        "of trainings that it is compared with."
    )
    control_lengths: dict[str, list[Count]] = Field(
        {},
        description="Epochs of further controls, by network; an empty list for none. A variant is compared with "
        "the control whose epochs are nearest to its own.",
    )
    teacher: TeacherConfig = Field(description="Distillation.")
    measure: MeasureConfig = Field(description="Latency.")
    kernel_search: KernelSearchConfig = Field(description="The study kernel_search.")
    sensitivity: SensitivityConfig = Field(description="The study sensitivity.")
    clustering: ClusteringConfig = Field(description="The study clustering.")
    merging: MergingConfig = Field(description="The study merging.")
    low_rank: LowRankConfig = Field(description="The study low_rank.")
    peers: Annotated[PeersConfig | None, BeforeValidator(_absent)] = Field(
        None, description="Other libraries to compare with; null leaves them out."
    )

    def controls(self) -> dict[str, dict[str, TrainingConfig]]:
        """The controls of each network that the studies and peers compress, and their recipes.

        The first of a network has its name; further ones have their epochs in theirs, as in resnet20-2e.
        """
        used = {self.kernel_search.model, self.clustering.model, self.low_rank.model}
        used.update(self.sensitivity.models, self.merging.models())
        used.update(self.peers.models if self.peers else [])
        first = dict.fromkeys(sorted(used), self.control) | {self.low_rank.model: self.low_rank.control()}
        return {model: {model: recipe} | self._further_controls(model, recipe) for model, recipe in first.items()}

    def _further_controls(self, model: str, recipe: TrainingConfig) -> dict[str, TrainingConfig]:
        lengths = sorted(self.control_lengths.get(model, []))
        return {f"{model}-{epochs}e": recipe.model_copy(update={"epochs": epochs}) for epochs in lengths}

    def teacher_views(self) -> int:
        """How many views of each image the teacher is asked about: what the longest training that listens sees."""
        chained = "low_rank.ce"  # its epochs are scaled, and counted with those before them
        heard = [recipe.epochs for place, recipe in self._trained() if recipe.distillation and place != chained]
        further = (recipe for recipes in self.controls().values() for recipe in recipes.values())
        heard += [recipe.epochs for recipe in further if recipe.distillation]
        if self.kernel_search.finetune_recomposed.distillation:
            heard += [self.kernel_search.spent(f"finetune_recomposed-{name}") for name in self.kernel_search.search]
        searched = [name for name, entry in self.kernel_search.search.items() if entry.training.distillation]
        heard += [self.kernel_search.spent(f"search_kernels-{name}") for name in searched]
        if self.low_rank.ce.distillation:
            heard += map(self.low_rank.spent, self.low_rank.chains())
        return min(self.teacher.views, max(heard, default=0))

    def _trained(self) -> Iterator[tuple[str, TrainingConfig]]:
        """The recipes of all trainings by their place; merging knows some that it does not train."""
        idle = {f"merging.variants.{name}.training" for name in self.merging.variants if name not in self.merging.train}
        return (found for found in recipes(self) if found[0] not in idle)

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        used = {"teacher.model": self.teacher.model, "kernel_search.model": self.kernel_search.model}
        used |= {f"compute_for.{name}": name for name in self.compute_for}
        used["low_rank.model"] = self.low_rank.model
        used["clustering.model"] = self.clustering.model
        used["merging.model"] = self.merging.model
        variants = self.merging.variants.items()
        used |= {f"merging.variants.{name}.model": entry.model for name, entry in variants if entry.model}
        used |= {f"baselines.{i}": name for i, name in enumerate(self.baselines)}
        used |= {f"peers.models.{i}": name for i, name in enumerate(self.peers.models if self.peers else [])}
        grids = {name: grid.models for name, grid in self.sensitivity.grids.items() if grid}
        used |= {f"sensitivity.grids.{key}.models.{i}": name for key in grids for i, name in enumerate(grids[key])}
        for place, name in used.items():
            if name not in self.models:
                raise ValueError(f"{place}: no model {name!r}; models has {sorted(self.models)}")
        return self

    @model_validator(mode="after")
    def _studied_are_baselines(self) -> Config:
        if missing := set(self.controls()) - set(self.baselines):
            raise ValueError(f"baselines: lacks {sorted(missing)}, which studies compress; add them")
        return self

    @model_validator(mode="after")
    def _one_input_size(self) -> Config:
        study = self.low_rank
        place, arguments = f"models.{study.model}.arguments", self.models[study.model].arguments
        if "input_size" not in arguments:
            raise ValueError(
                f"low_rank.model: {place} has no input_size, to which the study enlarges its images; give it "
                f"{study.input_size}, or name a network that takes it, as alexnet does"
            )
        if arguments["input_size"] != study.input_size:
            raise ValueError(
                f"low_rank.input_size is {study.input_size}, but {place}.input_size is {arguments['input_size']!r}; "
                "give both the same number"
            )
        return self

    @model_validator(mode="after")
    def _controls_are_trained_and_differ(self) -> Config:
        if not self.control.epochs:
            raise ValueError("control.epochs is 0; the control is the baseline trained further, give it 1 or more")
        controls = {model: known for model, known in self.controls().items() if model != self.low_rank.model}
        for model, lengths in self.control_lengths.items():
            if not lengths:
                continue  # how an overlay takes them away
            if model not in controls:
                raise ValueError(
                    f"control_lengths: no study but low_rank, which has a control of its own, compresses {model!r}; "
                    f"{sorted(controls)} can have further controls"
                )
            known = controls[model][model].epochs
            if known in lengths or len(set(lengths)) < len(lengths):
                raise ValueError(
                    f"control_lengths.{model} is {lengths}; name each number once, and not {known}, which the control "
                    "has anyway"
                )
        return self

    @model_validator(mode="after")
    def _teachers_are_there(self) -> Config:
        alone = {f"models.{name}.training": model.training for name, model in self.models.items()}
        for place, recipe in (alone | {"low_rank.l2": self.low_rank.l2}).items():
            if recipe and recipe.distillation:
                raise ValueError(
                    f"{place}.distillation is {recipe.distillation:g}; no teacher is heard there, set it to 0"
                )
        for place, recipe in self._trained():
            if recipe.distillation and not recipe.epochs and place != "low_rank.ce":  # scaled to at least 1
                raise ValueError(
                    f"{place}.epochs is 0, but a teacher is heard for an epoch at least; give it 1 or more, or "
                    f"{place}.distillation 0"
                )
        return self

    @model_validator(mode="after")
    def _lists_are_in_order(self) -> Config:
        check_lists(self)
        check_replicates(self)
        return self

    @model_validator(mode="after")
    def _checkpoints_can_be_fetched(self) -> Config:
        for name, model in self.models.items():
            file = model.checkpoint
            if file is not None and {"{", "}"} & set(file):
                raise ValueError(f"models.{name}.checkpoint: {file!r} has braces in it; give a path without them")
            if file is not None and "/" not in file and not _FETCHED.fullmatch(file):
                raise ValueError(
                    f"models.{name}.checkpoint: {file!r} cannot be fetched, which needs a checksum in the name, as in "
                    "resnet20-12fca82f.th; a file of your own is given by a path with a slash in it, as in mine/own.th"
                )
        return self

    @model_validator(mode="after")
    def _images_suffice(self) -> Config:
        whole, data, study = TRAINING_IMAGES[self.data.name], self.data, self.sensitivity
        left = whole - data.validation
        if left < 1:
            raise ValueError(
                f"data.validation is {data.validation}, but {data.name} has {whole} training images; "
                f"1 to {whole - 1} are possible"
            )
        there = f"{left} training images of {data.name} are left beside data.validation"
        for place, recipe in recipes(self):
            if recipe.batch_size > left:
                raise ValueError(f"{place}.batch_size is {recipe.batch_size}, but {there}; 1 to {left} is possible")
        size = study.training.batch_size
        if study.probe.steps * size > left:
            raise ValueError(
                f"sensitivity.probe.steps: {study.probe.steps} steps of {size} images, the batch_size of "
                f"sensitivity.training, need {study.probe.steps * size}, but {there}; 1 to {left // size} are possible"
            )
        return self

    @model_validator(mode="after")
    def _teacher_answers_what_is_asked(self) -> Config:
        views = {"crop_padding": self.control.crop_padding, "flip": self.control.flip}
        for place, recipe in self._trained():
            for name, value in views.items():
                if recipe.distillation and getattr(recipe, name) != value:
                    raise ValueError(
                        f"{place}.{name} is {getattr(recipe, name)}, but the teacher was asked about the views of "
                        f"control, which has {value}; give both the same, or {place}.distillation 0"
                    )
        return self


def load_config(raw: Mapping[str, Any]) -> Config:
    """Check a configuration and return it typed.

    Raises `ConvpressError` with one line a mistake: the key's path, what is wrong, what is allowed.
    """
    try:
        return Config.model_validate(dict(raw))
    except ValidationError as error:
        raise ConvpressError("; ".join(explain(item, Config) for item in error.errors())) from None
