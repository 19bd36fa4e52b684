"""The study low_rank on the quickstart: the contract of its table and the story it tells."""

import pandas as pd
import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.workflow

COLUMNS = "row layers bases decomposed l2_epochs ce_epochs test_accuracy macs params cpu_ms cuda_ms"


@pytest.fixture
def results(quickstart):
    return quickstart.folder / "results" / "quickstart"


@pytest.fixture
def rows(results):
    frame = pd.read_csv(results / "tables" / "low_rank.csv", dtype={"row": str})
    return frame.set_index("row")


def test_the_table_keeps_the_contract(rows):
    assert set(COLUMNS.split()) <= {"row", *rows.columns}
    assert list(rows.index) == ["1", "2", "3", "4", "6", "10", "control"]
    assert (rows["cpu_ms"] > 0).all()
    assert (rows["cpu_bf16_ms"] > 0).all()


def test_expansions_save_operations_and_training_mends(rows):
    original = rows.loc["1"]
    assert (rows.loc[["6", "10"], "macs"] < original["macs"]).all()
    assert rows.loc["6", "macs"] < rows.loc["2", "macs"]
    assert rows.loc["3", "accuracy_before"] == rows.loc["2", "test_accuracy"]
    assert rows.loc["4", "accuracy_before"] == rows.loc["2", "test_accuracy"]
    assert rows.loc["3", "l2_distance"] < rows.loc["2", "l2_distance"]
    assert rows.loc["control", "ce_epochs"] == rows.loc["4", "ce_epochs"] + rows.loc["4", "l2_epochs"]


def test_matching_outputs_changes_only_the_replaced_layers(results):
    models = results / "models" / "low_rank"
    before, after = (load_file(models / f"{name}.safetensors") for name in ("replaced", "replaced-l2"))
    inside = ("features.3.", "features.6.", "features.8.", "features.10.")
    changed = {name for name in before if not name.endswith("draws") and not before[name].equal(after[name])}
    assert changed
    assert all(name.startswith(inside) for name in changed)
    further = load_file(models / "replaced-l2-ce.safetensors")
    assert not further["classifier.1.weight"].equal(after["classifier.1.weight"])


def test_the_closed_form_is_never_above_the_alternating_method(results):
    bases = pd.read_csv(results / "tables" / "low_rank_bases.csv")
    errors = bases.pivot_table(index="layer", columns="method", values="relative_error", aggfunc="min")
    assert (errors["svd_shared"] <= errors["alternating"] + 1e-9).all()
    assert (errors["svd_per_channel"] <= errors["svd_shared"] + 1e-9).all()


def test_the_page_has_the_study(results):
    page = (results / "report.html").read_text()
    assert 'id="low_rank"' in page
    for name in ("tradeoff", "bases", "filters", "curves"):
        assert f'id="figure-low_rank_{name}"' in page
