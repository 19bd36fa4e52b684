"""The study's section, findings and pictures, from small tables whose story is known."""

import itertools

import pandas as pd
import pytest
from made_low_rank import BASES, SWEEPS, alone, rows
from matplotlib.backends.backend_agg import FigureCanvasAgg

from convpress.report import style
from convpress.report.contents import Run
from convpress.report.low_rank.figures import draw_all, draw_points
from convpress.report.low_rank.findings import COLUMNS, bases_findings, cards, caveats, fastest, findings, summary
from convpress.report.low_rank.section import LOW_RANK

SPACE = "\N{NO-BREAK SPACE}"


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


def test_the_fastest_row_is_a_trained_one():
    assert fastest(rows())["row"] == "12"


@pytest.mark.parametrize(("separable", "points"), [(0.829, "0.10"), (0.824, "0.60")])
def test_a_trained_row_is_told_with_what_it_lost(separable, points):
    (text,) = [text for text in findings(alone(rows(separable))) if text.startswith("Row 12")]
    assert f"\N{MINUS SIGN}{points} points from row 1 (p = 0.30)" in text.replace(SPACE, " ")


def test_an_expansion_that_is_never_trained_is_not_the_fastest():
    frame = alone(rows())
    frame = frame[frame["row"] != "12"]
    assert fastest(frame)["row"] == "4"
    assert "row 4" in cards(frame)[-1][0]
    text = " ".join(findings(frame))
    assert (
        "Row 10 (separable) has 60.00\N{NO-BREAK SPACE}% right after the surgery; this run does not train it." in text
    )
    assert "after 2 epochs of L2 and 1 epoch of CE" in text
    assert " 0 epochs" not in text


def test_without_any_training_no_row_is_called_fast():
    frame = alone(rows())
    frame = frame[frame["l2_epochs"] + frame["ce_epochs"] == 0]
    assert fastest(frame) is None
    assert summary(frame) == ["The table of low-rank expansions has no trained row with a time in this run."]
    assert "as fast" not in " ".join(findings(frame))


def test_distances_are_told():
    text = " ".join(findings(alone(rows()))).replace(SPACE, " ")
    assert "outputs from 50.0 to 20.0 (replaced), and the accuracy from 70.00 % to 72.00 %." in text


@pytest.mark.parametrize(
    ("error", "within"),
    [(0.55, " to within 10 %"), (0.500001, " to within 0.00020 %"), (0.5, ""), (0.50101, " to within 0.21 %")],
)
def test_how_near_the_alternating_method_comes_is_never_rounded_down(error, within):
    plain = (BASES["method"] == "alternating") & (BASES["penalty"] == 0)
    near, single = bases_findings(BASES.assign(relative_error=BASES["relative_error"].mask(plain, error)))
    assert f"the closed form's error{within}, in 10 times the time" in near.replace(SPACE, " ")
    assert "up to 20.0 % lower" in single.replace(SPACE, " ")


def test_scaled_down_epochs_are_a_caveat(run):
    text = " ".join(caveats(run, rows()))
    assert "2 epochs of L2 where the seed trains 20 and 1 epoch of CE where the seed trains 10" in text
    assert "medians of 7 passes in float32, and of 3 in bfloat16" in text
    assert "enlarged to 96 pixels" in text


def test_a_teacher_is_a_caveat(run):
    assert "teacher" not in " ".join(caveats(run, rows()))
    assert "teacher" not in " ".join(caveats(run, rows().assign(distillation=0.0)))
    text = " ".join(caveats(run, rows().assign(distillation=0.9))).replace(SPACE, " ")
    assert "CE gives weight 0.9 to the answers of the teacher" in text


def test_the_section_shows_every_row_and_the_seeds_beside_ours(run):
    content = LOW_RANK.build(run)
    assert [row[0] for row in content.tables[0].rows] == ["1", "2", "3", "4", "10", "12", "control"]
    headers = [column.header for column in content.tables[0].columns]
    assert {row[headers.index("CUDA at 224 pixels")] for row in content.tables[0].rows} == {"\N{EN DASH}"}
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


def test_the_filters_of_a_single_layer_are_a_whole_number(run):
    bases = ["" if expansion in ("original", "control") else 5 for expansion in rows()["expansion"]]
    rows().assign(bases=bases).to_csv(run.folder / "tables" / "low_rank.csv", index=False)
    view = LOW_RANK.build(run).tables[0]
    place = [column.header for column in view.columns].index("Filters")
    assert [row[place] for row in view.rows] == ["–", *["5"] * 5, "–"]


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


def points(*places):
    """Rows as in the study, with these places of the original network and of each expansion."""
    places = dict(zip(("original", "replaced", "decomposed", "separable"), places, strict=True))
    table = [
        ("1", 0.832),
        ("2", 0.812),
        ("3", 0.821),
        ("4", 0.822),
        ("6", 0.776),
        ("7", 0.82),
        ("8", 0.821),
        ("10", 0.787),
    ]
    names = ["original", *["replaced"] * 3, *["decomposed"] * 3, "separable"]
    frame = pd.DataFrame(table, columns=["row", "test_accuracy"]).assign(expansion=names, l2_epochs=0, ce_epochs=1)
    accuracy = frame["test_accuracy"]
    return frame.assign(x=frame["expansion"].map(places), ci_low=accuracy - 0.008, ci_high=accuracy + 0.008)


@pytest.mark.parametrize("places", [(698, 444, 436, 295), (429, 390, 398, 243), (209, 277, 288, 118)])
def test_numbers_of_rows_lie_on_no_mark_and_on_no_other_number(places):
    frame = points(*places)
    with style.figure_style():
        figure = style.new_figure(2.9, 3.9)
        axes = figure.subplots()
        draw_points(axes, frame, style.looks(frame["expansion"]))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        boxes = [text.get_window_extent() for text in axes.texts]
        marks = axes.transData.transform(frame[["x", "test_accuracy"]])
    assert len(boxes) == 6
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    radius = 3.5 * figure.dpi / 72
    assert not any(box.padded(radius).contains(*mark) for box in boxes for mark in marks)
    assert all(axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 for box in boxes)


def test_the_picture_names_the_size_of_the_images_that_were_timed(tmp_path):
    draw_all({"low_rank": rows().assign(size=160)}, {"tradeoff": tmp_path / "t.svg"})
    text = (tmp_path / "t.svg").read_text()
    assert text.count("for 64 images of 160 \N{MULTIPLICATION SIGN} 160 pixels") == 2
