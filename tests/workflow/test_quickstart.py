"""The quickstart, for real: all rules, all tables, and nothing to do the second time."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from convpress.sidecar import SUFFIX

pytestmark = pytest.mark.workflow

COLUMNS = {
    "baselines": "model variant test_accuracy test_n ci_low ci_high params macs",
    "cp_error": "layer rank relative_error seconds iterations",
    "kernel_search": "stage variant accuracy_before test_accuracy params macs latency_ms kernel_sizes",
    "comparison": "study variant model params macs bytes latency_ms speedup test_accuracy ci_low ci_high delta_control "
    "mcnemar_p finetune_epochs pareto_params pareto_macs pareto_ms onnx_equal onnx_ms batch1_ms",
}
COLUMNS["peers"] = COLUMNS["comparison"] + " method library version target_cost target nearest delta_nearest"


def table(project, name):
    return pd.read_csv(project.folder / "results" / "quickstart" / "tables" / f"{name}.csv")


@pytest.mark.parametrize("name", COLUMNS)
def test_tables_keep_the_contract(quickstart, name):
    frame = table(quickstart, name)
    assert set(COLUMNS[name].split()) <= set(frame.columns)
    assert len(frame)
    markdown = quickstart.folder / "results" / "quickstart" / "tables" / f"{name}.md"
    assert len(markdown.read_text().splitlines()) == len(frame) + 2


def test_every_final_variant_is_compared_and_exported(quickstart):
    comparison, peers = table(quickstart, "comparison"), table(quickstart, "peers")
    for frame in (comparison, peers):
        # Ill-conditioned factors round differently on each processor: no more than a few times float32's own error.
        assert (frame["onnx_difference"] <= np.maximum(1e-4, 5 * frame["float32_difference"])).all()
        assert ((frame["onnx_accuracy"] - frame["test_accuracy"]).abs() <= 0.001).all()
        assert (frame["onnx_equal"] == (frame["onnx_difference"] <= 1e-4)).all()
    assert (peers["params"] <= peers["target"]).all()
    studies = {"kernel_search", "sensitivity", "clustering", "merging", "low_rank"}
    assert set(comparison["study"]) == {"baseline", "control"} | studies
    final = set(comparison.loc[comparison["study"] == "kernel_search", "variant"])
    stages = table(quickstart, "kernel_search")
    assert {f"finetune_recomposed-{name}" for name in stages["variant"].dropna() if name in ("seed", "branch")} <= final
    together = set(comparison["variant"]) & set(peers["variant"])
    assert not together


def test_the_baseline_reads_digits(quickstart):
    baselines = table(quickstart, "baselines").set_index(["model", "variant"]).sort_index()
    for model, least in (("resnet8", 0.9), ("alexnet", 0.8)):
        row = baselines.loc[(model, "baseline")]
        assert row["ci_low"] < row["test_accuracy"] > least


def test_the_study_tells_its_story(quickstart):
    study = table(quickstart, "kernel_search").set_index(["stage", "variant"]).sort_index()
    preserving, seed = study.loc["search_kernels", "preserving"], study.loc["search_kernels", "seed"]
    start = study.loc["finetune_cp", "corrected"]
    assert preserving["accuracy_before"] == start["test_accuracy"]
    assert seed["accuracy_before"] < preserving["accuracy_before"]
    assert study.loc["search_kernels", "branch"]["accuracy_before"] == study.loc["baseline"]["test_accuracy"].item()
    assert study["selected"].sum() == 1
    sizes = study.loc["finetune_recomposed", "preserving"]["kernel_sizes"].split()
    assert all(int(size) % 2 == 1 for size in sizes)
    assert start["params"] < study.loc["baseline"]["params"].item()


def test_errors_of_the_decomposition(quickstart):
    errors = table(quickstart, "cp_error")
    # From the same starts both end in local minima; on small noisy kernels either may find the better one.
    assert (errors["relative_error"] <= errors["parafac_error"] * 1.005).all()
    assert (errors["corrected_error"] <= errors["relative_error"] * 1.02 + 1e-9).all()
    assert (errors["corrected_sensitivity"] <= errors["sensitivity"]).all()


def record_of(path):
    """The record in a file of metrics or, where it is a table or a list, beside it."""
    metrics = json.loads(path.read_text()) if path.suffix == ".json" else []
    return metrics["provenance"] if "provenance" in metrics else json.loads(Path(f"{path}{SUFFIX}").read_text())


def test_metrics_say_what_they_were_computed_with(quickstart):
    folder = quickstart.folder / "results" / "quickstart" / "metrics"
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(SUFFIX)]
    assert len(files) > 50
    assert {path.suffix for path in files} == {".csv", ".json"}
    for path in files:
        record = record_of(path)
        drawn = not {"latency", "onnx", "distances"} & {path.parent.name, path.stem}
        assert record["seed"] == (0 if drawn else None), path
        assert record["packages"]["torch"].startswith("2.14.1")
        assert ("onnxruntime" in record["packages"]) == (path.parent.name == "onnx")
        assert record["compute"]["device"] in ("cpu", "cuda")
        assert {len(digest) for digest in record["inputs"].values()} == {64}
        assert {"code", "processor"} <= set(record)


def test_the_page_is_whole_and_needs_no_network(quickstart):
    page = (quickstart.folder / "results" / "quickstart" / "report.html").read_text()
    assert "</html>" in page
    assert 'src="http' not in page
    assert '<link rel="stylesheet" href="http' not in page
    assert len(page) < 5_000_000
    assert "What the jobs of each rule took" in page
    assert "What each study took" in page
    provenance = json.loads((quickstart.folder / "results" / "quickstart" / "provenance.json").read_text())
    rules, studies = provenance["rule_seconds"], provenance["study_seconds"]
    assert {"kernel_search", "sensitivity", "clustering", "merging", "low_rank", "peers", "comparison"} <= set(studies)
    assert sum(each["jobs"] for each in studies.values()) == sum(each["jobs"] for each in rules.values())
    assert len(provenance["processors"]) == 1
    assert rules["evaluate"]["jobs"] > 10
    assert rules["evaluate"]["seconds"] > rules["evaluate"]["jobs"]


def test_second_run_has_nothing_to_do(quickstart):
    result = quickstart.done("-n", overlay="config/quickstart.yaml")
    assert "Nothing to be done" in result.stdout + result.stderr


def test_a_deleted_table_brings_back_its_rule_and_what_depends_on_it(quickstart):
    path = quickstart.folder / "results" / "quickstart" / "tables" / "baselines.csv"
    content = path.read_bytes()
    path.unlink()
    result = quickstart.done("-n", "--quiet", "rules", overlay="config/quickstart.yaml")
    listed = result.stdout + result.stderr
    assert "baseline_tables" in listed
    assert "train_baseline" not in listed
    quickstart.done("results/quickstart/tables/baselines.csv", overlay="config/quickstart.yaml")
    assert path.read_bytes() == content


def test_a_truncated_history_is_named_and_made_again(quickstart, tmp_path):
    project = quickstart.copy(tmp_path / "project")
    results = project.folder / "results" / "quickstart"
    history, table = results / "histories/control/resnet8.csv", results / "tables/merging_history.csv"
    whole = pd.read_csv(history)
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:-1]))  # whole lines, an epoch missing
    table.unlink()
    target = str(table.relative_to(project.folder))
    result = project.snakemake(target, overlay="config/quickstart.yaml")
    assert result.returncode == 1
    assert f"{history.relative_to(project.folder)}: cut off or damaged" in result.stderr
    assert "Traceback" not in result.stderr
    assert not table.exists()
    history.unlink()
    project.done(target, overlay="config/quickstart.yaml")
    assert pd.read_csv(history).drop(columns="seconds").equals(whole.drop(columns="seconds"))
    assert table.exists()


def test_snakemakes_own_report_has_categories_and_captions(quickstart):
    quickstart.done("--report", "report.zip", overlay="config/quickstart.yaml")
    with zipfile.ZipFile(quickstart.folder / "report.zip") as archive:
        page = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith("report.html"))
    assert "kernel_search" in page
    caption = (quickstart.folder / "report" / "table_baselines.rst").read_text()
    assert caption.split("**")[1] in page
