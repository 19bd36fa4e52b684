"""The study's section, findings and pictures, from small tables whose story is known."""

import pandas as pd
import pytest

from convpress.report.contents import Run
from convpress.report.low_rank_figures import draw_all
from convpress.report.low_rank_findings import COLUMNS, bases_findings, cards, caveats, fastest, findings, summary
from convpress.report.low_rank_section import LOW_RANK


def rows(separable=0.829, speedup=1.6):
    shared = {"test_n": 1000, "size": 224, "input_size": 96, "batch_size": 64, "mcnemar_p": 0.4, "delta_control": -0.01}
    shared |= {"repeats": 7, "bf16_repeats": 3}
    schemes = {"replaced": "grouped", "separable": "separable"}
    table = [
        ("1", "original", "original", 0, 0, 0.83, 1.0, None),
        ("2", "replaced", "replaced", 0, 0, 0.70, 0.9, 50.0),
        ("3", "replaced-l2", "replaced", 2, 0, 0.72, 0.9, 20.0),
        ("4", "replaced-l2-ce", "replaced", 2, 1, 0.825, 0.9, 30.0),
        ("10", "separable", "separable", 0, 0, 0.6, speedup, 60.0),
        ("12", "separable-l2-ce", "separable", 2, 1, separable, speedup, 30.0),
        ("control", "control", "control", 0, 3, 0.835, 1.0, None),
    ]
    frame = pd.DataFrame(
        [
            {
                **shared,
                **{"row": row, "variant": variant, "expansion": expansion, "l2_epochs": l2, "ce_epochs": ce},
                "scheme": schemes.get(expansion, ""),
                **{"test_accuracy": accuracy, "accuracy_before": 0.6, "ci_low": accuracy - 0.01},
                **{"ci_high": accuracy + 0.01, "cpu_ms": 500 / faster, "cpu_bf16_ms": 200 / faster},
                **{"macs": 7e8 / faster, "speedup": faster, "bf16_speedup": faster, "params": 4e7, "bytes": 1.7e8},
                **{"delta_original": accuracy - 0.83, "mcnemar_original": 0.3, "l2_distance": distance},
            }
            for row, variant, expansion, l2, ce, accuracy, faster, distance in table
        ]
    )
    return frame.reindex(columns=list(COLUMNS))


BASES = pd.DataFrame(
    {
        "layer": ["a"] * 4,
        "bases": 2,
        "method": ["svd_shared", "svd_per_channel", "alternating", "alternating"],
        "penalty": [0.0, 0.0, 0.0, 0.1],
        "relative_error": [0.5, 0.4, 0.55, 0.8],
        "split_error": [0.6, 0.5, 0.6, 0.8],
        "iterations": [1, 1, 30, 30],
        "seconds": [0.1, 0.1, 1.0, 1.0],
    }
)
SWEEPS = pd.DataFrame(
    {"layer": "a", "penalty": [0.0, 0.0, 0.1, 0.1], "sweep": [1, 2, 1, 2], "relative_error": [0.7, 0.55, 0.9, 0.8]}
)


@pytest.fixture
def run(tmp_path):
    tables = tmp_path / "run" / "tables"
    tables.mkdir(parents=True)
    rows().to_csv(tables / "low_rank.csv", index=False)
    BASES.to_csv(tables / "low_rank_bases.csv", index=False)
    reference = tmp_path / "report" / "reference"
    reference.mkdir(parents=True)
    lines = ["row1_accuracy,0.8314", "row4_accuracy,0.8235", "row4_l2,783", "row4_l2_epochs,20", "row4_ce_epochs,10"]
    text = "study,figure,value,source\n" + "".join(f"low_rank,{line},004\n" for line in lines)
    (reference / "seeds.csv").write_text(text)
    return Run(tmp_path / "run", tmp_path / "report")


def test_the_fastest_row_is_a_trained_one_and_stands_in_the_summary():
    frame = rows()
    assert fastest(frame)["row"] == "12"
    first, second = summary(frame)
    assert first.startswith("Row 12 (separable-l2-ce) is 1.60\N{NO-BREAK SPACE}times as fast")
    assert "row 4 (replaced-l2-ce) needs 111\N{NO-BREAK SPACE}% of the multiply-accumulates" in second


@pytest.mark.parametrize(
    ("separable", "speedup", "words"),
    [
        (0.829, 1.6, "1.60\N{NO-BREAK SPACE}times as fast as row 1 in float32"),
        (0.824, 1.4, "\N{MINUS SIGN}0.60 points from row 1"),
    ],
)
def test_the_fastest_row_is_told_with_its_accuracy(separable, speedup, words):
    assert any("is the fastest trained row" in text and words in text for text in findings(rows(separable, speedup)))


