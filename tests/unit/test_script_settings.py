"""Seeds, rates and options that reach the work of each script."""

import json
from pathlib import Path

import pytest
import torch
from made_script import (  # noqa: F401
    COMPUTE,
    RECIPE,
    SCRIPTS,
    TEST,
    TRAIN,
    VALIDATION,
    Files,
    Named,
    Stop,
    script_runner,
    split_parts,
    stopping,
)

from convpress.checkpoints import load, read_metadata
from convpress.provenance import processor


def test_probes_try_noise_on_validation_images_and_rates_on_training_images(parts, run, monkeypatch):
    noise = []
    monkeypatch.setattr(
        "convpress.fragility.noise_curve", lambda *given, **options: noise.append((given, options)) or []
    )
    rates = stopping(monkeypatch, "convpress.fragility.try_rates")
    probe = {"images": 6, "noise": [0.1], "draws": 1, "rates": [0.1], "steps": 1, "slacks": []}
    monkeypatch.setattr("convpress.sensitivity.replace_all", lambda model, kind, blocks: model)
    monkeypatch.setattr("safetensors.torch.load_file", lambda path: {})
    with pytest.raises(Stop):
        run(
            "sensitivity_probe",
            {"probe": probe, "recipe": RECIPE, "seed": 3},
            {"factors": "model.safetensors"},
            wildcards={"decomposition": "cp"},
        )
    ((given, options),) = noise
    assert torch.equal(given[1].images, parts[1].images[:6])
    assert options["seed"] == rates["seed"] == 3
    assert rates["arguments"][1] is parts[0]


