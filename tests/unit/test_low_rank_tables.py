"""The table of the study low_rank from results whose differences, times and filters are known."""

import numpy as np
import pandas as pd
import pytest
import torch

from convpress.checkpoints import load, save_model
from convpress.config.low_rank import LowRankConfig
from convpress.errors import ConvpressError
from convpress.layers.low_rank import SeparableConv2d
from convpress.low_rank import expand
from convpress.models import create_model
from convpress.report.low_rank.tables import (
    filters_of,
    filters_table,
    history_table,
    last_trained,
    rows_table,
    with_speedup,
)
from convpress.report.tables import Result

LAYERS = ["features.3", "features.10"]
STUDY = LowRankConfig(
    model="alexnet",
    input_size=64,
    cost_size=64,
    layers=LAYERS,
    bases=[3, 2],
    compression=3.0,
    expansions={
        "replaced": {"scheme": "grouped"},
        "decomposed": {"scheme": "decomposed"},
        "separable": {"scheme": "separable"},
    },
    rows=[
        {"row": 2, "expansion": "replaced"},
        {"row": 3, "expansion": "replaced", "l2": 1, "ce": 1},
        {"row": 5, "expansion": "replaced", "ce": 2},
        {"row": 6, "expansion": "decomposed"},
        {"row": 10, "expansion": "separable", "l2": 1},
    ],
    epochs_scale=1.0,
    l2={"epochs": 2, "lr": 0.1},
    ce={"epochs": 1, "lr": 0.1, "distillation": 0.9},
    comparison={"penalties": [0.0], "sweeps": 1},
    repeats=7,
    bf16_repeats=3,
)
RIGHT = {"original": 60, "control": 70, "replaced": 10, "replaced-l2-ce": 55, "replaced-ce2": 50, "decomposed": 20}
RIGHT |= {"separable-l2": 40}
MILLISECONDS = {"original": 80.0, "replaced": 100.0, "decomposed": 90.0, "separable": 40.0}
DISTANCES = {"replaced": 5.0, "replaced-l2-ce": 3.0, "control": 1.0}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "alexnet.safetensors"
    save_model(create_model("alexnet", width=4, hidden=[16, 12], input_size=64), path)
    return str(path)


def result(right):
    """The first `right` of 100 images are answered."""
    metrics = {"test_accuracy": right / 100, "test_n": 100, "ci_low": 0, "ci_high": 1, "validation_accuracy": 0.5}
    return Result(metrics | {"params": 1, "macs": 2, "bytes": 3, "accuracy_before": 0.1}, np.arange(100) < right)


def made(folder, original):
    def csv(name, rows):
        pd.DataFrame(rows).to_csv(folder / name, index=False)
        return str(folder / name)

    facts = {"macs": 9, "batch_size": 64, "size": 64, "threads": 1, "device": "cpu", "dtype": "float32"}
    facts |= {"layout": "channels_last", "repeats": 7, "bf16_repeats": 3, "cuda_ms": None}
    times = [
        {"network": name, "cpu_ms": ms, "cpu_q1_ms": ms - 1, "cpu_q3_ms": ms + 1, "cpu_bf16_ms": ms**2} | facts
        for name, ms in MILLISECONDS.items()
    ]
    distances = [
        {"variant": name, "layer": layer, "distance": value, "relative": value / 10}
        for name, value in DISTANCES.items()
        for layer in LAYERS
    ]
    studies = {"original": "baseline", "control": "control"}
    results = {
        (studies.get(name, "low_rank"), "alexnet" if name in studies else name): result(right)
        for name, right in RIGHT.items()
    }
    epochs = {"replaced-l2": 2, "replaced-l2-ce": 1, "replaced-ce2": 2, "separable-l2": 2, "control": 3}
    histories = {name: csv(f"{name}.csv", {"epoch": range(1, last + 1)}) for name, last in epochs.items()}
    files = csv("latency.csv", times), csv("distances.csv", distances)
    return rows_table(STUDY, results, *files, histories, original).set_index("row")


@pytest.fixture
def table(tmp_path, original):
    return made(tmp_path, original)


def test_differences_are_taken_from_the_network_that_they_name(table):
    row = table.loc["3"]
    assert row["delta_original"] == pytest.approx(0.55 - 0.60)
    assert row["delta_control"] == pytest.approx(0.55 - 0.70)
    assert row["mcnemar_original"] == pytest.approx(2 * 0.5**5)
    assert row["mcnemar_p"] == pytest.approx(2 * 0.5**15)
    assert table.loc["control", "delta_original"] == pytest.approx(0.10)
    assert table.loc["1", "delta_control"] == pytest.approx(-0.10)
    assert table.loc[["1", "control"], ["delta_original", "delta_control"]].to_numpy().diagonal().tolist() == [0, 0]


