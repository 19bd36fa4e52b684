"""The seeds' headline figures beside ours: which ones is data (report/reference/headlines.csv), numbers are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from convpress.errors import ConvpressError
from convpress.report import wording as say
from convpress.report.queries import read_number, read_text

COLUMNS = ("study", "headline", "unit", "seed", "same", "best", "reason")

WITHOUT = (
    "Document 001, which the study sensitivity comes from, shows one layer by way of example and gives no accuracies."
)


def headlines_table(reference: Path, tables: Path, study: str = "") -> pd.DataFrame:
    """Rows (study, headline, unit, seed, same, best, reason): theirs, ours under their conditions, ours chosen.

    All of them, or those of one `study`. `reference` is the folder with headlines.csv (which number of which table, its
    unit, and whether higher or lower is better; sizes of kernels are neither) and seeds.csv (the seeds' figures). A
    reason stands only where one of ours is worse than theirs, and fewer epochs are one only where ours under their
    conditions has fewer; a number that no table has is empty.

    Raises:
        ConvpressError: a headline names a figure that seeds.csv lacks, or a query that cannot be read.
    """
    seeds = pd.read_csv(reference / "seeds.csv", dtype=str).set_index(["study", "figure"])["value"]
    rows = []
    lines = pd.read_csv(reference / "headlines.csv", keep_default_na=False)
    for line in (lines[lines["study"] == study] if study else lines).to_dict("records"):
        key = (line["study"], line["figure"])
        for name in filter(None, (line["figure"], line["seed_epochs"])):
            if (line["study"], name) not in seeds.index:
                raise ConvpressError(f"headlines.csv: seeds.csv has no figure {name!r} of {line['study']}")
        text = line["unit"] == "sizes"
        seed: Any = seeds[key] if text else float(seeds[key])
        read: Callable[..., Any] = read_text if text else read_number
        same, best = (
            read(tables, line["table"], line["column"], line[where], line["pick"]) if line[where] else None
            for where in ("same", "best")
        )
        worse = not text and any(_worse(value, seed, line) for value in (same, best))
        reason = "; ".join(filter(None, (line["reason"], _shorter(line, seeds, tables)))) if worse else ""
        rows.append((line["study"], line["headline"], line["unit"], seed, same, best, reason))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _worse(ours: float | None, seed: float, line: dict[str, Any]) -> bool:
    """Whether a number of ours is worse than the seed's; the seeds round, so what reads the same is not."""
    if ours is None or figure(ours, line["unit"]) == figure(seed, line["unit"]):
        return False
    return ours > seed if line["better"] == "lower" else ours < seed


def _shorter(line: dict[str, Any], seeds: pd.Series, tables: Path) -> str:
    """`fewer epochs than the seed's 50`, where they are; `epochs` is our column, `seed_epochs` the seed's figure."""
    if not line["epochs"]:
        return ""
    wanted = float(seeds[line["study"], line["seed_epochs"]])
    ours = read_number(tables, line["table"], line["epochs"], line["same"], line["pick"])
    return f"fewer epochs than the seed's {wanted:g}" if ours is not None and ours < wanted else ""


def known(frame: pd.DataFrame) -> pd.DataFrame:
    """The headlines of which at least one number of ours is there."""
    return frame[frame["same"].notna() | frame["best"].notna()]


def figure(value: Any, unit: str) -> str:
    """A headline's number with its unit: percent, points, times, ms, M (millions), or sizes as they stand."""
    if unit == "sizes":
        return say.sizes(value)
    if unit == "M":
        return say.MISSING if say.absent(value) else f"{value / 1e6:.2f}{say.SPACE}M"
    return say.milliseconds(value) if unit == "ms" else say.quantity(value, unit)
