"""The seeds' headline figures beside ours: which ones is data (report/reference/headlines.csv), numbers are read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from convpress.errors import ConvpressError
from convpress.report.queries import read_number

COLUMNS = ("study", "headline", "seed", "same", "best", "reason")


def headlines_table(reference: Path, tables: Path) -> pd.DataFrame:
    """Rows (study, headline, seed, same, best, reason): theirs, ours under their conditions, ours at our best.

    `reference` is the folder with headlines.csv (which number of which table) and seeds.csv (the seeds' figures).
    A reason stands only where one of ours is lower than theirs; a number that no table has is empty.

    Raises:
        ConvpressError: a headline names a figure that seeds.csv lacks, or a query that cannot be read.
    """
    seeds = pd.read_csv(reference / "seeds.csv", dtype=str).set_index(["study", "figure"])["value"]
    rows = []
    for line in pd.read_csv(reference / "headlines.csv", keep_default_na=False).to_dict("records"):
        key = (line["study"], line["figure"])
        if key not in seeds.index:
            raise ConvpressError(f"headlines.csv: seeds.csv has no figure {line['figure']!r} of {line['study']}")
        seed = float(seeds[key])
        same, best = (
            read_number(tables, line["table"], line["column"], line[where], line["pick"]) if line[where] else None
            for where in ("same", "best")
        )
        lower = any(value is not None and value < seed for value in (same, best))
        rows.append((line["study"], line["headline"], seed, same, best, line["reason"] if lower else ""))
    return pd.DataFrame(rows, columns=list(COLUMNS))
