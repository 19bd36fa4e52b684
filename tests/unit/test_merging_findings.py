"""Sentences, the section and the picture of the study merging, from made-up numbers whose story is known."""

import re

import numpy as np
import pandas as pd
import pytest
from made_headlines import write_headlines
from made_merging import MINUS, SPACE, TIMES, VARIANTS, results

from convpress.report.contents import Run
from convpress.report.merging import figures as merging_figures
from convpress.report.merging import findings as merging_findings
from convpress.report.merging import speed as merging_speed
from convpress.report.merging.columns import COLUMNS
from convpress.report.merging.pairs import PAIRS, pairs_table
from convpress.report.merging.section import MERGING

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
        {"stage": "sweep", "series": name[:-3], "method": name[:-3], "variant": name, "ratio": int(name[-2:]) / 100}
        | {"macs": 100, "params": 50 - int(name[-2:]), "speedup": value}
        | {"validation_before": 0.9, "validation_recalibrated": 0.8}
        for name, value in DENSE.items()
    ]
    rows += [
        {"stage": "sweep", "series": series, "variant": f"{series}-80", "ratio": 0.8, "macs": 20, "params": 10}
        | {"method": "merged", "speedup": value, "validation_before": 0.2, "validation_recalibrated": 0.5}
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
    write_headlines(reference)
    return Run(tmp_path, tmp_path / "report")


def test_noise_is_what_networks_of_the_dense_operations_differ_by():
    known = merging_speed.noise(study())
    assert (known.low, known.high, known.count) == (0.95, 1.05, 4)
    assert merging_speed.noise(study()[lambda f: f["macs"] != 100]) is None


def test_fine_tuned_shared_kernels_are_no_noise_either():
    """Their series is empty: only entries of the sweep have one."""
    tuned = {"stage": "finetuned", "variant": "kernels-50", "series": "", "method": "kernels", "speedup": 0.8}
    frame = study().query("variant == 'kernels-50'").assign(**tuned)
    known = merging_speed.noise(pd.concat([study(), frame]))
    assert (known.low, known.high, known.count) == (0.95, 1.05, 4)


def test_shared_kernels_and_shared_filters_of_one_size_have_speeds_of_their_own():
    frame = pd.concat([study(), study().query("variant == 'kernels-50'").assign(params=40)])
    row = frame[frame["variant"] == "shared-10"].iloc[0].to_dict()
    assert str(merging_speed.architecture_speed(frame, row)) == "1.00×"


def test_timings_that_agree_have_no_range():
    assert str(merging_speed.Spread(0.951, 0.951, 0.952, 3)) == "0.95× (3 timings)"


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
    assert "4 networks run exactly the operations of the dense one" in text
    assert "range from 0.95× to 1.05× (median 1.02×)" in text
    assert "with shared filters: 1.00× to 1.05×; at no ratio do the times tell them from the dense network" in text
    assert "with shared kernels: 0.90× at ratio 0.5" in text
    assert "merged channels (folded), which run the same networks: 2.10× (1.90× to 2.20× in 3 timings)" in text
    assert (
        "The fastest trained networks of resnet20 are merged-seed-80, merged-80 and merged-80-s1, at 1.90× to" in text
    )
    assert "merged-80 with 2 seeds" in text


def test_the_price_of_new_statistics_alone_is_told_and_both_methods_get_them():
    text = " ".join(merging_findings.findings(study(), pd.DataFrame(columns=PAIRS)))
    assert f"without any surgery takes it from 90.0{SPACE}% to 80.0{SPACE}% of validation images" in text
    assert "+30.0 (ratio 0.8) where the seed's has old ones" in text
    assert "0.0 (ratio 0.8) where the seed's has re-estimated ones" in text
    assert (
        "re-estimating first gains accuracy at ratio 0.8 with merged channels (seed) and merged channels (folded)"
        in text
    )


def test_the_lowest_ratios_that_gain_by_new_statistics_are_told():
    early = study().query("variant == 'folded-80'").assign(ratio=0.2)
    text = merging_findings.findings(pd.concat([study(), early]), pd.DataFrame(columns=PAIRS))[2]
    assert text.endswith(
        "at ratio 0.2 with merged channels (folded), but only at ratio 0.8 with merged channels (seed)."
    )
    lost = study().assign(validation_recalibrated=0.1)
    assert "gains accuracy at no ratio" in merging_findings.findings(lost, pd.DataFrame(columns=PAIRS))[2]


def test_gains_over_ratios_and_methods_are_told_by_their_ends():
    sweep = study()[lambda f: (f["stage"] == "sweep") & (f["ratio"] == 0.8)]
    small = sweep.assign(ratio=0.5, validation_recalibrated=[0.4, 0.7])
    text = " ".join(merging_findings.findings(pd.concat([study(), small]), pd.DataFrame(columns=PAIRS)))
    assert "+30.0 (ratio 0.8) to +50.0 (ratio 0.5) where the seed's has old ones" in text
    words = text.replace(SPACE, " ")
    assert "shared kernels keep the most validation accuracy, 80.0 % (90.0 % with the old statistics), and" in words
    assert "and merged channels (seed) the least, 40.0 % (20.0 % with the old statistics)." in words


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
        f"from {MINUS}7.00 points (merged-80-s1, trained from 30.00 % to 84.00 %) to {MINUS}9.00 points "
        "(merged-seed-80, trained from 30.00 % to 80.00 %), after 3 to 5 epochs; the controls trained 6 epochs."
    ) in text
    assert "One of 5 fine-tuned networks is better than its control, +3.00 points (merged-50" in text
    assert f"One of 5 fine-tuned networks cannot be told apart from its control, {MINUS}2.00 points (shared-50" in text


