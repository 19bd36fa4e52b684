"""Which images each script works with."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_script import RECIPE, TEST, VALIDATION, Stop, script_runner, split_parts, stopping  # noqa: F401

from convpress.checkpoints import save_model
from convpress.predict import accuracy_of, answered_right
from small_network import network


def test_evaluations_judge_by_test_images_and_choose_by_validation_images(parts, run):
    _, validation, test = parts
    start = network(seed=1)
    save_model(start, "start.safetensors")
    run(
        "evaluate",
        {"seed": 3},
        {"start": "start.safetensors"},
        {"metrics": "metrics.json", "predictions": "answers.npz"},
        {"study": "any", "variant": "one"},
    )
    found = json.loads(Path("metrics.json").read_text())
    assert (found["test_n"], found["validation_n"], found["provenance"]["seed"]) == (TEST, VALIDATION, 3)
    assert found["test_accuracy"] == accuracy_of(network(), test)
    assert found["accuracy_before"] == accuracy_of(start, test)
    assert found["validation_accuracy"] == accuracy_of(network(), validation)
    assert np.load("answers.npz")["correct"].tolist() == answered_right(network(), test).tolist()


def test_a_training_never_sees_the_test_images(parts, run, monkeypatch):
    train, validation, _ = parts
    given = stopping(monkeypatch, "convpress.train.fit")
    params = {"recipe": RECIPE, "resume": "state.pt", "seed": 3, "view_seed": 5, "before": {"epochs": 2}}
    with pytest.raises(Stop):
        run("finetune", params, outputs={"model": "out.safetensors", "history": "history.csv"})
    trainer = given["arguments"][0]
    assert trainer.data is train
    assert given["validation"] is validation
    assert (trainer.seed, trainer.view_seed, trainer.first_epoch) == (3, 5, 2)


@pytest.mark.parametrize("script", ["merge", "merge_sweep"])
def test_merging_looks_at_training_images_with_the_seed_of_the_variant(parts, run, monkeypatch, script):
    asked = stopping(monkeypatch, "convpress.data.augmented")
    common = {"images": 4, "recalibration": 8, "drop": 0.1, "view": {"padding": 2, "flip": False}}
    params = {
        "seed": 3,
        "common": common,
        "surgery": {"method": "merged", "ratio": 0.5},
        "method": {"method": "merged"},
    }
    with pytest.raises(Stop):
        run(script, params | {"ratios": [0.5]}, outputs={"models": ["half.safetensors"]}, wildcards={"series": "any"})
    assert asked["arguments"][0] is parts[0]
    assert asked["arguments"][1:] == (8, 3)


def test_variants_are_merged_with_their_own_settings(parts, run, monkeypatch):
    given = stopping(monkeypatch, "convpress.merging.variant.compress_variant")
    common = {"images": 4, "recalibration": 8, "drop": 0.1, "view": {"padding": 2, "flip": False}}
    with pytest.raises(Stop):
        run("merge", {"seed": 3, "common": common, "surgery": {"method": "merged", "ratio": 0.5}})
    look = given["arguments"][2]
    assert (look.images, look.drop, look.seed, len(look.data)) == (4, 0.1, 3, 8)


def test_points_of_a_sweep_are_judged_on_validation_images_and_mended_with_training_images(parts, run, monkeypatch):
    mended = []
    monkeypatch.setattr("convpress.recalibrate.recalibrate", lambda model, data, images: mended.append((data, images)))
    common = {"images": 4, "recalibration": 8, "view": {"padding": 0, "flip": False}}
    params = {"seed": 3, "common": common, "method": {"method": "merged"}, "ratios": [0.0]}
    run(
        "merge_sweep",
        params,
        outputs={"models": ["whole.safetensors"], "accuracies": "rows.csv"},
        wildcards={"series": "any"},
    )
    row = pd.read_csv("rows.csv").iloc[0]
    assert row["validation_n"] == VALIDATION
    assert row["validation_before"] == pytest.approx(accuracy_of(network(), parts[1]))
    ((data, count),) = mended
    assert count == 8
    assert torch.equal(data.images, parts[0].images[:8])


@pytest.mark.parametrize("asked", [None, 6])
@pytest.mark.parametrize(
    ("script", "work"),
    [
        ("sweep_clusters", "convpress.clustering.sweep.sweep_together"),
        ("evaluate_plan", "convpress.clustering.sweep.evaluate_plan"),
    ],
)
def test_clusters_are_chosen_on_validation_images(parts, run, monkeypatch, script, work, asked):
    given = stopping(monkeypatch, work)
    params = {"sweep": {"images": asked}, "seed": 3, "layers": ["layer1.0.conv1"], "plan": {"layer1.0.conv1": 2}}
    with pytest.raises(Stop):
        run(script, params | {"name": "any", "clusters": "2"}, wildcards={"plan": "0"})
    expected = parts[1].images[:asked]
    assert torch.equal(given["arguments"][2].images, expected)
    assert given["seed"] == 3


def test_clustered_networks_are_mended_with_training_images(parts, run, monkeypatch):
    given = stopping(monkeypatch, "convpress.clustering.remedies.apply_remedy")
    variant = {"remedy": {"filters": "frozen", "recalibrate": True}, "plan": {"layer1.0.conv1": 2}, "ratio": None}
    params = {"variant": variant, "layers": ["layer1.0.conv1"], "recipe": RECIPE | {"crop_padding": 0}, "seed": 3}
    with pytest.raises(Stop):
        run("finetune_clusters", params)
    assert torch.equal(given["seen"].images, parts[0].images)
    assert given["seed"] == 3


def test_the_teacher_is_asked_about_training_images_under_the_views_of_the_run(parts, run, monkeypatch):
    given = stopping(monkeypatch, "convpress.teachers.teacher_logits")
    with pytest.raises(Stop):
        run("teacher_logits", {"seed": 3, "asked": {"padding": 2, "flip": False}}, wildcards={"view": "1"})
    assert given["arguments"][1] is parts[0]
    assert (given["view"], given["view_seed"], given["padding"], given["flip"]) == (1, 3, 2, False)


def test_outputs_are_compared_on_validation_images(parts, run, monkeypatch):
    given = stopping(monkeypatch, "convpress.low_rank.output_distances")
    files = {"models": ["model.safetensors"], "control": "model.safetensors", "original": "model.safetensors"}
    with pytest.raises(Stop):
        run("low_rank_distances", {"layers": ["conv1"]}, files)
    assert given["arguments"][2] is parts[1]


def test_exports_are_checked_on_test_images_against_their_own_answers(parts, run, monkeypatch):
    given = stopping(monkeypatch, "convpress.deployment.check_export")
    answers = np.arange(TEST) < 4
    np.savez("answers.npz", correct=answers)
    with pytest.raises(Stop):
        run("export_onnx", {"measure": {}}, {"models": ["model.safetensors"], "predictions": ["answers.npz"]})
    _, correct, data, _ = given["arguments"]
    assert correct.tolist() == answers.tolist()
    assert data is parts[2]
