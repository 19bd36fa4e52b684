"""The tables of decompositions and of stages."""

import json

import numpy as np
import pandas as pd
import pytest

from convpress.report.kernel_search_tables import cp_error_table, stages_table
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
