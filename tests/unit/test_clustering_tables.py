"""The tables of the study clustering: selection on validation images, twins with frozen centroids, epochs in a row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from torch import nn

from convpress.config.clustering import ClusteringConfig, variants
from convpress.errors import ConvpressError
from convpress.report.clustering import tables as clustering_tables
from convpress.report.clustering.tables import finetune_table, history_table, norms_table, points_table
from convpress.report.tables import Result
from convpress.statistics import wilson

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
STUDY = ClusteringConfig(
    **{
        "model": "net",
        "layers": ["conv", "conv2"],
        "groups": [{"name": "all", "layers": ["conv"]}],
        "plans": {"columns": [{"name": "c", "layers": ["conv"]}], "rows": [[2]], "remedy": "still", "finetune": [0]},
        "ratios": [0.5],
        "remedies": {
            "still": {"filters": "frozen"},
            "steps": {"filters": "frozen", "progressive": True},
            "pulled": {"filters": "frozen", "norm_penalty": 0.1, "distance": "cosine"},
            "tied": {"filters": "tied"},
        },
        "compare": ["still", "steps", "pulled", "tied"],
        "replicated": ["tied"],
        "seeds": 2,
        "training": PARAMS["clustering"]["training"],
    }
)
NAMES = ["control", "plan0-still", "still-050", "steps-050", "pulled-050", "tied-050", "tied-050-s1"]
VALIDATION = dict(zip(NAMES, (0.99, 0.98, 0.90, 0.92, 0.91, 0.95, 0.97), strict=True))
RIGHT = dict(zip(NAMES, (90, 89, 80, 88, 70, 75, 85), strict=True))
"""Of 100 test images; not in the order of validation."""


def result(name):
    correct = np.arange(100) < RIGHT.get(name, 87)
    metrics = dict.fromkeys(("ci_low", "ci_high", "params", "macs", "bytes"), 1.0) | {"test_n": 100}
    return Result(
        metrics
        | {"test_accuracy": correct.mean(), "validation_accuracy": VALIDATION.get(name, 0.9), "accuracy_before": 0.5},
        correct,
    )


def write(folder, file, first, last):
    path = folder / f"{file}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    epochs = np.arange(first, last + 1)
    pd.DataFrame({"epoch": epochs, "validation_accuracy": 0.1 * epochs, "seconds": 1.0}).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def history(tmp_path):
    """As the workflow leaves them: pulled networks have a folder of their own."""
    return history_table(left(tmp_path), STUDY)


def left(folder):
    files = [write(folder, name, 0, 1 if name == "pulled-050" else 2) for name in NAMES]
    steps = pd.read_csv(folder / "steps-050.csv").assign(layers=[0, 1, 2])
    steps.to_csv(folder / "steps-050.csv", index=False)
    return [*files, write(folder, "pulled/pulled-s0", 0, 1)]


@pytest.fixture
def table(history, monkeypatch):
    network = nn.ModuleDict({name: nn.Conv2d(2, 4, 3) for name in STUDY.layers})
    monkeypatch.setattr(clustering_tables, "load", lambda path: network)
    results = {("clustering", name): result(name) for name in NAMES} | {
        (study, "net"): result(name) for study, name in (("baseline", "baseline"), ("control", "control"))
    }
    results["control", "net-2e"] = result("plan0-still")
    times = {("clustering", name): {"latency_ms": 2.0} for name in NAMES} | {("baseline", "net"): {"latency_ms": 4.0}}
    controls = {"net": {"net": 6, "net-2e": 2}}
    return finetune_table(results, dict.fromkeys(NAMES, ""), history, STUDY, controls, times).set_index("variant")


def test_the_names_are_the_studys():
    assert list(variants(STUDY)) == NAMES


def test_the_best_first_seed_on_validation_images_is_selected(table):
    """On test images steps would win, of all seeds tied-050-s1, of all networks the control."""
    assert table.index[table["selected"]].tolist() == ["tied-050"]


def test_remedies_are_compared_with_the_control_and_with_frozen_centroids(table):
    assert table.loc["steps-050", "delta_control"] == pytest.approx(-0.02)
    assert table.loc["steps-050", "delta_frozen"] == pytest.approx(0.08)
    assert table.loc["steps-050", "mcnemar_frozen_p"] == pytest.approx(2 / 2**8)
    assert table.loc["pulled-050", "delta_frozen"] == pytest.approx(-0.10)
    assert table.loc[["control", "plan0-still", "still-050"], "delta_frozen"].isna().all()


def test_all_epochs_are_equal_and_those_before_the_last_surgery_are_told(table):
    assert (table.drop("baseline")["epochs"] == 2).all()
    before = table["epochs_before"].drop("baseline")
    assert before[before > 0].to_dict() == {"steps-050": 1, "pulled-050": 1}


def test_stages_follow_each_other_without_a_gap(history):
    for name, expected in (
        ("steps-050", [[0, 0], [0, 1], [1, 2]]),
        ("pulled-050", [[0, 0], [0, 1], [1, 1], [1, 2]]),
    ):
        rows = history[history["variant"] == name]
        assert rows[["stage", "epoch"]].values.tolist() == expected
    assert history[history["variant"] == "tied-050-s1"]["epoch"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["control", "steps-050", "pulled/pulled-s0"])
def test_a_history_that_lacks_epochs_is_named(tmp_path, name):
    files = left(tmp_path)
    write(tmp_path, name, 0, 0)
    with pytest.raises(ConvpressError, match=rf"{name}.csv: .*it ends with epoch 0 of .\); delete it"):
        history_table(files, STUDY)


def test_f_is_accuracy_over_unique_ratio(tmp_path):
    frame = pd.DataFrame({"name": ["a"], "clusters": [4], "unique_ratio": [0.5], "accuracy": [0.8], "images": [10]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert points_table([str(tmp_path / "a.csv")], "layer").iloc[0].to_dict() == {
        **{"layer": "a", "clusters": 4, "unique_ratio": 0.5, "accuracy": 0.8, "f_score": 1.6, "images": 10},
        **{"ci_low": wilson(8, 10).ci_low, "ci_high": wilson(8, 10).ci_high},
    }


def test_norms_are_those_of_the_filters(monkeypatch):
    conv = nn.Conv2d(1, 2, 2)
    conv.weight.data = conv.weight.data * 0 + 1
    monkeypatch.setattr(clustering_tables, "load", lambda path: nn.ModuleDict({"conv": conv}))
    norms = norms_table({"baseline": "", "pulled-s0": ""}, ["conv"])
    assert norms["norm"].tolist() == [2.0] * 4
    assert norms["network"].tolist() == ["baseline"] * 2 + ["pulled-s0"] * 2


def test_the_filters_of_a_plan_are_those_of_its_own_layers(table):
    """The plan shares the filters of one of the two layers, which are alike."""
    assert 2 * table.loc["plan0-still", "unique_params"] == table.loc["still-050", "unique_params"]
