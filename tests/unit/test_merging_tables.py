"""Tables, speeds and pairs of the study merging, from made-up numbers whose story is known."""

import made_merging
import pandas as pd
import pytest
from made_merging import MINUS, SPACE, TIMES, VARIANTS, entry, result, results
from made_model import small_model

from convpress.checkpoints import save_model
from convpress.merging.networks import merge_network, share_kernels_network, share_network
from convpress.report.merging.columns import COLUMNS
from convpress.report.merging.pairs import PAIRS, WAYS, kind, pair_findings, pairs_table
from convpress.report.merging.tables import channels_table, history_table, merging_table
from convpress.report.merging.turns import paired_speedups, turns_cell
from convpress.report.tables import write_table
from convpress.statistics import wilson


def table(folder, turns=None):
    """merging.csv; `turns` are the milliseconds of the dense network and of folded-80, turn by turn."""

    def csv(name, rows):
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
        return str(folder / f"{name}.csv")

    medians = {("baseline", "resnet20"): 80.0, ("baseline", "resnet56"): 200.0, ("sweep", "folded-50"): 50.0}
    medians |= {("variant", name): 40.0 for name in VARIANTS}
    facts = {"q1_ms": 1.0, "q3_ms": 99.0, "batch_size": 64, "threads": 1, "dtype": "float32", "layout": "channels_last"}
    rows = [{"group": group, "name": name, "median_ms": ms} | facts for (group, name), ms in medians.items()]
    if turns:
        dense, own = (" ".join(map(str, values)) for values in turns)
        rows = [row | {"turns_ms": own if row["name"] == "folded-80" else dense} for row in rows]
    sweep = {"series": "folded", "point": "folded-50", "ratio": 0.5, "method": "merged", "rule": "folded", "params": 9}
    files = (
        [csv("sweep", [sweep | {"validation_before": 0.4, "validation_recalibrated": 0.5, "validation_n": 100}])],
        csv("latency", rows),
    )
    epochs = {**{name: one["training"]["epochs"] for name, one in VARIANTS.items()}, "resnet20": 6, "resnet56": 7}
    histories = {name: csv(name, {"epoch": range(1, last + 1)}) for name, last in epochs.items()}
    controls = [histories.pop(name) for name in ("resnet20", "resnet56")]
    known = {name: {name: epochs[name]} for name in ("resnet20", "resnet56")}
    known["resnet20"]["resnet20-20e"] = 20
    further = {("control", "resnet20-20e"): results()["baseline", "resnet20"]}
    history = history_table(controls, list(histories.values()), VARIANTS, known)
    found = merging_table(results() | further, *files, history, VARIANTS, model="resnet20", seed=3, controls=known)
    return found.set_index(["stage", "variant"])


def test_differences_are_to_the_control_of_the_same_network(tmp_path):
    frame = table(tmp_path)
    assert frame.loc[("finetuned", "folded-80"), "delta_control"] == pytest.approx(0.70 - 0.85)
    assert frame.loc[("finetuned", "folded-80"), "mcnemar_p"] == pytest.approx(2 * 0.5**15)
    assert frame.loc[("finetuned", "other-network"), "delta_control"] == pytest.approx(0.50 - 0.95)
    assert frame.loc[("baseline", "resnet20"), "delta_control"] == pytest.approx(0.05)
    assert frame.loc[("control", "resnet20"), "delta_control"] == 0


def test_rows_have_their_own_epochs_and_seeds(tmp_path):
    frame = table(tmp_path)
    row = frame.loc[("finetuned", "allocated-80-s1")]
    assert row[["epochs", "control_epochs", "seed"]].tolist() == [6, 6, 4]
    assert frame.loc[("finetuned", "allocated-long"), ["epochs", "control_epochs"]].tolist() == [24, 20]
    assert frame.loc["control"].index.tolist() == ["resnet20", "resnet56"]
    assert frame.loc[("finetuned", "other-network"), "control_epochs"] == 7
    assert frame.loc[("baseline", "resnet56"), "epochs"] == 0