def test_a_baseline_starts_from_the_seed(parts, run, monkeypatch):
    given = stopping(monkeypatch, "convpress.train.fit")
    model = {"architecture": "resnet8", "arguments": {"width": 4}, "training": RECIPE}
    weights = []
    for seed in (3, 3, 4):
        with pytest.raises(Stop):
            run("train_baseline", {"model": model, "resume": "state.pt", "seed": seed})
        weights.append(given["arguments"][0].model.conv1.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


FINETUNE = {"recipe": RECIPE, "resume": "state.pt", "seed": 3}


def test_the_average_is_what_a_training_leaves(parts, run, monkeypatch):
    def fit(trainer, **options):
        trainer.average.module.conv1.weight.data.fill_(7.0)
        return [{"epoch": 0}]

    monkeypatch.setattr("convpress.train.fit", fit)
    files = {"model": "out.safetensors", "history": "history.csv"}
    run("finetune", FINETUNE | {"recipe": RECIPE | {"ema": 0.9}}, outputs=files)
    assert (load("out.safetensors").conv1.weight == 7).all()


def test_a_trained_model_tells_how_it_was_trained_and_its_metrics_as_well(parts, run, monkeypatch):
    monkeypatch.setattr("convpress.train.fit", lambda trainer, **options: [{"epoch": 0}])
    run("finetune", FINETUNE, outputs={"model": "out.safetensors", "history": "history.csv"})
    trained = read_metadata("out.safetensors")["extra"]["training"]
    assert trained == COMPUTE | {"compile": False, "channels_last": True, "processor": processor()}
    for model, training in (("out.safetensors", trained), ("model.safetensors", None)):
        files = {"metrics": "metrics.json", "predictions": "answers.npz"}
        run("evaluate", {"seed": 3}, {"model": model}, files, {"study": "made", "variant": "one"})
        record = json.loads(Path("metrics.json").read_text())["provenance"]
        assert record["training"] == training
        assert record["compute"]["precision"] == "fp32", "that of the evaluation"


@pytest.mark.parametrize("change", ["image", "seed", "recipe", "nothing"])
def test_a_state_is_taken_up_by_the_same_training_alone(parts, run, monkeypatch, change):
    given, keys = stopping(monkeypatch, "convpress.train.fit"), []
    for now in ("nothing", change):
        Path("data").write_text("others" if now == "image" else "images")
        changes = {"seed": {"seed": 4}, "recipe": {"recipe": RECIPE | {"lr": 0.02}}}.get(now, {})
        with pytest.raises(Stop):
            run("finetune", FINETUNE | changes)
        keys.append(given["key"])
    assert (keys[0] == keys[1]) == (change == "nothing")
    assert given["state_path"] == Path("state.pt")


@pytest.mark.parametrize("weight", [0, 0.25])
def test_the_sensitivity_joins_the_loss_where_the_treatment_says_so(parts, run, monkeypatch, weight):
    given = stopping(monkeypatch, "convpress.train.fit")
    asked = []
    monkeypatch.setattr("convpress.sensitivity.sensitivity_penalty", lambda weight: asked.append(weight) or len)
    starts = []
    monkeypatch.setattr("safetensors.torch.load_file", lambda path: {"plain/conv1/0": 1, "corrected/conv1/0": 2})
    monkeypatch.setattr("convpress.sensitivity.replace_all", lambda model, kind, blocks: starts.append(blocks) or model)
    params = FINETUNE | {"decomposition": "cp", "start": "corrected", "penalty": weight}
    with pytest.raises(Stop):
        run("finetune_factorised", params, {"factors": "model.safetensors"}, {"start": "start.safetensors"})
    assert given["arguments"][0].penalties == ((len,) if weight else ())
    assert asked == ([weight] if weight else [])
    assert starts == [{"conv1": [2]}]


@pytest.mark.parametrize(("penalty", "rate"), [(0.0, 0.5), (0.25, 0.1)])
def test_a_search_has_its_own_rate_seed_and_penalty(parts, run, monkeypatch, penalty, rate):
    given, extended = stopping(monkeypatch, "convpress.train.Trainer"), {}
    monkeypatch.setattr("convpress.kernel_search.extend", lambda *given, **options: extended.update(options))
    monkeypatch.setattr("convpress.kernel_search.mac_penalty", lambda weight: weight)
    search = {"mask": "branch", "extent": 9, "sigma_lr": rate, "mac_penalty": penalty, "training": RECIPE}
    params = {"search": search, "layers": ["conv1"], "cp": {"rank": 4}, "resume": "state.pt", "seed": 3}
    with pytest.raises(Stop):
        run("search_kernels", params, outputs={"start": "start.safetensors"})
    assert extended["seed"] == 3
    assert given["rates"] == {"*.sigma": rate}
    assert given["penalties"] == ([penalty] if penalty else [])


def test_peers_get_what_the_grid_says(parts, run, monkeypatch):
    given = stopping(monkeypatch, "convpress.peers.compress")
    peer = {"method": "cp", "cost": "macs", "fraction": 0.3, "iterations": 7}
    with pytest.raises(Stop):
        run("compress_peer", {"peer": peer, "cpu": {"threads": 1}, "seed": 3})
    assert given["arguments"][1:] == ("cp", "macs", 0.3)
    assert (given["iterations"], given["seed"]) == (7, 3)


def test_factors_are_drawn_by_the_seed_with_the_options_of_the_study(parts, run, monkeypatch):
    given = stopping(monkeypatch, "convpress.sensitivity.factorise_kernel")
    monkeypatch.setattr(
        "convpress.sensitivity.ranks_of_layers", lambda *given, **options: {"conv1": options["allocate"]}
    )
    names = {"model": "resnet8", "decomposition": "cp", "compression": "2", "allocation": "-allocated"}
    params = {"options": {"slack": 0.1, "starts": 2, "iterations": 5}, "cpu": {"threads": 1}, "seed": 3}
    with pytest.raises(Stop):
        run("decompose_factorised", params, wildcards=names)
    assert given["arguments"][1:] == ("cp", True)
    assert (given["seed"], given["slack"], given["starts"], given["iterations"]) == (3, 0.1, 2, 5)
