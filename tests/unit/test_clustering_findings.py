"""Sentences of the study clustering and its section, from made-up tables whose story is known."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from made_clustering import LAYERS, SEEDS, finetuned, norms, row, sweep
from made_headlines import write_headlines

from convpress.report import wording
from convpress.report.clustering.findings import (
    best_remedies,
    cards,
    caveats,
    remedy_findings,
    replicate_findings,
    summary,
    whole_filters,
)
from convpress.report.clustering.norms import norms_findings
from convpress.report.clustering.section import CLUSTERING
from convpress.report.clustering.sweeps import sweep_findings
from convpress.report.contents import Run


def plain(text):
    return text.replace(wording.SPACE, " ")


ELEMENTWISE = row("elementwise-087", "elementwise", 0.87, 0.99, 0.915, bytes=9e5)


def test_the_summary_names_the_control_that_it_compares_with():
    verdicts, stored = map(plain, summary(finetuned()))
    assert verdicts == (
        "Chosen on validation images, tied-087 (87 % of the kernel parameters; file 800 kB, dense 800 kB; 86.00 % of "
        "test images right) and tied-050 (50 %, 800 kB, 82.30 %) are worse than the study's own control of 2 epochs "
        "(91.00 %)."
    )
    assert stored == (
        "Parameters do not count the index of what is shared, the files do: tied-087 and tied-050 save no storage."
    )


def test_files_are_told_where_all_are_known():
    frame = finetuned()
    frame.loc[frame["variant"] == "tied-050", "bytes"] = np.nan
    (verdicts,) = map(plain, summary(frame))
    assert (
        "tied-087 (87 % of the kernel parameters; 86.00 % of test images right) and tied-050 (50 %, 82.30 %)"
        in verdicts
    )
    files = {name: plain(small).rpartition(" · ")[2] for name, _, small in cards(frame)}
    assert files == {
        "Own control, 2 epochs": "file 800 kB",
        "tied-087": "file 800 kB",
        "tied-050": "50 % of the kernel parameters",
    }


def test_the_summary_tells_verdicts_apart_and_what_whole_filters_give():
    frame = pd.concat([finetuned(), pd.DataFrame([ELEMENTWISE])], ignore_index=True)
    frame.loc[frame["variant"] == "control", "bytes"] = 8.5e5
    frame.loc[frame["variant"] == "tied-050", "mcnemar_p"] = 0.5
    verdicts, stored, whole = map(plain, summary(frame))
    assert (
        "is worse than the study's own control of 2 epochs (91.00 %); tied-050 (50 %, 800 kB, 82.30 %) cannot"
        in verdicts
    )
    assert verdicts.endswith("cannot be told apart from it.")
    assert stored.startswith("Parameters do not count the index of what is shared")
    assert "storage" not in stored
    assert whole == (
        "Among remedies that share whole filters, the best on validation images differ from that control by "
        "−5.00 (tied-087) and −8.70 (tied-050) points."
    )


def test_the_ends_of_the_remedies_are_told_and_staged_ones_have_no_start():
    text = plain(remedy_findings(finetuned())[0])
    assert text.startswith("Mean test accuracy after 2 epochs, by ratio, from the best remedy to the worst: ")
    assert "at 0.87 progressive 89.00 % to unit_norm 85.00 %; at 0.5 progressive" in text
    unstaged = plain(remedy_findings(finetuned().assign(epochs_before=0))[0])
    assert "at 0.87 progressive 89.00 % (50.0 % before) to unit_norm 85.00 % (50.0 % before)" in unstaged


def test_how_far_seeds_lie_apart_is_one_sentence():
    frame = finetuned()
    frame.loc[(frame["replicate"] == 1) & (frame["target_ratio"] == 0.5), "test_accuracy"] -= 0.02
    frame["accuracy_before"] = range(len(frame))
    assert replicate_findings(frame) == [
        "From seed to seed, test accuracy differs by 0.00 points (at 0.87) to 2.00 points (at 0.5) with tied (2 seeds)."
    ]
    alike = frame.assign(accuracy_before=frame["target_ratio"])
    assert replicate_findings(alike)[0].endswith("with tied (2 seeds of the order of images alone).")
    assert replicate_findings(finetuned(())) == []


def test_empty_columns_are_said():
    frame = finetuned().assign(test_accuracy=np.nan, epochs=np.nan, validation_accuracy=np.nan)
    assert "worst: at 0.87 not in the table; at 0.5 not in the table." in remedy_findings(frame)[0]
    frame = finetuned().assign(epochs=np.nan, accuracy_before=np.nan)
    assert f"after {wording.MISSING} epochs, by ratio, from the best" in remedy_findings(frame)[0]
    assert "before" not in remedy_findings(frame)[0]


@pytest.mark.parametrize(
    ("replicated", "words"),
    [
        (("tied", "progressive"), "both are trained with several seeds"),
        (("tied", "frozen"), "frozen and tied are trained with several seeds, progressive with one"),
        ((), "no remedy is trained with several seeds"),
    ],
)
def test_the_best_two_are_those_on_validation_images(replicated, words):
    """On test images the best two would be progressive and frozen."""
    text = plain(best_remedies(finetuned(replicated))[0])
    assert "over the ratios 0.87 and 0.5, are tied (92.15 %) and progressive (90.15 %); " in text
    assert words in text


def test_the_best_of_whole_filters_stands_beside_values_clustered_each_by_itself():
    assert whole_filters(finetuned()) == []
    (text,) = map(plain, whole_filters(pd.concat([finetuned(), pd.DataFrame([ELEMENTWISE])])))
    one = pd.concat([finetuned(), pd.DataFrame([ELEMENTWISE])]).query("target_ratio != 0.5")
    assert "the best on validation images is tied-087 with" in plain(whole_filters(one)[0])
    assert text.endswith(
        "at each ratio are tied-087 with 86.00 % and 800 kB (elementwise: +5.50 points, 900 kB) and tied-050 with "
        "82.30 % and 800 kB (without elementwise)."
    )


def test_a_remedy_that_lacks_a_ratio_is_not_among_the_best():
    frame = finetuned()
    assert "progressive (" in best_remedies(frame)[0]
    assert "progressive (" not in best_remedies(frame[frame["variant"] != "progressive-050"])[0]


def test_a_layer_stays_near_only_while_all_larger_numbers_do():
    """The layer bumpy is as good with one cluster as with all, but not with two."""
    text = plain(sweep_findings(LAYERS, sweep("group", {}), sweep("plan", {}))[0])
    assert (
        "deep stays within a point of the dense network's accuracy (90.00 % of validation images) down to 50 %" in text
    )
    assert "bumpy only down to 75 %" in text


GOOD, GUESSING = {2: 0.6, 4: 0.9}, {1: 0.15, 2: 0.18, 4: 0.5}


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"a": GOOD}, "F is highest at 2 clusters in a (60.00 % right)."),
        ({"a": GUESSING}, "F is highest at 1 cluster in a (15.00 % right), near guessing: F is no guide there."),
        (
            {"a": GOOD, "b": GUESSING, "c": GUESSING},
            "F is highest at 2 clusters in a (60.00 % right), but at 1 cluster in b and c (15.00 % and 15.00 % right), "
            "near guessing: F is no guide there.",
        ),
    ],
    ids=["good", "guessing", "both"],
)
def test_where_f_is_highest_among_networks_that_guess_it_is_no_guide(groups, words):
    (text,) = map(plain, sweep_findings(sweep("layer", {}), sweep("group", groups), sweep("plan", {})))
    assert text == f"On validation images, {words}"


def test_norms_far_from_one_speak_against_the_cosine_distance():
    dense, pulled, twin = map(plain, norms_findings(norms(), finetuned()))
    assert dense.startswith("In the dense network 0 % of 4 filter norms lie within 10 % of 1")
    assert "the middle half from 2.00 to 2.00" in dense
    assert "speaks against it" in dense
    assert "In unit_norm-s0, after the penalty, 100 % of 4" in pulled
    assert "−3.00 at 0.87 (p < 0.001) and −3.00 at 0.5 (p < 0.001)" in twin
    assert twin.startswith("Pulling the norms to 1 and then clustering by direction costs accuracy: ")
    assert "allows the cosine distance" in norms_findings(norms(0.95), finetuned())[0]


@pytest.mark.parametrize(
    ("gaps", "p", "words"),
    [((0.01, 0.02), 0.01, "pays: "), ((0.01, -0.02), 0.01, "depends on the ratio"), ((0.01, 0.02), 0.2, "not decided")],
)
def test_clustering_by_direction_is_judged_by_mcnemars_test(gaps, p, words):
    frame = finetuned()
    frame.loc[frame["remedy"] == "unit_norm", "delta_frozen"] = gaps
    frame.loc[frame["remedy"] == "unit_norm", "mcnemar_frozen_p"] = p
    assert words in norms_findings(norms(), frame)[-1]


def test_without_norms_or_twins_nothing_is_claimed():
    assert norms_findings(norms()[:0], finetuned()) == []
    assert len(norms_findings(norms(), finetuned().assign(delta_frozen=np.nan))) == 2


@pytest.fixture
def run(tmp_path):
    tables = tmp_path / "run" / "tables"
    tables.mkdir(parents=True)
    pd.DataFrame({"study": ["clustering"], "control_epochs": [6]}).to_csv(tables / "comparison.csv", index=False)
    named = {"finetune": finetuned(), "norms": norms(), "layers": LAYERS}
    named |= {"groups": sweep("group", {"all": {2: 0.4, 4: 0.9}}), "plans": sweep("plan", {17: {3: 0.7}})}
    for name, frame in named.items():
        frame.to_csv(tables / f"clustering_{name}.csv", index=False)
    (tmp_path / "reference").mkdir()
    SEEDS.to_csv(tmp_path / "reference" / "seeds.csv", index=False)
    write_headlines(tmp_path / "reference")
    return Run(tmp_path / "run", tmp_path)


def test_both_controls_are_named(run):
    text = plain(" ".join(caveats(run, finetuned())))
    assert "the dense network trained for 2 epochs like the remedies" in text
    assert "compares with the run's control, trained for 6 epochs" in text


def test_the_section_shows_what_was_chosen_and_what_was_trained_before(run):
    content = CLUSTERING.build(run)
    table = content.tables[0]
    headers = [column.header for column in table.columns]
    cells = {cells[0]: dict(zip(headers, map(plain, cells), strict=True)) for cells in table.rows}
    marked = [cells[0] for cells, mark in zip(table.rows, table.marked, strict=True) if mark]
    assert marked == ["tied-087", "tied-050"]
    assert cells["progressive-087"]["Right after"] == "50.00 % (after 1 epoch)"
    assert cells["frozen-087"]["Right after"] == "50.00 %"
    assert cells["control"]["Points to own control"] == wording.MISSING
    assert table.numbers[headers.index("Right after")]
    assert plain(content.cards[0][0]) == "Own control, 2 epochs"
    text = " ".join(content.findings)
    assert "Of 1 plans, number 17 (3 clusters)" in text
    assert "speaks against it" in text
    assert not re.search(r"\bnan\b", " ".join([text, *content.summary, *content.caveats]))


def test_the_seeds_figures_stand_beside_ours_chosen_on_validation(run):
    rows = {plain(cells[0]): [plain(cell) for cell in cells[1:]] for cells in CLUSTERING.build(run).seed.rows}
    before = next(name for name in rows if name.startswith("Plan 17, right after"))
    assert rows[before][:3] == ["72.00 %", "70.00 %", "50.00 %"]
    after = next(name for name in rows if name.startswith("Plan 17, fine-tuned"))
    assert rows[after][:3] == ["89.00 %", "87.00 %", "86.00 %"]


@pytest.mark.parametrize(("network", "noted"), [("resnet20", False), ("resnet32", True)])
def test_the_seeds_network_is_that_of_the_study_not_any_of_the_run(network, noted, run):
    inputs = [{"file": "resnet20-12fca82f.th"}, {"file": "resnet32-d509ac18.th"}]
    (run.folder / "provenance.json").write_text(json.dumps({"inputs": inputs}))
    other = {"resnet20": "resnet32", "resnet32": "resnet20"}[network]
    frame = pd.DataFrame({"model": [network, other], "variant": "baseline", "params": [2e5, 5e5]})
    frame.to_csv(run.folder / "tables" / "baselines.csv", index=False)
    content = CLUSTERING.build(Run(run.folder, run.report_folder))
    assert ("cannot be compared" in content.seed_note) == noted
    assert ("Likely reason" in [column.header for column in content.seed.columns]) == (not noted)
    (run.folder / "provenance.json").write_text(json.dumps({"inputs": inputs[1:]}))
    assert "cannot be compared" in CLUSTERING.build(Run(run.folder, run.report_folder)).seed_note


def test_an_empty_run_names_what_is_missing(tmp_path):
    content = CLUSTERING.build(Run(tmp_path, tmp_path))
    assert any("tables/clustering_finetune.csv" in text for text in content.missing)
    assert content.findings == []
