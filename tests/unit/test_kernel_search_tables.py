"""The table of stages: what each network's whole chain of trainings took."""

import json

import pandas as pd

from convpress.report.kernel_search_tables import cp_error_table, total_epochs


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


def test_a_branch_starts_from_the_dense_network_and_the_others_from_cp_layers():
    rows = [
        ("control", "", 6),
        ("finetune_cp", "corrected", 3),
        ("search_kernels", "preserving", 1),
        ("search_kernels", "branch", 4),
        ("finetune_recomposed", "preserving", 2),
        ("finetune_recomposed", "branch", 2),
    ]
    frame = pd.DataFrame(rows, columns=["stage", "variant", "epochs"])
    assert total_epochs(frame, {"branch"}) == [6, 3, 4, 4, 6, 6]
    assert total_epochs(frame, {"preserving", "branch"}) == [6, 3, 1, 4, 3, 6]
