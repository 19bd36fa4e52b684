"""What the Pareto picture and the advice are made from: the variants of a run, peers beside them, and their fronts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.comparison.replicates import with_seeds
from convpress.report.contents import Run

COLUMNS = (
    "study",
    "variant",
    "model",
    "params",
    "macs",
    "bytes",
    "latency_ms",
    "latency_q1_ms",
    "latency_q3_ms",
    "batch_size",
    "speedup",
    "batch1_speedup",
    "onnx_speedup",
    "batch1_ms",
    "bf16_ms",
    "onnx_ms",
    "test_accuracy",
    "validation_accuracy",
    "ci_low",
    "ci_high",
    "delta_control",
    "mcnemar_p",
    "finetune_epochs",
    "control_epochs",
    "lr",
    "control_lr",
    "onnx_equal",
    "onnx_accuracy",
    "onnx_difference",
    "onnx_images",
    "float32_difference",
)

REFERENCES = ("baseline", "control")
"""Studies of comparison.csv that compress nothing."""


FARTHEST = 0.15
"""Pictures leave out networks whose accuracy lies farther below the best one's."""


@dataclass(frozen=True)
class Cost:
    """One thing that a network costs: its column, name and axis, how winner and comparison are called, its numbers."""

    column: str
    name: str
    axis: str
    cheapest: str
    less: str
    verb: str = "is"
    show: Callable[[Any], str] = say.count

    def gain(self, ratio: str = "") -> str:
        """A verb with what is cheaper: `is 2.00× smaller`, `takes fewer MACs`."""
        return " ".join(filter(None, (self.verb, ratio, self.less)))


COSTS = (
    Cost("params", "Parameters", "Parameters", "Smallest", "smaller"),
    Cost("macs", "MACs", "Multiply-accumulates for one image", "Fewest MACs", "fewer MACs", "takes"),
    Cost("latency_ms", "Milliseconds", "Milliseconds a batch, float32", "Fastest", "faster", show=say.milliseconds),
)
"""What pictures have a panel for."""

FILE = Cost("bytes", "File", "Bytes of the file", "Smallest file", "smaller", show=say.size)
"""Parameters with the index that finds them: what shares weights can be small in the one and large in the other."""

ALL_COSTS = (*COSTS, FILE)

IN_WORDS = {cost.column: cost.name if cost.name == "MACs" else cost.name.lower() for cost in ALL_COSTS}
"""Names of costs within a sentence, by their columns."""


def compared(run: Run) -> pd.DataFrame:
    """All variants of comparison.csv and peers.csv with accuracy, in order; `peer` marks those of other libraries.

    `seeds` and `seeds_kept` count the trainings of a variant that has several, and those not worse than the control.
    """
    ours, peers = (run.table(name, COLUMNS) for name in ("comparison", "peers"))
    tables = [table.assign(peer=peer) for table, peer in ((ours, False), (peers, True)) if len(table)]
    frame = pd.concat(tables) if tables else ours.assign(peer=False)
    numbers = [name for name in COLUMNS if name not in ("study", "variant", "model", "onnx_equal")]
    frame = frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in numbers})
    frame["study"] = [say.text(value) for value in frame["study"]]
    return with_seeds(run, frame[frame["test_accuracy"].notna()]).reset_index(drop=True)


def setting(frame: pd.DataFrame) -> str:
    """What the milliseconds of `frame` are of."""
    sizes = frame["batch_size"].dropna().unique()
    return f"PyTorch, float32{f', batches of {say.whole(sizes[0])}' if len(sizes) == 1 else ''}"


def networks(frame: pd.DataFrame) -> list[str]:
    """Networks with something to compare, in natural order; all of them when nothing was compressed."""
    names = frame.loc[~frame["study"].isin(REFERENCES), "model"]
    return sorted(dict.fromkeys(names if len(names) else frame["model"]), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def on_front(
    costs: Sequence[float], accuracies: Sequence[float], spans: tuple[Sequence[float], Sequence[float]] | None = None
) -> list[bool]:
    """Whether nothing on the front is at least as cheap and as accurate, and better in one; False without a cost.

    Costs whose `spans` (low, high ends) overlap are equal.
    """
    low, high = spans or (costs, costs)
    flags = [False] * len(costs)
    known = (i for i, cost in enumerate(costs) if cost == cost)
    # Only the front puts others off it: what overlaps need not be alike with what overlaps in turn.
    for i in sorted(known, key=lambda i: (-accuracies[i], costs[i])):
        flags[i] = not any(
            flags[j] and low[j] <= high[i] and (accuracies[j] > accuracies[i] or high[j] < low[i])
            for j in range(len(costs))
        )
    return flags


def front(rows: pd.DataFrame, cost: str) -> list[bool]:
    """Which of `rows`, of one network, are on the front of the column `cost`; quartiles of times are their spans."""
    costs, accuracies = rows[cost].tolist(), rows["test_accuracy"].tolist()
    quartiles = [f"latency_{end}_ms" for end in ("q1", "q3")]
    if cost != "latency_ms" or not set(quartiles) <= set(rows.columns):
        return on_front(costs, accuracies)
    low, high = (rows[name].fillna(rows[cost]).tolist() for name in quartiles)
    return on_front(costs, accuracies, (low, high))


def fronts(frame: pd.DataFrame, cost: str) -> pd.Series[bool]:
    """Which rows are on the front of their network."""
    flags = pd.Series(False, frame.index)
    for _, part in frame.groupby("model"):
        flags[part.index] = front(part, cost)
    return flags


def in_view(frame: pd.DataFrame) -> pd.DataFrame:
    """What pictures show: networks that lie too far below the best of their kind would press all others together."""
    best = frame.groupby("model")["test_accuracy"].transform("max")
    return frame[(frame["test_accuracy"] >= best - FARTHEST) | frame["study"].isin(REFERENCES)]


def left_out(frame: pd.DataFrame) -> int:
    """How many of `frame` pictures do not show."""
    return len(frame) - len(in_view(frame))


def label(study: str, variant: str) -> str:
    """How a variant is called on the page."""
    return f"{study.capitalize()} {variant}" if study in REFERENCES else f"{variant} ({study})"
