"""The study merging in the quickstart: its tables agree with each other and with what the methods promise."""

import pandas as pd
import pytest

from convpress.checkpoints import load
from convpress.measure import count_macs, count_parameters
from convpress.merging.channels import kept
from convpress.merging.networks import merge_network
from convpress.residual_blocks import inner, residual_blocks

pytestmark = pytest.mark.workflow

CONTRACT = "method ratio params bytes macs latency_ms speedup accuracy_before test_accuracy"


@pytest.fixture
def merging(quickstart):
    return pd.read_csv(quickstart.folder / "results" / "quickstart" / "tables" / "merging.csv")


def test_the_table_keeps_the_contract(merging):
    assert set(CONTRACT.split()) <= set(merging.columns)
    sweep, tuned = (merging[merging["stage"] == stage] for stage in ("sweep", "finetuned"))
    assert sweep["test_accuracy"].isna().all()
    assert sweep["validation_recalibrated"].between(0, 1).all()
    assert tuned["test_accuracy"].between(0, 1).all()
    assert (merging["latency_ms"] > 0).all()


def test_ratio_zero_changes_no_answer_and_more_costs_less(merging):
    sweep = merging[merging["stage"] == "sweep"].sort_values("ratio")
    base = merging[merging["stage"] == "baseline"].iloc[0]
    whole = sweep[(sweep["ratio"] == 0) & sweep["series"].isin(["shared", "seed", "folded"])]
    assert (whole["params"] == base["params"]).all()
    assert (whole["macs"] == base["macs"]).all()
    # A channel more or less in the last bits may turn one of the 200 images.
    assert (whole["validation_before"] - base["validation_accuracy"]).abs().max() <= 0.005
    for _, line in sweep.groupby("series"):
        assert line["params"].is_monotonic_decreasing
    merged = sweep[sweep["series"] == "folded"]
    assert merged["macs"].is_monotonic_decreasing


def test_kernels_and_filters_are_compared_at_equal_parameters(merging):
    sweep = merging[(merging["stage"] == "sweep") & (merging["ratio"] >= 0.3)].set_index(["series", "ratio"])
    shared, kernels = (sweep.loc[name, "params"] for name in ("shared", "kernels"))
    assert shared.equals(kernels)


def equal_ratios(baseline, ratio):
    """Parameters and operations of the network in the file `baseline` with all blocks merged at one ratio."""
    network = load(baseline)
    counts = {name: kept(inner(block)[0].out_channels, ratio) for name, block in residual_blocks(network).items()}
    merge_network(network, counts)
    return count_parameters(network), count_macs(network, (3, 32, 32))


def test_the_allocation_spends_no_more_than_equal_ratios(merging, quickstart):
    results = quickstart.folder / "results" / "quickstart"
    tuned = merging[merging["variant"] == "merged-allocated-80"].iloc[0]
    params, macs = equal_ratios(results / "models" / "baseline" / f"{tuned['model']}.safetensors", tuned["ratio"])
    assert tuned["params"] <= params
    assert tuned["macs"] <= macs
    channels = pd.read_csv(results / "tables" / "merging_channels.csv")
    assert (channels["channels"] >= 1).all()
    assert (channels["channels"] <= channels["before"]).all()


def test_speedups_stand_between_their_quartiles(merging):
    assert (merging["q1_speedup"] <= merging["speedup"]).all()
    assert (merging["speedup"] <= merging["q3_speedup"]).all()
    assert (merging.loc[merging["stage"] == "baseline", ["q1_speedup", "speedup", "q3_speedup"]] == 1).all(axis=None)


def test_without_two_variants_that_differ_in_one_thing_there_are_no_pairs(quickstart):
    tables = quickstart.folder / "results" / "quickstart" / "tables"
    pairs = pd.read_csv(tables / "merging_pairs.csv")
    assert pairs.empty
    assert {"variant", "against", "delta", "mcnemar_p"} <= set(pairs.columns)
    assert (tables / "merging_pairs.md").is_file()


def test_a_ratio_of_one_is_refused(project):
    (project.folder / "overlay.yaml").write_text("merging: {variants: {shared-50: {ratio: 1.0}}}")
    result = project.snakemake("-n", overlay="overlay.yaml")
    assert result.returncode == 1
    assert "merging.variants.shared-50.ratio" in result.stderr
    assert "Traceback" not in result.stderr