def test_rows_have_the_epochs_of_their_own_trainings(table):
    assert table["l2_epochs"].to_dict() == {"1": 0, "2": 0, "3": 2, "5": 0, "6": 0, "10": 2, "control": 0}
    taught = {"3": 0.9, "5": 0.9, "control": 0.9}
    assert table["distillation"].to_dict() == {"1": 0.0, "2": 0.0, "6": 0.0, "10": 0.0} | taught
    assert table["ce_epochs"].to_dict() == {"1": 0, "2": 0, "3": 1, "5": 2, "6": 0, "10": 0, "control": 3}


def test_a_history_that_lacks_epochs_is_named(tmp_path):
    path = tmp_path / "separable-l2.csv"
    pd.DataFrame({"epoch": [0, 1]}).to_csv(path, index=False)
    with pytest.raises(ConvpressError, match=r"separable-l2\.csv: .*it ends with epoch 1 of 2\)"):
        history_table(STUDY, {"separable-l2": str(path)})


def test_distances_are_sums_and_the_originals_is_zero(table):
    assert table.loc["1", ["l2_distance", "l2_relative"]].tolist() == [0, 0]
    assert table.loc["2", ["l2_distance", "l2_relative"]].tolist() == [10, 0.5]
    assert table.loc["control", "l2_distance"] == 2
    assert pd.isna(table.loc["6", "l2_distance"])


def test_times_stand_beside_what_they_were_measured_under(table):
    assert (table["layout"] == "channels_last").all()
    assert (table["dtype"] == "float32").all()
    assert (table["device"] == "cpu").all()
    assert table[["batch_size", "threads", "repeats", "bf16_repeats"]].drop_duplicates().to_numpy().tolist() == [
        [64, 1, 7, 3]
    ]


def test_twice_as_fast_is_a_speedup_of_two(table):
    frame = with_speedup(table.reset_index()).set_index("row")
    assert frame.loc["1", ["speedup", "bf16_speedup"]].tolist() == [1, 1]
    assert frame.loc["10", ["speedup", "bf16_speedup"]].tolist() == [2, 4]
    assert frame.loc["2", "speedup"] == pytest.approx(0.8)


def test_every_expansion_says_how_many_filters_it_has(table, original):
    network = load(original)
    expand(network, LAYERS, STUDY.expansions["separable"], bases=STUDY.bases, compression=STUDY.compression)
    layers = [network.get_submodule(layer) for layer in LAYERS]
    assert all(isinstance(layer, SeparableConv2d) for layer in layers)
    assert table.loc["10", "bases"] == " ".join(str(layer.rank) for layer in layers)
    assert table.loc["2", "bases"] == filters_of(STUDY, original)["decomposed"] == "3 2"
    assert table["scheme"].tolist() == ["", "grouped", "grouped", "grouped", "decomposed", "separable", ""]


def test_the_most_trained_row_is_the_one_with_most_l2(original):
    names = [row.variant for row in STUDY.rows]
    assert last_trained(STUDY, [f"models/{name}.safetensors" for name in names]) == {
        "replaced": "models/replaced-l2-ce.safetensors"
    }


def test_filters_are_those_of_the_strongest_channel_before_and_after(tmp_path, original):
    network = load(original)
    with torch.no_grad():
        network.get_submodule(LAYERS[0]).weight[:, 1] *= 10
        network.get_submodule(LAYERS[1]).weight[:, 2] *= 10
    save_model(network, tmp_path / "strong.safetensors")
    expand(network, LAYERS, STUDY.expansions["replaced"], bases=STUDY.bases, compression=STUDY.compression)
    before = {layer: network.get_submodule(layer).basis().detach().clone() for layer in LAYERS}
    with torch.no_grad():
        network.get_submodule(LAYERS[0]).spatial.weight.add_(1.0)
    save_model(network, tmp_path / "trained.safetensors")
    table = filters_table(
        STUDY, str(tmp_path / "strong.safetensors"), {"replaced": str(tmp_path / "trained.safetensors")}
    )
    shown = table.set_index(["layer", "when"])["value"]
    for layer, channel in zip(LAYERS, (1, 2), strict=True):
        wanted = before[layer][channel].flatten().numpy()
        assert shown[layer, "before"].to_numpy() == pytest.approx(wanted)
        assert shown[layer, "after"].to_numpy() == pytest.approx(wanted + (layer == LAYERS[0]))


def test_operations_are_told_at_the_size_of_the_times_and_at_that_of_the_images(table):
    assert table.loc["10", ["macs", "macs_input_size"]].tolist() == [9, 2]


def test_a_row_without_l2_is_trained_as_well():
    study = STUDY.model_copy(update={"rows": [row for row in STUDY.rows if not row.l2]})
    files = [f"models/{row.variant}.safetensors" for row in study.rows]
    assert last_trained(study, files) == {"replaced": "models/replaced-ce2.safetensors"}