def test_scheme_1_is_known_by_its_scheme_and_not_by_a_name():
    renamed = rows().replace({"expansion": {"replaced": "single_filters"}})
    assert "By scheme 1, row 4 (replaced-l2-ce) needs" in summary(renamed)[1]
    assert len(summary(rows().assign(scheme=""))) == 1


def test_an_expansion_that_is_never_trained_is_not_the_fastest():
    frame = rows()
    frame = frame[frame["row"] != "12"]
    assert fastest(frame)["row"] == "4"
    assert "row 4" in cards(frame)[-1][0]
    text = " ".join(findings(frame))
    assert "Row 10 (separable): 60.00\N{NO-BREAK SPACE}% right after the surgery; this run does not train it." in text
    assert "after 2 epochs of L2 and 1 epoch of CE" in text
    assert " 0 epochs" not in text


def test_without_any_training_no_row_is_called_fast():
    frame = rows()
    frame = frame[frame["l2_epochs"] + frame["ce_epochs"] == 0]
    assert fastest(frame) is None
    assert summary(frame) == ["The table of low-rank expansions has no trained row with a time in this run."]
    assert "fastest" not in " ".join(findings(frame))


def test_distances_and_the_alternating_method_are_told():
    text = " ".join(findings(rows()))
    assert "L2 alone takes replaced from a distance of 50.0 to 20.0" in text
    assert "10.00\N{NO-BREAK SPACE}% above the error of the closed form, in 10.0 times" in bases_findings(BASES)[0]
    assert "by up to 20.0\N{NO-BREAK SPACE}%" in bases_findings(BASES)[1]


def test_scaled_down_epochs_are_a_caveat(run):
    text = " ".join(caveats(run, rows()))
    assert "2 epochs of L2 where the seed trains 20" in text
    assert "1 epoch of CE where the seed trains 10" in text
    assert "medians of 7 passes in float32, and of 3 in bfloat16" in text
    assert "enlarged to 96 pixels" in text


def test_the_section_shows_every_row_and_the_seeds_beside_ours(run):
    content = LOW_RANK.build(run)
    assert [row[0] for row in content.tables[0].rows] == ["1", "2", "3", "4", "10", "12", "control"]
    headers = [column.header for column in content.tables[0].columns]
    assert {row[headers.index("CUDA")] for row in content.tables[0].rows} == {"\N{EN DASH}"}
    assert [row[0] for row in content.seed.rows] == ["1", "4"]
    assert "82.35" in content.seed.rows[1][2]
    assert len(content.missing) == 4  # the pictures


def test_numbers_that_are_missing_are_dashes(run):
    keep = ["row", "variant", "expansion", "scheme"]
    rows()[keep].reindex(columns=list(COLUMNS)).to_csv(run.folder / "tables" / "low_rank.csv", index=False)
    content = LOW_RANK.build(run)
    assert content.tables[0].rows[0][-1] == "\N{EN DASH}"
    assert content.findings
    assert "nan" not in " ".join(content.findings + content.summary + content.caveats).lower()


def test_the_picture_of_bases_does_without_a_method_and_without_a_penalty(tmp_path):
    errors = pd.concat([BASES, BASES.assign(layer="b")])
    errors = errors[(errors["method"] != "svd_per_channel") & ~((errors["layer"] == "b") & (errors["penalty"] > 0))]
    course = pd.concat([SWEEPS, SWEEPS[SWEEPS["penalty"] == 0].assign(layer="b")])
    draw_all({"low_rank_bases": errors, "low_rank_sweeps": course}, {"bases": tmp_path / "bases.svg"})
    assert "nuclear norm" in (tmp_path / "bases.svg").read_text()


def test_an_empty_run_names_what_is_missing(tmp_path):
    content = LOW_RANK.build(Run(tmp_path, tmp_path))
    assert any("tables/low_rank.csv" in text for text in content.missing)
    assert content.seed is None


@pytest.mark.parametrize("empty", [False, True])
def test_pictures_are_drawn_with_and_without_tables(tmp_path, empty):
    pixels = [
        ("replaced", "a", when, f, i, j, i - j)
        for when in ("before", "after")
        for f in (0, 1)
        for i in range(3)
        for j in range(3)
    ]
    filters = pd.DataFrame(pixels, columns=["expansion", "layer", "when", "filter", "i", "j", "value"])
    tables = {"low_rank": rows(), "low_rank_bases": BASES, "low_rank_sweeps": SWEEPS, "low_rank_filters": filters}
    names = {"tradeoff": "t.svg", "bases": "b.svg", "filters": "f.png", "curves": "c.svg"}
    paths = {name: tmp_path / file for name, file in names.items()}
    draw_all({} if empty else tables, paths)
    assert all(path.stat().st_size > 500 for path in paths.values())
    text = paths["tradeoff"].read_text()
    assert ("No accuracies" in text) is empty
    assert ("right after the surgery" in text) is not empty
