"""What a whole run found, in three sentences that are computed from the comparison."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.advice import heavier
from convpress.report.comparison.replicates import every_seed, none_worse
from convpress.report.frames import records
from convpress.report.pareto import REFERENCES, networks, setting

FASTER = 1.25
"""Times faster than the uncompressed network from which on a variant counts as clearly faster."""

NAMED = 6
"""So many variants that keep the accuracy are named."""


def headline(frame: pd.DataFrame) -> list[str]:
    """How much was tried, whether it keeps the control's accuracy, and what is faster; `frame` as of `compared`.

    Peers do not count. Empty where nothing was compressed or nothing was tested against a control.
    """
    rows = frame[~frame["study"].isin(REFERENCES) & ~frame["peer"] & frame["delta_control"].notna()]
    if rows.empty:
        return []
    return [_tried(rows, bool(frame["peer"].any())), _kept(rows, frame), *_fast(rows)]


def _tried(rows: pd.DataFrame, peers: bool) -> str:
    epochs = rows.loc[rows["finetune_epochs"] > 0, "finetune_epochs"]
    trained = ""
    if len(epochs):
        median = float(epochs.median())
        less = " or less" if median > epochs.min() else ""
        middle = f", half of these for {say.epochs(median)}{less}" if epochs.nunique() > 1 else ""
        which = "" if len(rows) == 1 else f" {len(epochs)} of them"
        trained = f",{which} fine-tuned, for {say.span_of_epochs(epochs)}{middle}"
    versions = "1 variant" if len(rows) == 1 else f"{len(rows)} variants"
    aside = ", those of other libraries aside" if peers else ""
    return f"{versions} of {say.listing(networks(rows))} {'is' if len(rows) == 1 else 'are'} compared{aside}{trained}."


def _kept(rows: pd.DataFrame, frame: pd.DataFrame) -> str:
    tested = rows[rows["mcnemar_p"].notna()]
    better = int(((tested["delta_control"] > 0) & (tested["mcnemar_p"] < say.SIGNIFICANT)).sum())
    kept = int(none_worse(tested).sum())
    than = "more accurate than the control, the uncompressed network trained further, by the exact McNemar test"
    if len(tested) == 1:
        alike = f"; it {'cannot be told apart from it' if kept else 'is less accurate'}"
        return f"It is {'' if better else 'not '}{than}{'' if better else alike}."
    more = f"{better} of them {'is' if better == 1 else 'are'}" if better else "None of them is"
    found = f"{more} {than}"
    alike = f"cannot be told apart from it{' or are better' if better else ''}{every_seed(tested)}"
    return f"{found}; {kept} of {len(tested)} {alike}{_named(tested[none_worse(tested)], frame)}."


def _named(kept: pd.DataFrame, frame: pd.DataFrame) -> str:
    """The names of a few variants, those that came out larger than the uncompressed network apart."""
    if not 0 < len(kept) <= NAMED:
        return ""
    references = frame[frame["study"].isin(REFERENCES)].drop_duplicates("model").set_index("model")
    dense = {str(model): row for model, row in zip(references.index, records(references), strict=True)}
    larger = [row["variant"] for row in records(kept) if row["model"] in dense and heavier(row, dense[row["model"]])]
    rest = [row["variant"] for row in records(kept) if row["variant"] not in larger]
    if not larger:
        return f": {say.listing(rest)}"
    it = "it needs" if len(larger) == 1 else "they need"
    takes = f"{say.listing(larger)}, but {it} more room than the uncompressed network"
    return f": {say.listing(rest)}; and {takes}" if rest else f": {takes}"


def _fast(rows: pd.DataFrame) -> list[str]:
    if rows["speedup"].isna().all():
        return []
    fast = rows[(rows["speedup"] >= FASTER) & (rows["finetune_epochs"] > 0)]
    if fast.empty:
        return [f"None that was fine-tuned is {say.times(FASTER)} as fast as its uncompressed network."]
    studies = say.listing(dict.fromkeys(fast["study"]))
    best, middle = (say.points(fast["delta_control"].agg(which)) for which in ("max", "median"))
    lost = f"{best} points" if len(fast) == 1 else f"{best} points at best and {middle} at the median"
    are = "is" if len(fast) == 1 else "are"
    return [
        f"{len(fast)} of the fine-tuned ({studies}) {are} at least {say.times(FASTER)} as fast as the uncompressed "
        f"network ({setting(fast)}{_elsewhere(fast)}), with {lost} against the control."
    ]


def _elsewhere(fast: pd.DataFrame) -> str:
    """How many are as much faster elsewhere: what a batch gains, a single image or another runtime may not."""
    counts = [
        f"{int((fast[column] >= FASTER).sum())} {where}"
        for column, where in (("batch1_speedup", "for one image"), ("onnx_speedup", "in ONNX Runtime"))
        if fast[column].notna().any()
    ]
    return f"; of these, {say.listing(counts)} are so too" if counts else ""