def test_half_the_time_is_twice_the_speed(tmp_path):
    frame = table(tmp_path)
    assert frame.loc[("finetuned", "folded-80"), "speedup"] == 2
    assert frame.loc[("finetuned", "other-network"), "speedup"] == 5
    assert frame.loc[("sweep", "folded-50"), "speedup"] == pytest.approx(1.6)
    assert frame.loc[("sweep", "folded-50"), "validation_before_ci_low"] == pytest.approx(wilson(40, 100).ci_low)
    assert frame.loc[("sweep", "folded-50"), "validation_recalibrated_ci_high"] == pytest.approx(
        wilson(50, 100).ci_high
    )
    assert frame.loc[("sweep", "folded-50"), "seconds_10k"] == pytest.approx(50 / 1000 * 10_000 / 64)
    assert list(frame.columns) == [name for name in COLUMNS if name not in ("stage", "variant")]


def test_speedups_are_paired_where_turns_were_kept(tmp_path):
    """Every second turn of the machine is slow: the ratios stay what they are."""
    frame = table(tmp_path, turns=([10, 30, 10, 30, 10], [5, 15, 4, 15, 5]))
    row = frame.loc[("finetuned", "folded-80"), ["speedup", "q1_speedup", "q3_speedup"]]
    assert row.tolist() == [2, 2, 2]
    assert frame.loc[("baseline", "resnet20"), "q3_speedup"] == 1


def test_quartiles_of_paired_speedups():
    assert paired_speedups("10 10 10 10 10", "10 5 2.5 2 1") == {"speedup": 4, "q1_speedup": 2, "q3_speedup": 5}
    assert paired_speedups(8.0, 4.0)["speedup"] == 2


def test_a_cell_holds_the_times_of_all_turns():
    dense, own = [4.0, 6.0, 5.0], [2.0, 2.0, 2.5]
    found = paired_speedups(turns_cell(dense), turns_cell(own))
    assert found == pytest.approx({"speedup": 2.0, "q1_speedup": 2.0, "q3_speedup": 2.5})


def test_pairs_share_network_ratio_and_training():
    pairs = pairs_table(results(), VARIANTS, "resnet20", TIMES).set_index("variant")
    assert pairs["against"].to_dict() == {
        **{"folded-80": "seed-80", "pca-80": "folded-80"},
        **{"allocated-80": "folded-80", "allocated-80-s1": "folded-80"},
    }
    row = pairs.loc["folded-80"]
    assert row["delta"] == pytest.approx(0.10)
    assert row["mcnemar_p"] == pytest.approx(2 * 0.5**10)
    assert row[["test_accuracy", "against_accuracy"]].tolist() == [0.7, 0.6]
    assert row[["ci_low", "ci_high", "against_ci_low", "against_ci_high"]].tolist() == [0, 1, 0, 1]
    before = [wilson(20, 100).ci_low, wilson(20, 100).ci_high]
    assert (
        row[["before_ci_low", "before_ci_high", "against_before_ci_low", "against_before_ci_high"]].tolist()
        == before * 2
    )
    assert row[["latency_ms", "against_latency_ms"]].tolist() == [7, 8]
    assert pairs.loc["pca-80", "against_latency_ms"] == 7
    assert pd.isna(pairs.loc["pca-80", "latency_ms"])


def test_a_pair_differs_before_training_by_the_first_less_the_second():
    found = {("merging", "folded-80"): result(70, before=0.5), ("merging", "seed-80"): result(60, before=0.2)}
    variants = {name: VARIANTS[name] for _, name in found}
    (gap,) = pairs_table(found, variants, "resnet20", TIMES)["delta_before"]
    assert gap == pytest.approx(0.3)


def test_replicates_stand_against_those_of_the_same_number():
    variants = {"a": entry(), "a-s1": entry(replicate=1), "b": entry(rule="seed"), "b-s1": entry("merged", "seed")}
    variants["b-s1"]["replicate"] = 1
    found = pairs_table(
        {("merging", name): result(50) for name in variants}, dict(reversed(variants.items())), "m", TIMES
    )
    assert dict(zip(found["variant"], found["against"], strict=True)) == {"a": "b", "a-s1": "b-s1"}
    text = pair_findings(found)[0]
    assert f"a 50.00{SPACE}% (mean of 2 seeds), b 50.00{SPACE}% (mean of 2 seeds)" in text


