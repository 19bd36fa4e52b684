"""Tables and sentences of the study merging, from made-up numbers whose story is known."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from convpress.measure import interleaved_latency
from convpress.report import merging_figures, merging_findings, merging_speed
from convpress.report.contents import Run
from convpress.report.merging_pairs import PAIRS, kind, pair_findings, pairs_table
from convpress.report.merging_section import MERGING
from convpress.report.merging_tables import COLUMNS, history_table, merging_table
from convpress.report.merging_turns import Stopwatch, paired_speedups
from convpress.report.tables import Result, write_table

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def entry(method="merged", rule="folded", **changes):
    """A variant as the configuration gives it to the tables."""
    return {
        **{"method": method, "rule": rule, "features": None, "recalibrate": rule != "seed", "model": None},
        **{"ratio": 0.8, "macs_divisor": None, "allocate": False, "replicate": 0, "training": {"epochs": 6}},
        **changes,
    }


ALLOCATED = {"rule": "fitted", "allocate": True}
VARIANTS = {
    "seed-80": entry(rule="seed"),
    "folded-80": entry(),
    "pca-80": entry(features="pca"),
    "allocated-80": entry(**ALLOCATED),
    "allocated-80-s1": entry(**ALLOCATED, replicate=1),
    "allocated-long": entry(**ALLOCATED, training={"epochs": 24}),
    "other-network": entry(**ALLOCATED, model="resnet56", ratio=None, macs_divisor=2.5),
}
RIGHT = {"seed-80": 60, "folded-80": 70, "pca-80": 69, "allocated-80": 74, "allocated-80-s1": 64, "allocated-long": 80}


def result(right, before=0.2):
    """The first `right` of 100 images are answered."""
    metrics = {"test_accuracy": right / 100, "test_n": 100, "ci_low": 0, "ci_high": 1, "validation_accuracy": 0.5}
    return Result(metrics | {"params": 1, "macs": 2, "bytes": 3, "accuracy_before": before}, np.arange(100) < right)


def results():
    found = {("merging", name): result(right) for name, right in RIGHT.items()}
    found |= {("merging", "other-network"): result(50)}
    found |= {("baseline", model): result(90) for model in ("resnet20", "resnet56")}
    return found | {("control", "resnet20"): result(85), ("control", "resnet56"): result(95)}


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
    files = csv("sweep", [sweep | {"validation_before": 0.4}]), csv("latency", rows)
    epochs = {**{name: one["training"]["epochs"] for name, one in VARIANTS.items()}, "resnet20": 6, "resnet56": 7}
    histories = {name: csv(name, {"epoch": range(1, last + 1)}) for name, last in epochs.items()}
    controls = [histories.pop(name) for name in ("resnet20", "resnet56")]
    history = history_table(controls, list(histories.values()), VARIANTS)
    found = merging_table(results(), *files, history, VARIANTS, model="resnet20", seed=3)
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
    assert frame.loc[("finetuned", "allocated-long"), ["epochs", "control_epochs"]].tolist() == [24, 6]
    assert frame.loc[("finetuned", "other-network"), "control_epochs"] == 7
    assert frame.loc[("baseline", "resnet56"), "epochs"] == 0


def test_half_the_time_is_twice_the_speed(tmp_path):
    frame = table(tmp_path)
    assert frame.loc[("finetuned", "folded-80"), "speedup"] == 2
    assert frame.loc[("finetuned", "other-network"), "speedup"] == 5
    assert frame.loc[("sweep", "folded-50"), "speedup"] == pytest.approx(1.6)
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


def test_a_stopwatch_keeps_the_turns_after_the_warmup():
    networks = {name: Stopwatch(nn.Conv2d(3, 2, 1)) for name in "ab"}
    found = interleaved_latency(dict(networks), (3, 4, 4), batch_size=2, repeats=3, warmup=2)
    for name, watch in networks.items():
        turns = [float(value) for value in watch.turns(3).split()]
        assert len(watch.milliseconds) == 5
        assert turns == pytest.approx(watch.milliseconds[2:], abs=1e-4)
        assert float(np.median(turns)) <= found[name].median_ms + 1e-4  # the timing itself sees the call as well
    x = torch.zeros(1, 3, 4, 4)
    assert torch.equal(networks["a"](x), networks["a"].model(x))


def test_pairs_share_network_ratio_and_training():
    pairs = pairs_table(results(), VARIANTS, "resnet20").set_index("variant")
    assert pairs["against"].to_dict() == {
        **{"folded-80": "seed-80", "pca-80": "folded-80"},
        **{"allocated-80": "folded-80", "allocated-80-s1": "folded-80"},
    }
    row = pairs.loc["folded-80"]
    assert row["delta"] == pytest.approx(0.10)
    assert row["mcnemar_p"] == pytest.approx(2 * 0.5**10)
    assert row[["test_accuracy", "against_accuracy"]].tolist() == [0.7, 0.6]


def test_replicates_stand_against_those_of_the_same_number():
    variants = {"a": entry(), "a-s1": entry(replicate=1), "b": entry(rule="seed"), "b-s1": entry("merged", "seed")}
    variants["b-s1"]["replicate"] = 1
    found = pairs_table({("merging", name): result(50) for name in variants}, dict(reversed(variants.items())), "m")
    assert dict(zip(found["variant"], found["against"], strict=True)) == {"a": "b", "a-s1": "b-s1"}
    text = pair_findings(found)[0]
    assert f"a 50.00{SPACE}% (mean of 2 seeds), b 50.00{SPACE}% (mean of 2 seeds)" in text


def test_kinds_of_variants():
    kinds = {name: kind(one) for name, one in VARIANTS.items()}
    assert list(kinds.values()) == ["seed", "folded", "pca", "allocated", "allocated", "allocated", "allocated"]
    assert kind(entry("shared")) == "shared"
    assert kind(entry("kernels", features="raw")) == "kernels"
    assert kind(entry("shared", features="pca")) == "pca"


def test_pairs_are_told_with_epochs_and_p_and_over_all_seeds():
    found = pair_findings(pairs_table(results(), VARIANTS, "resnet20"))
    assert len(found) == 3
    assert f"after 6 epochs, with 1 parameters each: folded-80 70.00{SPACE}%, seed-80 60.00{SPACE}%" in found[0]
    assert f"The difference is +10.00 points (p{SPACE}={SPACE}0.002), which tells them" in found[0]
    assert f"allocated-80 69.00{SPACE}% (mean of 2 seeds), folded-80 70.00{SPACE}% (one seed)" in found[1]
    assert f"{MINUS}1.00 points on average (+4.00 and {MINUS}6.00); 1 of 2 differences pass" in found[1]
    assert "not told apart" in found[2]


def test_a_run_without_pairs_has_a_table_without_rows(tmp_path):
    empty = pairs_table(results(), {"folded-80": VARIANTS["folded-80"]}, "resnet20")
    assert list(empty.columns) == list(PAIRS)
    write_table(empty, tmp_path / "merging_pairs.csv")
    assert pd.read_csv(tmp_path / "merging_pairs.csv").empty
    assert pair_findings(empty) == []


DENSE = {"shared-00": 0.95, "shared-10": 1.0, "shared-20": 1.05, "kernels-50": 0.9}


def study():
    """The dense network's own operations give 0.95 to 1.05, kernels put together anew 0.9.

    folded-80 and seed-80 are one network of about 2.
    """
    common = {"model": "resnet20", "validation_accuracy": 0.5, "delta_control": -0.02, "mcnemar_p": 0.001}
    common |= {"ci_low": 0.6, "ci_high": 0.9, "accuracy_before": 0.3, "control_epochs": 6, "latency_ms": 10.0}
    dense = {"variant": "resnet20", "macs": 100, "params": 50, "speedup": 1.0, "test_accuracy": 0.9}
    rows = [dense | {"stage": stage} for stage in ("baseline", "control")]
    rows += [
        {"stage": "sweep", "series": name[:-3], "variant": name, "ratio": int(name[-2:]) / 100, "macs": 100}
        | {"params": 50 - int(name[-2:]), "speedup": value, "validation_before": 0.9, "validation_recalibrated": 0.8}
        for name, value in DENSE.items()
    ]
    rows += [
        {"stage": "sweep", "series": series, "variant": f"{series}-80", "ratio": 0.8, "macs": 20, "params": 10}
        | {"speedup": value, "validation_before": 0.2, "validation_recalibrated": 0.5}
        for series, value in (("seed", 1.9), ("folded", 2.1))
    ]
    tuned = [("seed", "merged-seed-80", 10, 20, 2.2, 0.80, 0.6), ("folded", "merged-80", 11, 21, 2.05, 0.82, 0.7)]
    tuned += [("folded", "merged-80-s1", 12, 21, 2.0, 0.84, 0.6), ("folded", "merged-50", 30, 60, 1.5, 0.88, 0.9)]
    rows += [
        {"stage": "finetuned", "variant": name, "method": "merged", "rule": rule, "params": params, "macs": macs}
        | {"speedup": value, "test_accuracy": accuracy, "validation_accuracy": validation, "epochs": 3}
        for rule, name, params, macs, value, accuracy, validation in tuned
    ]
    shared = {"variant": "shared-50", "method": "shared", "params": 50, "macs": 100, "speedup": 1.03}
    rows.append(shared | {"stage": "finetuned", "test_accuracy": 0.7, "epochs": 3})
    return pd.DataFrame([common | row for row in rows]).reindex(columns=COLUMNS)


def folder_of(frame, tmp_path):
    (tmp_path / "tables").mkdir(parents=True)
    frame.to_csv(tmp_path / "tables" / "merging.csv", index=False)
    reference = tmp_path / "report" / "reference"
    reference.mkdir(parents=True)
    lines = ["merging,merged_08_accuracy,0.8,003", "merging,baseline_accuracy,0.85,003"]
    (reference / "seeds.csv").write_text("\n".join(["study,figure,value,source", *lines]))
    return Run(tmp_path, tmp_path / "report")


def test_noise_is_what_networks_of_the_dense_operations_differ_by():
    known = merging_speed.noise(study())
    assert (known.low, known.high, known.count) == (0.95, 1.05, 4)
    assert merging_speed.noise(study()[lambda f: f["macs"] != 100]) is None


def test_networks_of_one_architecture_have_one_speed():
    frame = study()
    row = frame[frame["variant"] == "merged-seed-80"].iloc[0].to_dict()
    assert str(merging_speed.architecture_speed(frame, row)) == "2.10× (1.90× to 2.20× in 3 timings)"
    assert merging_speed.told(frame, frame[frame["variant"] == "shared-50"].iloc[0].to_dict()).endswith("within noise")
    assert merging_speed.architecture_speed(frame.assign(speedup=np.nan), row) is None


def test_the_fastest_are_all_that_the_times_do_not_tell_apart():
    frame = study()
    rows, together = merging_speed.fastest(frame, merging_findings.tuned(frame))
    assert rows["variant"].tolist() == ["merged-seed-80", "merged-80", "merged-80-s1"]
    assert (together.low, together.high, together.count) == (1.9, 2.2, 5)


def test_sentences_call_no_noise_a_speed():
    text = " ".join(merging_findings.findings(study(), pd.DataFrame(columns=PAIRS)))
    assert "4 entries run exactly the multiply-accumulates of the dense network" in text
    assert "still range from 0.95× to 1.05× (median 1.02×)" in text
    assert "shared filters: 1.00× to 1.05×; at no ratio do the times tell them from the dense network" in text
    assert "shared kernels: 0.90× at ratio 0.5" in text
    assert "merged channels (folded), which run the same networks: 2.10× (1.90× to 2.20× in 3 timings)" in text
    assert "merged-80 with 2 seeds" in text


def test_the_price_of_new_statistics_alone_is_told_and_both_methods_get_them():
    text = " ".join(merging_findings.findings(study(), pd.DataFrame(columns=PAIRS)))
    assert f"without any surgery takes it from 90.0{SPACE}% to 80.0{SPACE}% of the validation images" in text
    assert "+30.0 (ratio 0.8) over the seed's merge with its statistics kept" in text
    assert "0.0 (ratio 0.8) over the seed's merge with its statistics re-estimated as well" in text


def test_gains_over_ratios_and_methods_are_told_by_their_ends():
    sweep = study()[lambda f: (f["stage"] == "sweep") & (f["ratio"] == 0.8)]
    small = sweep.assign(ratio=0.5, validation_recalibrated=[0.4, 0.7])
    text = " ".join(merging_findings.findings(pd.concat([study(), small]), pd.DataFrame(columns=PAIRS)))
    assert "+30.0 (ratio 0.8) to +50.0 (ratio 0.5) over the seed's merge with its statistics kept" in text
    words = text.replace(SPACE, " ")
    assert (
        "networks get 80.0 % of the validation images with shared kernels (90.0 % with the old statistics) to" in words
    )
    assert "to 40.0 % of the validation images with merged channels (seed)" in words


def test_networks_of_one_verdict_share_a_sentence_with_the_epochs_of_both():
    frame = study()
    tuned = frame["stage"] == "finetuned"
    frame.loc[tuned, "delta_control"] = [-0.09, -0.08, -0.07, 0.03, -0.02]
    frame.loc[tuned, "mcnemar_p"] = [0.01, 0.01, 0.01, 0.01, 0.4]
    frame.loc[frame["variant"] == "merged-80", "epochs"] = 5
    *_, text = merging_findings.findings(frame, pd.DataFrame(columns=PAIRS))
    text = text.replace(SPACE, " ")
    assert text.startswith("3 of 5 fine-tuned networks: each is worse than its control, ")
    assert (
        f"{MINUS}7.00 points (merged-80-s1, 84.00 %, from 30.00 % before training) to {MINUS}9.00 points "
        "(merged-seed-80, 80.00 %, from 30.00 % before training), after 3 to 5 epochs; the controls trained 6 epochs."
    ) in text
    assert "1 of 5 fine-tuned networks: is better than its control, +3.00 points (merged-50" in text
    assert f"1 of 5 fine-tuned networks: cannot be told apart from its control, {MINUS}2.00 points (shared-50" in text


def test_the_summary_names_the_best_and_all_of_the_fastest():
    best, fastest = merging_findings.summary(study())
    assert best.startswith(f"Among merged channels merged-50 is best on validation images: 88.00{SPACE}%")
    assert "speed against dense: 1.50×. After 3 epochs" in best
    assert "are merged-seed-80 and merged-80, at 1.90× to 2.20× the speed of dense, too close" in fastest
    assert "Best of them on validation images: merged-80, 82.00" in fastest
    assert [card[0] for card in merging_findings.cards(study())] == ["merged-50", "merged-80"]


def test_ours_is_the_mean_of_all_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr("convpress.report.merging_section.OURS", {"merged-seed-80": "merged-80"})
    rows = {row[0]: row for row in MERGING.build(folder_of(study(), tmp_path)).seed.rows}
    found = rows["Merged channels, ratio 0.8, accuracy"]
    assert found[2:4] == [f"80.00{SPACE}%", f"83.00{SPACE}% (mean of 2 seeds)"]
    assert rows["Baseline, accuracy"][2:4] == [f"90.00{SPACE}%", "\N{EN DASH}"]


@pytest.mark.parametrize("gone", ["speedup", "validation_accuracy", "epochs", "all"])
def test_missing_numbers_are_dashes(gone, tmp_path):
    names = ("stage", "series", "model", "variant", "method", "rule", "ratio")
    columns = [name for name in COLUMNS if name not in names] if gone == "all" else [gone]
    frame = study().assign(**dict.fromkeys(columns, np.nan))
    content = MERGING.build(folder_of(frame, tmp_path))
    parts = [*content.summary, *content.findings, *content.caveats, *(part for card in content.cards for part in card)]
    assert not {"nan", "none"} & set(re.findall(r"\w+", " ".join(parts).lower()))
    assert len(content.tables) == 2


def test_larger_rates_than_the_controls_are_a_caveat(tmp_path):
    run = folder_of(study(), tmp_path)
    assert not any("learning rate" in sentence for sentence in merging_findings.caveats(run, study()))
    history = [("control", 0.01), ("control", 0.004), ("finetuned", 0.02), ("finetuned", 0.05)]
    pd.DataFrame(history, columns=["stage", "lr"]).to_csv(run.folder / "tables" / "merging_history.csv", index=False)
    caveats = merging_findings.caveats(Run(run.folder, run.report_folder), study())
    assert any("up to 5.00× the control's learning rate" in sentence for sentence in caveats)


def test_the_page_shows_pairs_and_quartiles_where_there_are_some(tmp_path):
    run = folder_of(study().assign(q1_speedup=0.9, q3_speedup=1.1), tmp_path)
    pairs_table(results(), VARIANTS, "resnet20").to_csv(run.folder / "tables" / "merging_pairs.csv", index=False)
    content = MERGING.build(run)
    assert [view.name for view in content.tables] == ["merging", "merging_sweep", "merging_pairs"]
    assert content.tables[0].rows[0][-1] == "1.00× (0.90× to 1.10×)"
    assert content.findings[0].startswith("Aligned members")


def test_the_picture_shows_accuracies_before_and_after(tmp_path):
    lines = []
    for before in (0.3, np.nan):
        merging_figures.draw_accuracy(study().assign(accuracy_before=before), tmp_path / "a.svg")
        text = (tmp_path / "a.svg").read_text()
        assert "open before fine-tuning" in text
        lines.append(text.count("<use "))
    # An open mark for each of the five variants, of both methods.
    assert lines[0] - lines[1] == 5
