"""Sections of params.yaml that several studies share: machine, images, training, measuring."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

LARGEST_SEED = 2**31 - 1
"""A replicate is added to the run's seed, and scikit-learn takes no sum of 2**32 or more."""

LEARNS_NOTHING = "learns_nothing"
"""Type of the error about a recipe that would learn nothing; its message begins with the key."""


class Section(BaseModel):
    """A group of keys; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class ComputeConfig(Section):
    """How the machine is used."""

    threads: Count = Field(
        1, description="Threads of one training or measuring job; results depend on it in the last bits."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where to compute; auto takes a GPU when there is one."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="Precision of training, of the teacher's answers and of the sweeps of clustering; auto takes "
        "bfloat16 where that is faster (AVX-512 BF16, AMX, GPU).",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="torch.compile in training; auto takes it for long trainings where it gains time: on GPUs, and on "
        "CPUs with AMX that have g++ or clang++.",
    )
    channels_last: bool = Field(True, description="Memory layout NHWC, faster for convolutions on CPUs.")


class DataConfig(Section):
    """The images."""

    name: Literal["cifar10", "digits"] = Field(description="cifar10 (fetched) or digits (inside scikit-learn).")
    validation: Count = Field(5000, description="Training images set aside for choices; never trained on.")
    split_seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="Seed of the split into training and validation images."
    )


class TrainingConfig(Section):
    """A training recipe: fixed length, fixed schedule, the last epoch counts."""

    epochs: int = Field(ge=0, description="Passes over the training images.")
    batch_size: Count = Field(128, description="Images a step.")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="SGD with Nesterov momentum, or AdamW.")
    lr: Positive = Field(description="Peak learning rate.")
    momentum: Fraction = Field(0.9, description="Momentum of SGD.")
    weight_decay: float = Field(1e-4, ge=0, description="L2 penalty (SGD) or decoupled decay (AdamW).")
    schedule: Literal["constant", "cosine", "one_cycle", "steps"] = Field(
        "one_cycle", description="Course of the learning rate over all steps."
    )
    warmup: Fraction = Field(0.2, description="Part of the steps that rises to the peak (one_cycle).")
    milestones: list[Fraction] = Field(
        [0.5, 0.75], description="Parts of the steps after which the rate falls to a tenth (steps)."
    )
    label_smoothing: Fraction = Field(0.0, description="Label smoothing of the cross-entropy.")
    distillation: Fraction = Field(
        0.0, description="Weight of the teacher's soft answers in the loss; 0 is labels alone."
    )
    temperature: Positive = Field(4.0, description="Temperature of the distillation.")
    ema: Fraction = Field(
        0.0,
        description="Decay of the exponential moving average of weights and batch-norm statistics; "
        "over the first t steps at most (1 + t) / (10 + t); 0 is none.",
    )
    clip_norm: float = Field(0.0, ge=0, description="Largest norm of the gradient; 0 is no clipping.")
    crop_padding: int = Field(4, ge=0, description="Black border in pixels for random crops; 0 is no crop.")
    flip: bool = Field(True, description="Random horizontal flips (off for digits, which change their meaning).")

    @model_validator(mode="after")
    def _learns(self) -> TrainingConfig:
        for name in ("warmup", "ema"):
            if getattr(self, name) == 1:
                text = "{name} is 1, so that nothing would be learned; it must be below 1"
                raise PydanticCustomError(LEARNS_NOTHING, text, {"name": name})
        return self


class ModelConfig(Section):
    """A baseline network: imported from a checkpoint or trained in the run."""

    architecture: str = Field(
        description="resnet8, resnet20, resnet32, resnet56, alexnet, torchvision/NAME, or a function with "
        "register_model in a file of src/convpress/models/ that its __init__.py imports."
    )
    arguments: dict[str, Any] = Field({}, description="Arguments of the architecture.")
    checkpoint: str | None = Field(
        None,
        description="File of an imported checkpoint; absent when the run trains the network. A path with a slash in it "
        "is a file of your own; a bare name such as resnet20-12fca82f.th is fetched, and checked by the digits in it.",
    )
    key_prefix: str = Field("module.", description="Prefix of the checkpoint's keys.")
    training: TrainingConfig | None = Field(
        None, description="Recipe of the training from scratch; absent with a checkpoint."
    )

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if (self.checkpoint is None) == (self.training is None):
            raise ValueError("give either a checkpoint or a training recipe, not both and not neither")
        return self


class TeacherConfig(Section):
    """Distillation: the teacher's answers are computed once and shared by all trainings."""

    model: str = Field(description="The baseline that teaches.")
    views: Count = Field(
        description="Differently augmented views of each training image; the epochs of a training see them in turn."
    )


class MeasureConfig(Section):
    """Latency: all variants of a network are timed in turns, in one process."""

    batch_size: Count = Field(64, description="Images a forward pass.")
    repeats: Count = Field(15, description="Timed passes a variant; the median counts.")
    warmup: int = Field(3, ge=0, description="Untimed passes before them.")
