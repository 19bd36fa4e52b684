"""The page of an unfinished run, from what is there: `python -m convpress.report results/cifar10`."""

import sys
from pathlib import Path
from typing import Any

import yaml

from convpress.errors import ConvpressError
from convpress.report.page import write_report
from convpress.report.reading import read_json
from convpress.report.tables import write_table
from convpress.report.targets import targets_table
from convpress.workflow.jobtimes import job_times


def draw(results: Path) -> None:
    """Judge the targets and write provenance and page of the run in `results`, which need not be whole.

    Raises `ConvpressError` when nothing has been evaluated yet.
    """
    metrics = [read_json(path) for path in sorted(results.glob("metrics/*/*.json"))]
    metrics = [record for record in metrics if "provenance" in record]
    if not metrics:
        raise ConvpressError(f"{results}: nothing has been evaluated there yet; run the workflow first.")
    config = configuration(results.name)
    networks = (config["models"][name] for name in {*config["baselines"], config["teacher"]["model"]})
    wanted = {config["data"]["name"]} | {Path(one["checkpoint"]).name for one in networks if one.get("checkpoint")}
    fetched = [read_json(path) for path in sorted(Path("data").rglob("*.json"))]
    inputs = [entry for entry in fetched if entry["file"].removesuffix(".safetensors") in wanted]
    targets = targets_table(Path("report/reference/targets.csv"), results / "tables")
    write_table(targets, results / "tables" / "targets.csv")
    histories = sorted(map(str, results.glob("histories/**/*.csv")))
    records = [read_json(path) for path in sorted(results.glob("metrics/**/*.json"))]
    times = job_times(Path(".snakemake", "metadata"), results, Path("rules"))
    write_report(results, config | {"run": results.name}, inputs, metrics, histories, times=times, records=records)


def configuration(run: str) -> dict[str, Any]:
    """params.yaml under the overlay of the run's name, where there is one."""
    from snakemake.utils import update_config

    config: dict[str, Any] = yaml.safe_load(Path("params.yaml").read_text())
    overlay = Path("config", f"{run}.yaml")
    if overlay.is_file():
        update_config(config, yaml.safe_load(overlay.read_text()))
    return config


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m convpress.report results/RUN")
    try:
        draw(Path(sys.argv[1]))
    except ConvpressError as error:
        sys.exit(f"convpress: {error}")