def test_one_verdict_of_all_is_said_of_each():
    *_, text = merging_findings.findings(study(), pd.DataFrame(columns=PAIRS))
    assert text.startswith(f"Each of the 5 fine-tuned networks is worse than its control, from {MINUS}2.00 points")


def test_the_summary_names_the_best_and_how_fast_the_fastest_are():
    best, fastest, shared = (sentence.replace(SPACE, " ") for sentence in merging_findings.summary(study()))
    assert best == (
        "Among merged channels of resnet20, merged-50 (30 parameters, 1.50× the speed of dense, 3 epochs) is best on "
        "validation images: it gets 88.00 % of the test images right and is worse than the control of 6 epochs (2.00 "
        "points below it, p = 0.001)."
    )
    assert fastest.startswith(
        "The 3 fastest trained networks of resnet20, at 1.90× to 2.20× the speed of dense, are too"
    )
    assert fastest.endswith("best of them on validation images is merged-80, 82.00 %.")
    assert shared == "Against dense, the highest speed is 1.05× with shared filters and 0.90× with shared kernels."
    assert [card[0] for card in merging_findings.cards(study())] == ["merged-50", "merged-80"]


def elsewhere(delta=-0.01):
    """The study, and two merged networks of resnet56, both better on validation images than all of the study."""
    frame = study()
    dense = frame[frame["stage"] == "baseline"].assign(variant="resnet56", macs=251)
    deep = frame[frame["variant"] == "merged-50"].assign(variant="deep", macs=100, epochs=20, delta_control=delta)
    deep, deeper = (deep.assign(variant=name, validation_accuracy=seen) for name, seen in (("a", 0.98), ("b", 0.99)))
    return pd.concat([frame, pd.concat([dense, deep, deeper]).assign(model="resnet56")], ignore_index=True)


