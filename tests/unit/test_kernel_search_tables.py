"""The table of stages: what each network's whole chain of trainings took."""

import pandas as pd

from convpress.report.kernel_search_tables import total_epochs


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
