"""The one training loop. Studies pass in what is special: objectives, penalties, frozen parts, rates."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from convpress.checkpoints import load_state, save_state
from convpress.compute import Compute, maybe_compile, prepare, training_modes
from convpress.config.sections import TrainingConfig
from convpress.data import Dataset, crop_and_flip, draw_view
from convpress.errors import ConvpressError
from convpress.objectives import Batch, Objective, Penalty, classification
from convpress.optimizers import make_optimizer, parameter_groups, schedule_factor
from convpress.predict import accuracy_of
from convpress.teachers import Teacher

log = logging.getLogger(__name__)


class Trainer:
    """A model with its optimiser, schedule and average; runs whole epochs and can be saved between them."""

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        recipe: TrainingConfig,
        compute: Compute,
        *,
        seed: int,
        view_seed: int,
        first_epoch: int = 0,
        objective: Objective | None = None,
        teacher: Teacher | None = None,
        penalties: Sequence[Penalty] = (),
        rates: Mapping[str, float] | None = None,
    ) -> None:
        if recipe.distillation and teacher is None:
            raise ConvpressError("distillation is above 0, but no teacher is given; set it to 0 or pass teacher=")
        if len(data) < recipe.batch_size:
            raise ConvpressError(f"batch_size {recipe.batch_size} is larger than the {len(data)} training images")
        self.model = prepare(model, compute)
        self.data, self.recipe, self.compute = data, recipe, compute
        self.seed, self.view_seed, self.first_epoch = seed, view_seed, first_epoch
        self.objective = objective or classification(recipe)
        self.teacher, self.penalties = teacher, tuple(penalties)
        self.steps_per_epoch = len(data) // recipe.batch_size
        self.total_steps = recipe.epochs * self.steps_per_epoch
        self.optimizer = make_optimizer(parameter_groups(model, recipe, rates or {}), recipe)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: schedule_factor(recipe, step, self.total_steps)
        )
        self.average = (
            AveragedModel(model, multi_avg_fn=moving_average(recipe.ema), use_buffers=True) if recipe.ema else None
        )
        self.forward_model = maybe_compile(self.model, compute)
        self.epoch = 0

    def batches(self) -> Iterator[Batch]:
        """This epoch's batches: order by (seed, epoch), crops and flips by (view_seed, epoch).

        Epochs count from `first_epoch` on, so that a chain of trainings sees what one training of their length would.
        """
        epoch = self.first_epoch + self.epoch
        order = torch.randperm(len(self.data), generator=_generator(self.seed, epoch))
        view = epoch if self.teacher is None else epoch % len(self.teacher.logits)
        draw = draw_view(len(self.data), self.view_seed, view, self.recipe.crop_padding, self.recipe.flip)
        for step in range(self.steps_per_epoch):
            indices = order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
            pixels = crop_and_flip(self.data.images[indices], draw.at(indices), self.recipe.crop_padding)
            images = self.data.normalise(pixels.to(self.compute.device))
            labels = self.data.labels[indices].to(self.compute.device)
            yield Batch(images, labels, self.teacher(indices, view).to(images.device) if self.teacher else None)

    def run_epoch(self, progress: Callable[[], object] = lambda: None) -> dict[str, float]:
        """One pass; gives back the mean loss and the training accuracy."""
        with self._own_noise():
            return self._epoch(progress)

    def _epoch(self, progress: Callable[[], object]) -> dict[str, float]:
        self.model.train()
        loss_sum, correct, seen = 0.0, 0, 0
        for batch in self.batches():
            with training_modes(self.compute, self.forward_model is not self.model):
                loss, logits = self.objective(self.forward_model, batch)
            total = loss + sum(penalty(self.model) for penalty in self.penalties)
            self.optimizer.zero_grad(set_to_none=True)
            total.backward()
            if self.recipe.clip_norm:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
            self.optimizer.step()
            self.scheduler.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
            loss_sum += loss.item()
            seen += len(batch.labels)
            correct += 0 if logits is None else int((logits.detach().argmax(1) == batch.labels).sum())
            progress()
        self.epoch += 1
        mean = loss_sum / self.steps_per_epoch
        # The last step changes the weights after its loss is known, and no loss knows penalties or running statistics.
        if not math.isfinite(mean) or not all(bool(t.isfinite().all()) for t in self.model.state_dict().values()):
            raise ConvpressError(f"training diverged in epoch {self.epoch} (loss {mean}); lower lr {self.recipe.lr}")
        return {"loss": mean, "train_accuracy": correct / seen}

    @contextmanager
    def _own_noise(self) -> Iterator[None]:
        """What layers draw from torch's own generator (dropout) is by (seed, epoch); the process keeps its state."""
        with torch.random.fork_rng([torch.cuda.current_device()] if self.compute.device == "cuda" else []):
            torch.manual_seed(_digest("noise", self.seed, self.first_epoch + self.epoch))
            yield

    @property
    def result(self) -> nn.Module:
        """The averaged model where an average is kept, else the model itself."""
        return self.average.module if self.average is not None else self.model

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on exactly here."""
        return {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`."""
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]:
    """The update of an exponential moving average, in place; integers (counters, indices) are copied, not averaged.

    After t steps the decay is at most (1 + t) / (10 + t), so that short trainings forget their start: statistics of
    batch norms that a surgery made wrong by orders of magnitude would outlive hundreds of steps at 0.99.
    """

    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Any) -> None:
        if averaged[0].is_floating_point():
            seen = int(count)
            get_ema_multi_avg_fn(min(decay, (1 + seen) / (10 + seen)))(averaged, current, count)
        else:
            for old, new in zip(averaged, current, strict=True):
                old.copy_(new)

    return update


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(_digest("order", seed, epoch))