def test_networks_without_a_sweep_are_told_by_themselves():
    frame = elsewhere()
    best, other, fastest, _ = (sentence.replace(SPACE, " ") for sentence in merging_findings.summary(frame))
    assert best.startswith("Among merged channels of resnet20, merged-50 ("), "those of resnet56 are better"
    assert fastest.startswith("The 3 fastest trained networks of resnet20, ")
    assert other == (
        "Of resnet56, b (best on validation images, 2.51 times fewer multiply-accumulates, 20 epochs) is worse than "
        "the control of 6 epochs (1.00 points below it, p = 0.001)."
    )
    one = frame[frame["variant"] != "a"]
    assert merging_findings.summary(one)[1].startswith("Of resnet56, b (2.51")
    gained = merging_findings.summary(elsewhere(0.01))[1]
    assert "is better than the control of 6 epochs (1.00 points above it" in gained
    alone = merging_findings.summary(one[(one["model"] == "resnet56") | (one["stage"] == "control")])
    assert len(alone) == 1, "the study's own network has no merged variant"
    unknown = merging_findings.summary(one.assign(macs=np.nan, epochs=np.nan))[1]
    assert unknown.startswith("Of resnet56, b is worse than the control of 6 epochs")


@pytest.mark.parametrize(("network", "noted"), [("resnet20", False), ("resnet32", True)])
def test_the_seeds_network_is_that_of_the_study_not_any_of_the_run(network, noted, tmp_path):
    run = folder_of(study().assign(model=network), tmp_path)
    (run.folder / "provenance.json").write_text('{"inputs": [{"file": "resnet20-12fca82f.th"}]}')
    note = MERGING.build(Run(run.folder, run.report_folder)).seed_note
    assert ("cannot be compared" in note) == noted
    (run.folder / "provenance.json").write_text('{"inputs": []}')
    assert "cannot be compared" in MERGING.build(Run(run.folder, run.report_folder)).seed_note


def test_one_network_is_told_as_one(tmp_path):
    frame = study()
    one = frame[(frame["stage"] != "finetuned") | (frame["variant"] == "merged-50")]
    text = " ".join(merging_findings.findings(one, pd.DataFrame(columns=PAIRS)))
    assert "The one fine-tuned network " in text


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
    rates = [("merging", 0.02, 0.01), ("merging", 0.05, 0.01), ("clustering", 0.9, 0.01)]
    table = pd.DataFrame(rates, columns=["study", "lr", "control_lr"])
    table.to_csv(run.folder / "tables" / "comparison.csv", index=False)
    caveats = merging_findings.caveats(Run(run.folder, run.report_folder), study())
    assert any("up to 5.00× the control's learning rate" in sentence for sentence in caveats)


def test_the_page_shows_pairs_and_quartiles_where_there_are_some(tmp_path):
    run = folder_of(study().assign(q1_speedup=0.9, q3_speedup=1.1), tmp_path)
    pairs_table(results(), VARIANTS, "resnet20", TIMES).to_csv(run.folder / "tables" / "merging_pairs.csv", index=False)
    content = MERGING.build(run)
    assert [view.name for view in content.tables] == ["merging", "merging_sweep", "merging_pairs"]
    assert content.tables[0].rows[0][-1] == "1.00× (0.90× to 1.10×)"
    assert content.findings[0].startswith("At ratio 0.8, after 6 epochs, folding ")


def test_the_picture_shows_accuracies_before_and_after(tmp_path):
    lines = []
    for before in (0.3, np.nan):
        merging_figures.draw_accuracy(study().assign(accuracy_before=before), tmp_path / "a.svg")
        text = (tmp_path / "a.svg").read_text()
        assert "open before fine-tuning" in text
        assert "Test accuracy" in text
        lines.append(text.count("<use "))
    # An open mark for each of the five variants, of both methods.
    assert lines[0] - lines[1] == 5


def test_methods_of_equal_sizes_have_marks_of_their_own(monkeypatch):
    figures = []
    monkeypatch.setattr(merging_figures.style, "save", lambda figure, path: figures.append(figure))
    merging_figures.draw_against_ratio(study(), merging_figures.SIZES, "x.svg", from_zero=True)
    marked = [line for line in figures[0].axes[0].lines if line.get_marker() != "None"]
    sizes = [line.get_markersize() for line in marked]
    assert sizes == sorted(set(sizes), reverse=True)
    assert {line.get_markerfacecolor() for line in marked} == {"none"}
