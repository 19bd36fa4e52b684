"""The tables of decompositions and of stages."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from made_model import small_model

from convpress.checkpoints import save_model
from convpress.config.kernel_search import RankConfig, SearchConfig
from convpress.kernel_search import extend, searched_layers
from convpress.report.kernel_search import tables as kernel_search_tables
from convpress.report.kernel_search.tables import cp_error_table, kernels_table, masks_table, sizes_table, stages_table
from convpress.report.tables import ACCURACY_COLUMNS, Result


def test_each_layer_stands_beside_its_own_peer(tmp_path):
    def written(folder, rows):
        paths = [tmp_path / f"{folder}-{row['layer']}.json" for row in rows]
        for path, row in zip(paths, rows, strict=True):
            path.write_text(json.dumps(row))
        return [str(path) for path in paths]

    ours = written(
        "ours", [{"layer": name, "relative_error": e, "provenance": {}} for name, e in (("b", 0.2), ("a", 0.1))]
    )
    theirs = written(
        "theirs", [{"layer": name, "parafac_error": e, "provenance": {}} for name, e in (("a", 0.3), ("b", 0.4))]
    )
    rows = cp_error_table(ours, theirs).to_dict("list")
    assert rows == {"layer": ["a", "b"], "relative_error": [0.1, 0.2], "parafac_error": [0.3, 0.4]}


def result(study, variant, right, validation=0.5):
    correct = np.arange(100) < right
    shared = dict.fromkeys((*ACCURACY_COLUMNS, "accuracy_before"), 0.5)
    own = {"test_accuracy": right / 100, "test_n": 100, "validation_accuracy": validation, "validation_n": 100}
    return Result(shared | own | {"study": study, "variant": variant}, correct)


def test_each_stage_has_the_epochs_of_its_chain_and_its_time_beside_the_baseline(tmp_path):
    found = {
        ("baseline", "resnet20"): result("baseline", "resnet20", 90),
        ("control", "resnet20"): result("control", "resnet20", 92),
        ("control", "resnet20-1e"): result("control", "resnet20-1e", 91),
        ("kernel_search", "finetune_cp-plain"): result("kernel_search", "finetune_cp-plain", 80, 0.9),
        ("kernel_search", "finetune_recomposed-branch"): result("kernel_search", "finetune_recomposed-branch", 85),
        ("kernel_search", "finetune_recomposed-seed"): result("kernel_search", "finetune_recomposed-seed", 84, 0.6),
    }
    names = [f"{study}/{name}" for study, name in found if study != "control"]
    times = pd.DataFrame({"name": names, "median_ms": [8.0, 2.0, 16.0, 4.0]}).assign(
        q1_ms=1.0, q3_ms=20.0, dtype="float32", batch_size=64, threads=1, layout="channels_last", device="cpu"
    )
    times.to_csv(tmp_path / "latency.csv", index=False)
    epochs = {"control": 6, "finetune_cp-plain": 1, "finetune_recomposed-branch": 2, "finetune_recomposed-seed": 2}
    spent = {"finetune_cp-plain": 1, "finetune_recomposed-branch": 5, "finetune_recomposed-seed": 4}
    controls = {"resnet20": {"resnet20": 6, "resnet20-1e": 1}}
    table = stages_table(found, str(tmp_path / "latency.csv"), epochs, spent, {}, ["conv1"], controls)
    assert table["stage"].tolist() == ["baseline", "control", "finetune_cp", *["finetune_recomposed"] * 2]
    assert table["epochs"].tolist() == [0, 6, 1, 2, 2]
    assert table["total_epochs"].tolist() == [0, 6, 1, 5, 4]
    assert table["control_epochs"].tolist()[2:] == [1, 6, 6]
    assert table["delta_control"].tolist()[2:] == pytest.approx([-0.11, -0.07, -0.08])
    assert table["speedup"].tolist() == [1, 1, 4, 0.5, 2]
    assert table["selected"].tolist() == [False, False, False, False, True], "of the last stage alone"


SEARCHED = ["layer1.0.conv1", "layer2.0.conv2"]


def searched(path, **sigmas):
    """A network with branches beside its dense kernels, saved."""
    model = small_model()
    search = SearchConfig(mask="branch", extent=9, sigma_lr=0.1, training={"epochs": 1, "lr": 0.1})
    extend(model, SEARCHED, search, cp=RankConfig(rank=4), seed=0)
    with torch.no_grad():
        for (_, module), sigma in zip(searched_layers(model), sigmas.values(), strict=True):
            module.sigma.fill_(sigma)
    save_model(model, path)
    return [(layer, module.size()) for layer, module in searched_layers(model)]


def test_masks_have_their_peak_at_the_middle_tap(tmp_path):
    searched(tmp_path / "a.safetensors", one=-1.5, other=-1.5)
    table = masks_table({"a": str(tmp_path / "a.safetensors")})
    for layer, part in table.groupby("layer"):
        assert layer in SEARCHED
        assert part["tap"].tolist() == list(range(-4, 5))
        assert part["mask"].max() == 1
        assert part.loc[part["mask"].idxmax(), "tap"] == 0


def test_a_recomposed_branch_is_at_least_as_large_as_its_dense_kernel(tmp_path):
    path = tmp_path / "a.safetensors"
    (_, small), (_, large) = searched(path, one=-20.0, other=20.0)
    assert small < 3 < large
    assert kernel_search_tables._sizes(str(path), SEARCHED) == f"3 {large}"
    assert kernel_search_tables._sizes(str(path), SEARCHED[::-1]) == f"{large} 3"


def test_kernels_are_the_strongest_and_the_root_mean_square(tmp_path):
    model = small_model()
    save_model(model, tmp_path / "net.safetensors")
    path = str(tmp_path / "net.safetensors")
    table = kernels_table(path, {"v": path}, SEARCHED[:1])
    assert set(zip(table["variant"], table["when"], strict=True)) == {("", "before"), ("v", "after")}
    kernels = model.get_submodule(SEARCHED[0]).weight.detach().flatten(0, 1)
    shown = table[table["when"] == "before"].set_index("filter")["value"]
    assert shown.loc[-1].tolist() == pytest.approx(kernels.square().mean(0).sqrt().flatten().tolist())
    strongest = kernels[kernels.flatten(1).norm(dim=1).argmax()]
    assert shown.loc[0].tolist() == pytest.approx(strongest.flatten().tolist())


def test_sizes_are_those_of_each_layer_and_epoch(tmp_path):
    path = tmp_path / "search_kernels-seed.csv"
    rows = {"epoch": [0, 1], "sigma/a": [-1.5, -1.0], "size/a": [3, 5], "sigma/b.c": [0.5, 0.0], "size/b.c": [9, 7]}
    pd.DataFrame(rows).to_csv(path, index=False)
    table = sizes_table([str(path)]).set_index(["variant", "layer", "epoch"])
    assert table.loc[("seed", "a", 1)].tolist() == [-1.0, 5]
    assert table.loc[("seed", "b.c", 0)].tolist() == [0.5, 9]
