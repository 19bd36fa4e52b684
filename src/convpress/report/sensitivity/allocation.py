"""Networks whose ranks are allocated over the layers: apart from the others, in sentences of their own."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.frames import is_true, records


def _allocated(frame: pd.DataFrame) -> pd.Series:
    if "allocated" not in frame:
        return pd.Series(False, index=frame.index)
    return frame["allocated"].map(is_true).astype(bool)


def equally_compressed(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of variants, pairs or layers whose networks have the same compression in every layer.

    What is said about families, treatments and rates rests on these alone.
    """
    return frame[~_allocated(frame)].assign(allocated=False)


def allocation_findings(study: pd.DataFrame) -> list[str]:
    """How accurate each network with allocated ranks is, and which of its layers are factorised."""
    return [
        f"With ranks allocated over the layers Tucker of {row['model']} at {say.whole(row['compression'])}× "
        f"({row['treatment']}; {row['layer_set']}) gets {say.percent(row['test_accuracy'])} of the test images right "
        f"after {say.epochs(row['epochs'])}, {say.points(row['delta_control'])} points to the control."
        for row in records(study[_allocated(study)])
        if not say.absent(row["test_accuracy"])
    ]
