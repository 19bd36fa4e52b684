"""How fast rows are at which size: the study's own times at one size, the comparison's at that of the accuracies."""

import pandas as pd
import pytest
from made_low_rank import alone, rows

from convpress.report.contents import Run
from convpress.report.low_rank.findings import cards, findings, summary
from convpress.report.low_rank.section import LOW_RANK
from convpress.report.low_rank.speeds import with_input_size

HERE = {"original": (1.0, 1.0), "control": (1.0, 1.0), "replaced-l2-ce": (0.98, 0.66), "separable-l2-ce": (1.28, 1.36)}


@pytest.fixture
def run(tmp_path):
    """A run with a comparison, in which row 4 is slower at the size of the accuracies."""
    return with_comparison(tmp_path)


def with_comparison(folder, device="cpu"):
    table = pd.DataFrame(
        [
            {
                "study": {"original": "baseline", "control": "control"}.get(name, "low_rank"),
                "variant": "alexnet" if name in ("original", "control") else name,
                **{"model": "alexnet", "device": device, "latency_ms": 120 / speedup},
                **{"speedup": speedup, "bf16_speedup": bf16},
            }
            for name, (speedup, bf16) in HERE.items()
        ]
    )
    other = table.head(2).assign(variant="resnet20", model="resnet20", latency_ms=9.0)
    (folder / "tables").mkdir()
    pd.concat([other, table]).to_csv(folder / "tables" / "comparison.csv", index=False)
    rows(speedup=1.77).to_csv(folder / "tables" / "low_rank.csv", index=False)
    return Run(folder, folder)


def plain(texts):
    return " ".join(texts).replace("\N{NO-BREAK SPACE}", " ")


def slow_row_4():
    """Row 4 saves operations, and time in float32 only."""
    frame = rows(speedup=1.77)
    four = frame["row"] == "4"
    change = {"macs": 4.48e8, "speedup": 1.1, "bf16_speedup": 0.75}
    return frame.assign(**{name: frame[name].mask(four, value) for name, value in change.items()})


def test_the_summary_joins_an_accuracy_to_the_speed_at_its_own_size(run):
    text = plain(summary(with_input_size(run, slow_row_4())))
    assert text == (
        "At 96 pixels, where its accuracy was measured, row 12 (separable-l2-ce) is 1.28 times as fast as the original "
        "network (82.90 %, \N{MINUS SIGN}0.10 points from row 1, \N{MINUS SIGN}1.00 from the control); at 224 pixels, "
        "where no accuracy was measured, 1.77 times. "
        "Row 4 (scheme 1) needs 64 % of the original's multiply-accumulates at 224 pixels. "
        "It is faster in float32 at 224 pixels, but slower in float32 at 96 pixels and in bfloat16 at both sizes."
    )


def test_without_a_comparison_the_summary_says_what_there_is(tmp_path):
    text = plain(summary(alone(slow_row_4())))
    assert text.startswith(
        "At 224 pixels, where no accuracy was measured, row 12 (separable-l2-ce) is 1.77 times as fast as the original "
        "network; its accuracy is for 96 pixels (82.90 %, \N{MINUS SIGN}0.10 points from row 1, \N{MINUS SIGN}1.00 "
        "from the control)."
    )
    assert text.endswith("It is faster in float32 at 224 pixels, but slower in bfloat16 at 224 pixels.")
    on_gpu = with_input_size(with_comparison(tmp_path, device="cuda"), slow_row_4())
    assert on_gpu["input_speedup"].isna().all()


def test_where_all_was_measured_at_one_size_it_is_named_once(run):
    frame = with_input_size(run, rows().assign(size=96))
    assert frame["input_speedup"].isna().all()
    assert plain(summary(frame.assign(delta_control=None))[:1]) == (
        "At 96 pixels, row 12 (separable-l2-ce) is 1.60 times as fast as the original network "
        "(82.90 %, \N{MINUS SIGN}0.10 points from row 1)."
    )
    assert cards(frame)[0][2].count("pixels") == 1


def test_several_rows_are_told_together_where_they_agree(run):
    frame = slow_row_4()
    eighth = frame[frame["row"] == "4"].assign(row="8", expansion="decomposed", scheme="decomposed", speedup=1.001)
    text = plain(summary(with_input_size(run, pd.concat([frame, eighth], ignore_index=True))))
    assert "Rows 4 and 8 (scheme 1) need 64 % and 64 % of the original's" in text
    assert text.endswith("They are slower in float32 at 96 pixels and in bfloat16 at both sizes.")


def test_scheme_1_is_known_by_its_scheme_and_not_by_a_name():
    renamed = rows().replace({"expansion": {"replaced": "single_filters"}})
    assert summary(alone(renamed))[1].startswith("Row 4 (scheme 1) needs")
    assert len(summary(alone(rows().assign(scheme="")))) == 1


def test_findings_have_the_speed_at_each_size(run):
    text = plain(findings(with_input_size(run, slow_row_4())))
    assert (
        "At 224 pixels, row 4 (replaced-l2-ce) needs 64 % of row 1's multiply-accumulates and is 1.10 times as fast in "
        "float32 and 0.75 times as fast in bfloat16. At 96 pixels, it needs 111 % and is 0.98 times as fast in float32 "
        "and 0.66 times as fast in bfloat16."
    ) in text


def test_every_time_on_the_page_names_its_size(run):
    content = LOW_RANK.build(run)
    headers = [column.header for column in content.tables[0].columns]
    assert {"Speedup at 96 pixels", "Speedup at 224 pixels", "CPU at 224 pixels, bfloat16"} <= set(headers)
    row = dict(zip(headers, content.tables[0].rows[-2], strict=True))
    assert (row["Row"], row["Speedup at 96 pixels"], row["Speedup at 224 pixels"]) == ("12", "1.28×", "1.77×")
    name, _, small = content.cards[-1]
    assert name == "Fastest at 224 pixels: row 12, separable-l2-ce"
    assert "at 96 pixels 113.0 M MACs, 93.8 ms · at 224 pixels 395.5 M MACs, 282 ms" in plain([small])


def test_a_size_without_speeds_has_no_column(run):
    (run.folder / "tables" / "comparison.csv").unlink()
    headers = [column.header for column in LOW_RANK.build(run).tables[0].columns]
    assert not any("96" in header for header in headers)