def test_kinds_of_variants():
    kinds = {name: kind(one) for name, one in VARIANTS.items()}
    assert list(kinds.values()) == ["seed", "folded", "pca", "allocated", "allocated", "allocated", "allocated"]
    assert kind(entry("shared")) == "shared"
    assert kind(entry("kernels", features="raw")) == "kernels"
    assert kind(entry("shared", features="pca")) == "pca"
    odd = [
        entry(features="pca") | {"rule": "fitted", "allocate": True},
        entry() | {"allocate": True},
        entry() | {"recalibrate": False},
        entry(rule="seed") | {"recalibrate": True},
    ]
    assert not {kind(one) for one in odd} & set(WAYS), "no pair differs in more than its question says"


def test_pairs_are_told_with_epochs_and_p_and_over_all_seeds():
    found = pair_findings(pairs_table(results(), VARIANTS, "resnet20", TIMES))
    assert len(found) == 3
    first, seeds, pca = (text.replace(SPACE, " ") for text in found)
    assert first == (
        "At ratio 0.8, after 6 epochs, folding is better than the seed's way (+10.00 points, p = 0.002), though it was "
        "level before training: folded-80 70.00 %, seed-80 60.00 %, with 1 parameters each."
    )
    assert f"1.00 points to folding in the mean of 2 seeds (+4.00 and {MINUS}6.00; 1 of 2 told apart by" in seeds
    assert "allocated-80 69.00 % (mean of 2 seeds), folded-80 70.00 % (one seed)" in seeds
    assert f"clustering principal components cannot be told apart from folding ({MINUS}1.00 points, p = 1.00)" in pca


def test_a_verdict_says_what_training_made_of_the_lead_before_it():
    frame = pairs_table(results(), VARIANTS, "resnet20", TIMES)[:1].assign(delta_before=0.1)
    assert "; it was 10.00 points ahead before training" in pair_findings(frame)[0]
    assert ", though it was 10.00 points ahead" in pair_findings(frame.assign(mcnemar_p=0.4))[0]
    assert ", though it was 10.00 points behind" in pair_findings(frame.assign(delta_before=-0.1))[0]
    assert "before training" not in pair_findings(frame.assign(delta_before=None))[0]
    alike = pd.concat([frame, frame]).assign(mcnemar_p=0.4)
    assert "cannot be told apart from the seed's way with any of 2 seeds (+10.00 and" in pair_findings(alike)[0]


def test_a_run_without_pairs_has_a_table_without_rows(tmp_path):
    empty = pairs_table(results(), {"folded-80": VARIANTS["folded-80"]}, "resnet20", TIMES)
    assert list(empty.columns) == list(PAIRS)
    write_table(empty, tmp_path / "merging_pairs.csv")
    assert pd.read_csv(tmp_path / "merging_pairs.csv").empty
    assert pair_findings(empty) == []


def test_only_merged_channels_have_a_rule(tmp_path, monkeypatch):
    monkeypatch.setitem(VARIANTS, "shared-80", entry(method="shared"))
    monkeypatch.setitem(made_merging.RIGHT, "shared-80", 65)
    rules = table(tmp_path)["rule"]
    assert rules["finetuned", "folded-80"] == "folded"
    assert pd.isna(rules["finetuned", "shared-80"])


def test_only_merged_channels_are_counted(tmp_path):
    merged, shared, kernels = (small_model() for _ in range(3))
    merge_network(merged, {"layer2.0": 3})
    share_network(shared, 0.5)
    share_kernels_network(kernels, 0.5)
    paths = []
    for name, model in (("merged", merged), ("shared", shared), ("kernels", kernels)):
        paths.append(str(tmp_path / f"{name}.start.safetensors"))
        save_model(model, paths[-1])
    frame = channels_table(paths).set_index(["variant", "block"])
    assert set(frame.index.get_level_values("variant")) == {"merged"}
    assert frame.loc[("merged", "layer2.0")].tolist() == [3, 8]
