"""The study sensitivity in the quickstart: its tables keep their promises."""

import pandas as pd
import pytest

pytestmark = pytest.mark.workflow

COLUMNS = "layer_set decomposition treatment rank relative_error sensitivity accuracy_before test_accuracy params"


def table(project, name="sensitivity"):
    return pd.read_csv(project.folder / "results" / "quickstart" / "tables" / f"{name}.csv")


def test_the_contract_holds_for_every_family_and_treatment(quickstart):
    frame = table(quickstart)
    assert set(COLUMNS.split()) <= set(frame.columns)
    assert set(frame["decomposition"]) == {"cp", "tucker", "tensor_chain"}
    assert set(frame["treatment"]) == {"plain", "corrected", "regularised", "both"}
    assert frame["layer_compression"].between(2, 2.5).all()


def test_corrected_starts_are_less_sensitive_within_the_slack(quickstart):
    frame = table(quickstart).set_index(["decomposition", "treatment"])
    plain, both = frame.loc[("cp", "plain")], frame.loc[("cp", "both")]
    assert both["sensitivity"] < plain["sensitivity"]
    assert plain["relative_error"] < both["relative_error"] <= 1.02 * plain["relative_error"] + 1e-9
    layers = table(quickstart, "sensitivity_layers").query("rank != 'dense'")
    assert (layers["corrected_sensitivity"] < layers["sensitivity"]).all()


def test_allocated_ranks_are_those_of_one_network_together(quickstart):
    row = table(quickstart).set_index("variant").loc["resnet8-tucker-2x-corrected-allocated"]
    assert row["rank"] == "by layer"
    assert pd.isna(row["largest_lr"])
    layers = table(quickstart, "sensitivity_layers").query("allocated")
    assert row["layer_compression"] == pytest.approx(layers["dense_params"].sum() / layers["params"].sum())
    assert (layers["dense_params"] / layers["params"]).max() > 1.2 * row["layer_compression"]


def test_every_variant_beats_its_own_start(quickstart):
    frame = table(quickstart)
    assert (frame["test_accuracy"] > frame["accuracy_before"]).all()
    assert frame["delta_plain"].notna().equals(frame["variant"] == "resnet8-cp-2x-both")


def test_probes_say_what_was_tried(quickstart):
    noise, rates = table(quickstart, "sensitivity_noise"), table(quickstart, "sensitivity_rates")
    assert set(noise["start"]) == set(rates["start"]) == {"plain", "corrected"}
    assert noise["accuracy"].between(0, 1).all()
    for _, tried in rates.groupby("start"):
        assert tried["rate"].is_monotonic_increasing
        assert not tried["diverged"].iloc[:-1].any()
    slacks = table(quickstart, "sensitivity_slacks")
    assert (slacks["error_ratio"] <= 1 + slacks["slack"] + 1e-6).all()
    assert slacks.sort_values("slack")["times_less"].is_monotonic_increasing


def test_the_page_has_the_section(quickstart):
    page = (quickstart.folder / "results" / "quickstart" / "report.html").read_text()
    assert "Sensitivity of factorised layers" in page
    assert "figures/sensitivity_" not in page
