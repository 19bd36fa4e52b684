"""The study clustering in the quickstart, and on a user's own checkpoint."""

import json

import pandas as pd
import pytest
import torch

from convpress.clustering.sweep import sweep_together
from convpress.compute import resolve
from convpress.config.clustering import SweepConfig
from convpress.config.sections import ComputeConfig, DataConfig
from convpress.data import load_dataset
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
    dense = json.loads(metrics.read_text())
    for name in ("clustering_layers", "clustering_groups"):
        frame = table(quickstart, name)
        whole = frame[frame["unique_ratio"] == 1]
        assert len(whole) == frame.iloc[:, 0].nunique()
        one_image = 1.01 / dense["validation_n"]  # sweeps may run in bfloat16, evaluations do not
        assert whole["accuracy"].to_list() == pytest.approx([dense["validation_accuracy"]] * len(whole), abs=one_image)
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
    assert 'id="table-clustering_finetune"' in page


def test_the_command_line_names_another_checkpoint(project):
    (project.folder / "mine").mkdir()
    state = {f"net.{key}": value for key, value in create_model("resnet20").state_dict().items()}
    torch.save(state, project.folder / "mine" / "a.th")
    points = "results/cifar10/metrics/clustering/layers/conv1.csv"
    own = "models={resnet20: {checkpoint: mine/a.th, key_prefix: net.}}"
    jobs = project.jobs(points, "--config", own)
    assert {"import_baseline", "sweep_clusters"} <= {job.rule for job in jobs}
    assert any("mine/a.th" in job.inputs for job in jobs)


def test_a_sweep_of_the_checkpoint_that_the_command_line_names(project, tmp_path):
    layer, networks = "layer2.0.conv2", []
    for seed, name, prefix in ((3, "mine", "net."), (4, "other", "")):
        torch.manual_seed(seed)
        networks.append(create_model("resnet8", width=8))
        state = {f"{prefix}{key}": value for key, value in networks[-1].state_dict().items()}
        torch.save({"state_dict": state}, tmp_path / f"{name}.th")
    models = {"resnet8": {"checkpoint": str(tmp_path / "other.th"), "key_prefix": "", "training": None}}
    project.write("own.yaml", json.dumps({"models": models}))
    own = f"models={{resnet8: {{checkpoint: {tmp_path / 'mine.th'}, key_prefix: net.}}}}"
    points = f"results/quickstart/metrics/clustering/layers/{layer}.csv"
    record = "data/checkpoints/own-resnet8.json"
    project.done(points, record, "--config", own, overlay=("config/quickstart.yaml", "own.yaml"))
    found = pd.read_csv(project.folder / points).set_index("clusters")
    _, images, _ = load_dataset(
        project.folder / "data" / "digits.safetensors", DataConfig(name="digits", validation=200)
    )
    images = images.subset(torch.arange(int(found["images"].iloc[0])))
    step = max(found.index) - sorted(found.index)[-2]
    bf16 = resolve(ComputeConfig()).bf16
    mine, other = (sweep_together(m, [layer], images, SweepConfig(step=step), seed=0, bf16=bf16) for m in networks)
    assert len(mine) == 5
    assert found["accuracy"].to_dict() == pytest.approx(mine)
    assert mine != pytest.approx(other), "the accuracies tell one checkpoint from another"
    assert json.loads((project.folder / record).read_text())["origin"] == str(tmp_path / "mine.th")
