"""Layer after layer: one is clustered and frozen, the network is trained, and the next one follows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from convpress.checkpoints import load, load_state, save_model, save_state
from convpress.clustering.remedies import shared_layers
from convpress.compute import Compute
from convpress.config.sections import TrainingConfig
from convpress.data import Dataset
from convpress.errors import ConvpressError
from convpress.train import Trainer

log = logging.getLogger(__name__)


class Leg(Trainer):
    """Part `number`, from 0, of `count` equal parts of a training, with its own order of images and schedule."""

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        recipe: TrainingConfig,
        compute: Compute,
        *,
        number: int,
        count: int,
        **options: Any,
    ) -> None:
        """As for `Trainer`, of which one part of one is the same; several keep no moving average of their few steps.

        Raises:
            ConvpressError: the training has fewer steps than parts.
        """
        if count > 1:  # an average over so few steps would hold on to their start
            recipe = recipe.model_copy(update={"ema": 0.0})
        super().__init__(model, data, recipe, compute, **options)
        if self.total_steps < count:
            raise ConvpressError(
                f"the training has {self.total_steps} steps for {count} layers one after another; raise its epochs."
            )
        share = (number + 1) * self.total_steps // count - number * self.total_steps // count
        most = -(-recipe.epochs // count)
        self.passes = min(most, share)
        self.steps_per_epoch = share // self.passes
        self.total_steps = self.passes * self.steps_per_epoch
        # Another order of the images than in the parts before, and the next view where there is one.
        self.epoch = number * most

    def run(self) -> dict[str, float]:
        """All passes of this part; what the last one says of loss and training accuracy."""
        return [self.run_epoch() for _ in range(self.passes)][-1]


class Progress:
    """What a stopped training layer after layer goes on from: the network after a part, and the rows until then."""

    def __init__(self, path: Path, key: str) -> None:
        """Keep the rows in `path` and the network beside it, for the training named `key` alone."""
        self.path, self.key = path, key

    def _network(self, rows: int) -> Path:
        return self.path.with_suffix(f".{rows}.safetensors")

    def save(self, model: nn.Module, rows: Sequence[Mapping[str, float]]) -> None:
        """Note the state after a part; whenever it stops, this one or the one before is whole."""
        save_model(model, self._network(len(rows)))
        save_state({"key": self.key, "rows": [dict(row) for row in rows]}, self.path)
        self._network(len(rows) - 1).unlink(missing_ok=True)

    def take_up(self, model: nn.Module) -> tuple[nn.Module, list[dict[str, float]]]:
        """The noted network and rows, or `model` and none."""
        saved = load_state(self.path)
        rows = saved["rows"] if saved is not None and saved.get("key") == self.key else []
        network = self._network(len(rows))
        if not rows or not network.is_file():
            return model, []
        log.info("going on after layer %d", len(rows) - 1)
        return load(network), rows

    def clear(self) -> None:
        """Delete what was noted."""
        self.path.unlink(missing_ok=True)
        for network in self.path.parent.glob(f"{self.path.stem}.*.safetensors"):
            network.unlink()


def fit_progressive(
    model: nn.Module,
    layers: Sequence[str],
    *,
    epochs: int,
    cluster: Callable[[nn.Module, str], None],
    leg: Callable[[nn.Module, int], Leg],
    observe: Callable[[nn.Module], Mapping[str, float]],
    progress: Progress,
    start: Path,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """The network with all `layers` clustered one after another, and a row before all and after each part.

    `cluster` lets one layer share filters, in place; `leg(model, number)` trains after it, `epochs` in all;
    `observe` gives what each row holds besides. The network before its last training is saved as `start`.
    """
    model, rows = progress.take_up(model)
    rows = rows or [{"epoch": 0.0, "layers": 0} | dict(observe(model))]
    for number in range(len(rows) - 1, len(layers)):
        begun = time.perf_counter()
        cluster(model, layers[number])
        last = number + 1 == len(layers)
        if last:
            save_model(model, start)
        trainer = leg(model, number)
        rate = float(trainer.scheduler.get_last_lr()[0])
        row = {"epoch": (number + 1) * epochs / len(layers), "layers": len(shared_layers(model))}
        row |= {"lr": rate} | trainer.run() | dict(observe(trainer.result))
        rows.append(row | {"seconds": time.perf_counter() - begun})
        log.info("layer %d/%d (%s)  %s", number + 1, len(layers), layers[number], rows[-1])
        model = trainer.result
        if not last:  # after the last part, a stopped job makes the start anew
            progress.save(model, rows)
    return model, rows
