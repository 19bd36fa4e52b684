"""The comparison: fronts, speedups, differences, and what stands in which table."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import convpress
from convpress.config.sections import MeasureConfig
from convpress.data import Dataset
from convpress.deployment import check_export, time_networks
from convpress.predict import predict
from convpress.report.comparison import tables
from convpress.report.comparison.figures import draw_all
from convpress.report.pareto import on_front
from convpress.report.tables import Result
from convpress.report.targets import targets_table
from convpress.statistics import mcnemar, wilson

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = (
    "study variant model params macs bytes latency_ms speedup test_accuracy ci_low ci_high delta_control mcnemar_p "
)
CONTRACT += "finetune_epochs"

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


@given(POINTS)
def test_a_front_is_what_nobody_beats(points):
    cost, accuracy = (np.array(values, dtype=float) for values in zip(*points, strict=True))
    front = on_front(cost, accuracy)

    def beats(a, b):
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    for point, on in zip(points, front, strict=True):
        assert on == (not any(beats(other, point) for other in points))
        assert on or any(beats(other, point) for other, there in zip(points, front, strict=True) if there)


def test_a_network_without_a_cost_is_on_no_front():
    assert on_front(np.array([1.0, math.nan]), np.array([0.5, 0.9])) == [True, False]


FINAL = {
    "baseline": {"a": "a", "b": "b"},
    "control": {"a": "a"},
    "study": {"small": "a", "chain": "a", "other": "b"},
    "peers": {"a-magnitude": "a"},
}
CONTROLS = {"a": {"a": 8, "a-3e": 3}}
RATES = {"control": {"a": 0.01, "a-3e": 0.02}, "study": {"small": 0.1, "chain": 0.01}, "peers": {"a-magnitude": 0.1}}
SIZES = {"a": 1000, "b": 500, "small": 300, "chain": 310, "other": 400, "a-magnitude": 320}
MILLISECONDS = {"a": 8.0, "b": 4.0, "small": 2.0, "chain": 5.0, "other": 4.0, "a-magnitude": 4.0}


@pytest.fixture
def files(tmp_path):
    """Results of all variants, and the files that the rule reads besides."""
    rng = np.random.default_rng(0)
    results, times, checks = {}, [], []
    for study, variants in FINAL.items():
        for variant in variants:
            correct = rng.random(200) < 0.8
            accuracy = wilson(int(correct.sum()), 200)
            metrics = {"study": study, "variant": variant, "accuracy_before": 0.1, "test_accuracy": accuracy.accuracy}
            metrics |= {"test_n": 200, "ci_low": accuracy.ci_low, "ci_high": accuracy.ci_high}
            metrics |= {"validation_accuracy": 0.5, "params": SIZES[variant], "macs": 2 * SIZES[variant], "bytes": 9}
            results[study, variant] = Result(metrics, correct)
            checks.append({"study": study, "variant": variant, "onnx_equal": True, "onnx_accuracy": 0.5})
            for backend, dtype, factor in (("torch", "float32", 1), ("onnxruntime", "float32", 0.5)):
                for batch in (1, 64):
                    median = MILLISECONDS[variant] * factor * (1 if batch == 64 else 0.1)
                    row = {"name": f"{study}/{variant}", "backend": backend, "dtype": dtype, "batch_size": batch}
                    row |= {"median_ms": median, "q1_ms": 0.9 * median, "q3_ms": 1.2 * median, "threads": 1}
                    row |= {"layout": "channels_last", "device": "cpu"}
                    times.append(row)
    pd.DataFrame(times).to_csv(tmp_path / "times.csv", index=False)
    (tmp_path / "onnx.json").write_text(json.dumps(checks))
    epochs = {"study": {"small": 3, "chain": 11, "other": 4}, "control": {"a": 8}}
    epochs |= {"baseline": {"a": 0, "b": 0}, "peers": {"a-magnitude": 3}}
    results["control", "a-3e"] = results["baseline", "a"]
    return results, epochs, [str(tmp_path / "times.csv")], [str(tmp_path / "onnx.json")]


@pytest.fixture
def frame(files):
    results, epochs, latencies, exports = files
    return tables.final_networks_table(results, FINAL, epochs, RATES, CONTROLS, latencies, exports)


def test_rows_and_columns_of_the_contract(frame):
    ours = tables.comparison_table(frame)
    assert set(CONTRACT.split()) <= set(ours.columns)
    assert list(zip(ours["model"], ours["study"], ours["variant"], strict=True)) == [
        ("a", "baseline", "a"),
        ("a", "control", "a"),
        ("a", "study", "small"),
        ("a", "study", "chain"),
        ("b", "baseline", "b"),
        ("b", "study", "other"),
    ]


def test_numbers_are_those_of_the_results(frame, files):
    results = files[0]
    control = results["control", "a-3e"]  # as long as `small`
    rows = frame.set_index(["study", "variant"]).sort_index()
    row, found = rows.loc["study", "small"], results["study", "small"]
    assert row["delta_control"] == pytest.approx(found.correct.mean() - control.correct.mean())
    assert row["mcnemar_p"] == mcnemar(found.correct, control.correct)
    assert row["control_epochs"] == 3
    chain, longest = results["study", "chain"], results["control", "a"]
    assert rows.loc["study", "chain"]["mcnemar_p"] == mcnemar(chain.correct, longest.correct)
    assert rows.loc["study", "chain"]["control_epochs"] == rows.loc["baseline", "a"]["control_epochs"] == 8
    assert row[["latency_ms", "latency_q1_ms", "latency_q3_ms"]].tolist() == pytest.approx([2.0, 1.8, 2.4])
    assert row[["batch1_ms", "onnx_ms", "onnx_batch1_ms"]].tolist() == pytest.approx([0.2, 1.0, 0.1])
    assert row[["speedup", "batch1_speedup", "onnx_speedup"]].tolist() == pytest.approx([4.0, 4.0, 4.0])
    assert rows.loc["study", "other"]["speedup"] == 1.0
    assert math.isnan(rows.loc["study", "other"]["delta_control"])  # network b has no control
    assert math.isnan(rows.loc["control", "a"]["mcnemar_p"])
    rates = {key: tuple(rows.loc[key, ["lr", "control_lr"]]) for key in (("study", "small"), ("study", "chain"))}
    assert rates == {("study", "small"): (0.1, 0.02), ("study", "chain"): (0.01, 0.01)}
    assert rows.loc["study", "other"][["lr", "control_lr"]].isna().all()  # neither trained nor a control


def test_what_the_machine_was_not_timed_in_stays_empty_and_its_targets_unmeasured(frame, tmp_path):
    """Without fast bfloat16 only float32 is timed."""
    columns = [f"{setting}_{name}" for setting in ("bf16", "bf16_batch1") for name in ("ms", "q1_ms", "speedup")]
    assert frame[columns].isna().all(axis=None)
    exported = {"onnx_difference": 2e-5, "onnx_accuracy": frame["test_accuracy"]}
    frame.assign(study="merging", variant="shared-50", **exported).to_csv(tmp_path / "comparison.csv", index=False)
    targets = targets_table(ROOT / "report/reference/targets.csv", tmp_path)
    bf16 = targets[targets["target"].str.contains("bfloat16")]
    assert len(bf16) == 2
    assert set(bf16["met"]) == {"not measured"}
    onnx = targets[targets["target"].str.contains("ONNX")]
    assert set(onnx["met"]) == {"met"}  # 1.0 to 4.0 times


def test_epochs_are_those_of_the_whole_chain(frame):
    epochs = frame.set_index(["study", "variant"])["finetune_epochs"]
    assert epochs["study", "chain"] == 11
    assert epochs["study", "small"] == 3
    assert epochs["control", "a"] == 8
    assert epochs["baseline", "a"] == 0


def test_peers_stand_beside_our_nearest_in_size(frame, files, tmp_path):
    results = files[0]
    about = {"variant": "a-magnitude", "method": "magnitude", "library": "torch-pruning", "version": "1"}
    about |= {"target_cost": "params", "target": 333, "strength": 0.5}
    (tmp_path / "peer.json").write_text(json.dumps(about))
    peers = tables.peers_table(frame, [str(tmp_path / "peer.json")], results)
    assert set(frame.columns) <= set(peers.columns)
    assert "peers" not in set(tables.comparison_table(frame)["study"])
    row = peers.iloc[0]
    # chain (310) is a little nearer to the peer (320) than small (300), but trained for 11 epochs instead of 3.
    assert tuple(row[["nearest", "nearest_cost", "nearest_epochs"]]) == ("study/small", 300, 3)
    peer, ours = results["peers", "a-magnitude"], results["study", "small"]
    assert row["delta_nearest"] == pytest.approx(peer.correct.mean() - ours.correct.mean())
    assert row["nearest_p"] == mcnemar(peer.correct, ours.correct)
    far = frame.assign(params=frame["params"].where(frame["variant"] != "small", 250))
    row = tables.peers_table(far, [str(tmp_path / "peer.json")], results).iloc[0]
    assert tuple(row[["nearest", "nearest_cost", "nearest_epochs"]]) == ("study/chain", 310, 11), "size comes first"


def test_peers_stand_beside_our_nearest_of_their_kind(frame, files, tmp_path):
    about = {"variant": "a-magnitude", "method": "cp", "library": "torch-pruning", "version": "1"}
    about |= {"target_cost": "params", "target": 333, "strength": 0.5}
    (tmp_path / "peer.json").write_text(json.dumps(about))
    results = files[0] | {("sensitivity", "net-cp-2x"): files[0]["study", "chain"]}
    renamed = frame.copy()
    renamed.loc[renamed["variant"] == "chain", ["study", "variant"]] = ["sensitivity", "net-cp-2x"]
    row = tables.peers_table(renamed, [str(tmp_path / "peer.json")], results).iloc[0]
    assert row["nearest"] == "sensitivity/net-cp-2x", "of sizes that are about the same"
    for size, nearest in ((345, "sensitivity/net-cp-2x"), (360, "study/small")):
        far = renamed.assign(params=renamed["params"].where(renamed["variant"] != "net-cp-2x", size))
        row = tables.peers_table(far, [str(tmp_path / "peer.json")], results).iloc[0]
        assert row["nearest"] == nearest, "the kind counts up to 10 % away from the peer's 320"


def test_pictures_show_all_studies_and_repeat_their_bytes(frame, tmp_path):
    both = {"comparison": tables.comparison_table(frame), "peers": frame[frame["study"] == "peers"]}
    for turn in ("one", "two"):
        draw_all(both, {name: tmp_path / f"{name}-{turn}.svg" for name in ("pareto", "runtimes")})
    for name in ("pareto", "runtimes"):
        picture = (tmp_path / f"{name}-one.svg").read_bytes()
        assert picture == (tmp_path / f"{name}-two.svg").read_bytes()
    text = (tmp_path / "pareto-one.svg").read_text()
    for words in ("peers", "control", "baseline", "MACs an image", "Milliseconds a batch"):
        assert words in text
    text = (tmp_path / "runtimes-one.svg").read_text()
    for words in ("study: small", "peers: a-magnitude", "ONNX Runtime"):
        assert words in text
    assert "bfloat16" not in text


def test_without_compressed_networks_a_picture_says_so(frame, tmp_path):
    draw_all({"comparison": frame[frame["study"] == "baseline"]}, {"pareto": tmp_path / "empty.svg"})
    assert "No compressed networks" in (tmp_path / "empty.svg").read_text()


@pytest.mark.parametrize(("name", "words"), [("pareto", "No compressed networks"), ("runtimes", "No times")])
def test_without_tables_a_picture_says_so(name, words, tmp_path):
    draw_all({}, {name: tmp_path / "empty.svg"})
    assert words in (tmp_path / "empty.svg").read_text()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (150, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Dataset(pixels, torch.arange(150) % 10, (0.5,) * 3, (0.25,) * 3, 10)


def test_an_export_is_checked_on_answers_and_accuracy(images, tmp_path):
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = convpress.create_model("resnet8", width=4).eval()
    correct = (predict(model, images).argmax(1) == images.labels).numpy()
    record, exported = check_export(model, correct, images, tmp_path / "a.onnx")
    assert record["onnx_equal"]
    assert record["onnx_images"] == 100
    assert record["onnx_accuracy"] == pytest.approx(correct.mean())
    torch.testing.assert_close(predict(exported, images), predict(model, images), atol=1e-4, rtol=0)
    correct[:1] ^= True  # one image of 150 is more than 0.1 points
    assert not check_export(model, correct, images, tmp_path / "b.onnx")[0]["onnx_equal"]


def test_times_of_all_settings():
    models = {"study/x": convpress.create_model("resnet8", width=4)}
    measure = MeasureConfig(batch_size=2, repeats=3, warmup=0)
    found = time_networks(models, measure, bf16=True)
    assert set(zip(found["dtype"], found["batch_size"], strict=True)) == {
        (dtype, batch) for dtype in ("float32", "bfloat16") for batch in (1, 2)
    }
    assert (found["q1_ms"] <= found["median_ms"]).all()
    assert (found["median_ms"] <= found["q3_ms"]).all()
    assert (found["median_ms"] > 0).all()
    assert set(zip(found["backend"], found["dtype"], strict=True)) <= set(tables.SETTINGS)


def beside(frame, results, tmp_path):
    about = {"variant": "a-magnitude", "method": "magnitude", "library": "torch-pruning", "version": "1"}
    about |= {"target_cost": "params", "target": 333, "strength": 0.5}
    (tmp_path / "peer.json").write_text(json.dumps(about))
    return tables.peers_table(frame, [str(tmp_path / "peer.json")], results).iloc[0]["nearest"]


def test_peers_stand_beside_variants_of_their_own_network(frame, files, tmp_path):
    moved = frame.copy()
    moved.loc[moved["variant"] == "small", "model"] = "another"
    assert beside(moved, files[0], tmp_path) == "study/chain"


def test_of_variants_alike_the_best_on_validation_images_stands_beside_a_peer(frame, files, tmp_path):
    alike, ours = frame.copy(), frame["variant"].isin(["small", "chain"])
    alike.loc[ours, ["params", "finetune_epochs", "lr"]] = [320, 3, 0.1]
    for best, other in (("small", "chain"), ("chain", "small")):
        alike.loc[alike["variant"] == best, ["validation_accuracy", "test_accuracy"]] = [0.9, 0.5]
        alike.loc[alike["variant"] == other, ["validation_accuracy", "test_accuracy"]] = [0.5, 0.9]
        assert beside(alike, files[0], tmp_path) == f"study/{best}"


def test_of_variants_of_equal_epochs_one_of_the_same_rate_stands_beside_a_peer(frame, files, tmp_path):
    alike, ours = frame.copy(), frame["variant"].isin(["small", "chain"])
    alike.loc[ours, ["params", "finetune_epochs", "validation_accuracy"]] = [320, 3, 0.5]
    for same, other in (("small", "chain"), ("chain", "small")):
        alike.loc[alike["variant"] == other, "validation_accuracy"] = 0.9
        rates = {"a-magnitude": 0.01, same: 0.01, other: 0.0001}
        rated = alike.assign(lr=alike["variant"].map(rates))
        assert beside(rated, files[0], tmp_path) == f"study/{same}"


def test_single_images_are_timed_five_times_as_often(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "convpress.deployment.interleaved_latency", lambda models, shape, **given: asked.append(given) or {}
    )
    time_networks({"net": nn.Identity()}, MeasureConfig(batch_size=8, repeats=3, warmup=2), bf16=True)
    settings = [(given["dtype"], given["batch_size"], given["repeats"], given["warmup"]) for given in asked]
    assert settings == [(dtype, n, r, 2) for dtype in (torch.float32, torch.bfloat16) for n, r in ((8, 3), (1, 15))]
