"""results/attempts.csv: what was tried to meet a target. `python -m convpress.report.attempts --help`.

A row is one attempt: the target, the configuration laid over params.yaml, and what `evaluate` measured, so no number
is typed. `measured` is in the target's own quantity; where metrics do not tell it, as for times, it is empty. Of a
variant with several seeds it is their mean, `t_p` is the paired t-test of a difference over them, and all other columns
are of the first. An attempt runs in a copy of the project: `snakemake --configfile attempt.yaml` and its metrics files.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from convpress.errors import ConvpressError
from convpress.files import write_csv
from convpress.report.project_state import project_state
from convpress.report.reading import read_json
from convpress.report.tables import Result, compare, read_results

FILE = Path("results/attempts.csv")
TARGETS = Path("report/reference/targets.csv")
TOLD = ("test_accuracy", "accuracy_before")
"""Columns of targets that metrics tell; differences between networks are of test accuracies."""


def attempt(
    study: str,
    target: str,
    metrics: Path,
    overlay: Path | None,
    control: Path,
    against: Path | None = None,
    *,
    seeds: int = 1,
    dirty: bool = False,
) -> dict[str, Any]:
    """One row; `metrics` and `control` are results/<run>/metrics/<study>/<variant>.json, their predictions beside.

    `against` are the metrics whose accuracy the target subtracts, `seeds` how many trainings of both there are: the
    further ones have -s1, -s2, ... at their names. `dirty` takes results of code that was not committed.

    Raises:
        ConvpressError: there is no such target, or it is a difference and `against` is missing, or the other way; the
            project has changes that are not committed, and `dirty` does not allow it.
    """
    commit = project_state(metrics.parent)
    if commit.endswith("-dirty") and not dirty:
        raise ConvpressError(
            f"{metrics.parent}: the project there has changes that are not committed, so nobody could compute this "
            "again; commit them and run it once more, or take it as it is with --dirty"
        )
    measured = _measured(target, metrics, against, seeds)
    mine, reference = _result(metrics), _result(control)
    compared = compare(mine, reference)
    configuration = yaml.safe_load(overlay.read_text()) if overlay else {}
    return {
        "study": study,
        "target": target,
        "configuration": json.dumps(configuration, sort_keys=True),
        "variant": mine.metrics["variant"],
        "measured": None if measured is None else float(np.mean(measured)),
        "seeds": seeds,
        "t_p": float(stats.ttest_1samp(measured, 0.0).pvalue) if measured and against and seeds > 1 else None,
        "validation_accuracy": mine.metrics["validation_accuracy"],
        "test_accuracy": mine.metrics["test_accuracy"],
        "test_n": mine.metrics["test_n"],
        "control_accuracy": reference.metrics["test_accuracy"],
        "delta_control": compared["delta"],
        "mcnemar_p": compared["mcnemar_p"],
        "macs": mine.metrics["macs"],
        "commit": commit,
    }


def _result(metrics: Path) -> Result:
    predictions = str(metrics).replace("/metrics/", "/predictions/").removesuffix(".json") + ".npz"
    (found,) = read_results([str(metrics)], [predictions]).values()
    return found


def _measured(target: str, metrics: Path, against: Path | None, seeds: int) -> list[float] | None:
    """A number for each seed, or None where metrics do not tell it."""
    targets = pd.read_csv(TARGETS).set_index("target")
    if target not in targets.index:
        raise ConvpressError(f"{TARGETS} has no target {target!r}; take one of its names")
    unit, column = targets.loc[target, ["unit", "column"]]
    difference = unit == "points"
    if difference != (against is not None):
        needed = "is a difference; name with --against what it subtracts" if difference else "takes no --against"
        raise ConvpressError(f"target {target!r} {needed}")
    name = "test_accuracy" if column.startswith("delta_") else column
    if name not in TOLD:
        return None
    found = []
    for seed in range(seeds):
        files = (path.with_stem(f"{path.stem}-s{seed}") if seed else path for path in (metrics, against) if path)
        accuracy, *other = (read_json(file)[name] for file in files)
        found.append(accuracy - sum(other))
    return found


def main() -> None:
    """Append one attempt to the file."""
    parser = argparse.ArgumentParser(description="Append an attempt at a target to results/attempts.csv.")
    parser.add_argument("study")
    parser.add_argument("target", help="as in report/reference/targets.csv")
    parser.add_argument("metrics", type=Path, help="results/<run>/metrics/<study>/<variant>.json of the attempt")
    parser.add_argument("control", type=Path, help="the same of the control")
    parser.add_argument("--against", type=Path, help="the same of the network whose accuracy the target subtracts")
    parser.add_argument("--overlay", type=Path, help="what was laid over params.yaml; absent: nothing")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of the variant: with -s1, -s2, ... in all")
    parser.add_argument("--dirty", action="store_true", help="take it though the project has uncommitted changes")
    parser.add_argument("--file", type=Path, default=FILE)
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; 1 or more trainings are needed")
    kept = {"commit": str}  # digits alone are no number
    rows = pd.read_csv(options.file, dtype=kept).to_dict("records") if options.file.is_file() else []
    places = (options.metrics, options.overlay, options.control, options.against)
    try:
        rows.append(attempt(options.study, options.target, *places, seeds=options.seeds, dirty=options.dirty))
    except (ConvpressError, FileNotFoundError) as error:
        parser.error(str(error))
    write_csv(rows, options.file)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
