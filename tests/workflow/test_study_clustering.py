"""The study clustering in the quickstart, and on a user's own checkpoint."""

import json

import pandas as pd
import pytest
import torch

from convpress.models.registry import create_model

pytestmark = pytest.mark.workflow

COLUMNS = {
    "clustering_layers": "layer clusters unique_ratio accuracy f_score",
    "clustering_groups": "group clusters unique_ratio accuracy f_score",
    "clustering_plans": "plan clusters unique_ratio accuracy f_score",
    "clustering_finetune": "variant unique_params unique_ratio accuracy_before test_accuracy epochs",
    "clustering_norms": "network layer filter norm",
    "clustering_history": "variant stage epoch validation_accuracy",
}


def table(project, name):
    return pd.read_csv(project.folder / "results" / "quickstart" / "tables" / f"{name}.csv")


@pytest.mark.parametrize("name", COLUMNS)
def test_tables_keep_the_contract(quickstart, name):
    frame = table(quickstart, name)
    assert set(COLUMNS[name].split()) <= set(frame.columns)
    assert len(frame)


def test_all_filters_give_the_dense_network(quickstart):
    metrics = quickstart.folder / "results" / "quickstart" / "metrics" / "baseline" / "resnet8.json"
    dense = json.loads(metrics.read_text())["validation_accuracy"]
    for name in ("clustering_layers", "clustering_groups"):
        frame = table(quickstart, name)
        whole = frame[frame["unique_ratio"] == 1]
        assert len(whole) == frame.iloc[:, 0].nunique()
        assert whole["accuracy"].to_list() == pytest.approx([dense] * len(whole))
        assert frame["f_score"].to_list() == pytest.approx((frame["accuracy"] / frame["unique_ratio"]).to_list())


def test_remedies_keep_their_budget_and_their_epochs(quickstart):
    frame = table(quickstart, "clustering_finetune").set_index("variant")
    shared = frame[frame["target_ratio"].notna()]
    assert (shared["unique_ratio"] <= shared["target_ratio"]).all()
    assert (shared["unique_ratio"] > shared["target_ratio"] - 0.06).all()
    assert frame.drop("baseline")["epochs"].nunique() == 1
    assert frame.loc["control", "accuracy_before"] == frame.loc["baseline", "test_accuracy"]
    assert frame.loc["control", "unique_ratio"] == 1
    assert (shared["params"] < frame.loc["control", "params"]).all()
    assert (frame["macs"] <= frame.loc["control", "macs"]).all()  # gathered channels are computed once
    assert shared["selected"].sum() == shared["target_ratio"].nunique()


def test_training_mends_what_sharing_broke(quickstart):
    frame = table(quickstart, "clustering_finetune").set_index("variant")
    assert frame.loc["plan0-frozen", "test_accuracy"] > frame.loc["plan0-frozen", "accuracy_before"]
    assert (frame.drop(["baseline", "control"])["test_accuracy"] > 0.7).all()


def test_the_penalty_has_pulled_norms_towards_1(quickstart):
    norms = table(quickstart, "clustering_norms")
    distance = (norms["norm"] - 1).abs().groupby(norms["network"]).mean()
    assert distance["by_direction-s0"] < distance["baseline"]


def test_the_page_has_the_section(quickstart):
    page = (quickstart.folder / "results" / "quickstart" / "report.html").read_text()
    assert "How many different filters does a layer need?" in page
    assert "Ours, chosen on validation at this ratio" in page


def test_the_command_line_names_another_checkpoint(project):
    (project.folder / "mine").mkdir()
    state = {f"net.{key}": value for key, value in create_model("resnet20").state_dict().items()}
    torch.save(state, project.folder / "mine" / "a.th")
    points = "results/cifar10/metrics/clustering/layers/conv1.csv"
    own = "models={resnet20: {checkpoint: mine/a.th, key_prefix: net.}}"
    jobs = project.jobs(points, "--config", own)
    assert {"import_baseline", "sweep_clusters"} <= {job.rule for job in jobs}
    assert any("mine/a.th" in job.inputs for job in jobs)


def test_a_sweep_of_ones_own_checkpoint(project, tmp_path):
    torch.manual_seed(3)
    state = {f"net.{key}": value for key, value in create_model("resnet8", width=8).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "mine.th")
    models = {"resnet8": {"checkpoint": str(tmp_path / "mine.th"), "key_prefix": "net.", "training": None}}
    points = "results/quickstart/metrics/clustering/layers/layer2.0.conv2.csv"
    record = "data/checkpoints/own-resnet8.json"
    project.write("own.yaml", json.dumps({"models": models}))
    project.done(points, record, overlay=("config/quickstart.yaml", "own.yaml"))
    assert len(pd.read_csv(project.folder / points)) == 5
    assert json.loads((project.folder / record).read_text())["origin"] == str(tmp_path / "mine.th")