def _digest(what: str, seed: int, epoch: int) -> int:
    digest = hashlib.sha256(f"{what} {seed} {epoch}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def run_key(recipe: TrainingConfig, *ingredients: object) -> str:
    """A name for exactly this training; a saved state with another name is not taken up."""
    text = json.dumps([recipe.model_dump(), [str(item) for item in ingredients]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def fit(
    trainer: Trainer,
    *,
    validation: Dataset | None = None,
    record: Callable[[nn.Module], Mapping[str, float]] = lambda model: {},
    state_path: Path | None = None,
    key: str = "",
) -> list[dict[str, float]]:
    """Train to the end of the schedule and return the history, a row an epoch.

    With `state_path`, the state is saved after every epoch; a later call with the same `key` (see `run_key`) goes on
    from there and ends with the same weights as an unbroken training. Rows hold epoch, lr (of its first step), loss,
    train_accuracy, validation_accuracy, seconds, and what `record(model)` adds; row 0 is the start.

    Raises:
        ConvpressError: the training diverges, or `state_path` is given without a `key`.
    """
    if state_path is not None and not key:
        raise ConvpressError(
            "state_path= needs key=, which tells this training from others (run_key makes one of the recipe and the "
            "seeds); without it the state of another would be taken up."
        )
    history = _take_up(trainer, state_path, key)
    if not history:
        history = [{"epoch": 0} | _observe(trainer, validation, record)]
    bar = tqdm(total=trainer.total_steps, unit="step", disable=not sys.stderr.isatty(), leave=False)
    bar.update(trainer.epoch * trainer.steps_per_epoch)
    while trainer.epoch < trainer.recipe.epochs:
        start = time.perf_counter()
        rate = float(trainer.scheduler.get_last_lr()[0])
        row = {"lr": rate} | trainer.run_epoch(bar.update)
        row |= _observe(trainer, validation, record)
        row = {"epoch": trainer.epoch} | row | {"seconds": time.perf_counter() - start}
        history.append(row)
        log.info(
            "epoch %d/%d  loss %.4f  train %.4f  validation %.4f  %.0f s",
            *(trainer.epoch, trainer.recipe.epochs, row["loss"], row["train_accuracy"]),
            *(row.get("validation_accuracy", math.nan), row["seconds"]),
        )
        if state_path is not None:
            save_state({"key": key, "history": history, "trainer": trainer.state()}, state_path)
    bar.close()
    return history


def _take_up(trainer: Trainer, state_path: Path | None, key: str) -> list[dict[str, float]]:
    saved = load_state(state_path) if state_path is not None else None
    if saved is None or saved.get("key") != key:
        return []
    trainer.restore(saved["trainer"])
    log.info("going on after epoch %d", trainer.epoch)
    return saved["history"]


def _observe(
    trainer: Trainer, validation: Dataset | None, record: Callable[[nn.Module], Mapping[str, float]]
) -> dict[str, float]:
    row = dict(record(trainer.result))
    if validation is not None:
        row["validation_accuracy"] = accuracy_of(trainer.result, validation, trainer.compute.device)
    return row
