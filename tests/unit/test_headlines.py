"""The seeds' figures beside ours."""

from pathlib import Path

import pandas as pd
import pytest

from convpress.errors import ConvpressError
from convpress.report.headlines import figure, headlines_table, known
from convpress.report.wording import MISSING, SPACE

ROOT = Path(__file__).resolve().parents[2]
HEAD = "study,figure,headline,unit,better,table,column,same,best,pick,reason,epochs,seed_epochs\n"


def folder(tmp_path, line, seed=0.8):
    (tmp_path / "headlines.csv").write_text(HEAD + line + "," * (HEAD.count(",") - line.count(",")) + "\n")
    figures = (f"accuracy,{seed}", "sizes,3 5", "length,8")
    (tmp_path / "seeds.csv").write_text("\n".join(["study,figure,value,source", *(f"x,{one},p" for one in figures)]))
    table = {"variant": ["a", "b"], "accuracy": [0.7, 0.9], "epochs": [2, 8]}
    pd.DataFrame(table).to_csv(tmp_path / "t.csv", index=False)
    return headlines_table(tmp_path, tmp_path)


def test_theirs_and_ours_are_read_from_the_files(tmp_path):
    row = folder(
        tmp_path, "x,accuracy,Accuracy,percent,higher,t,accuracy,variant == 'a',variant != 'z',max,too small"
    ).iloc[0]
    assert list(row) == ["x", "Accuracy", "percent", 0.8, 0.7, 0.9, "too small"]


def test_a_reason_stands_where_ours_is_lower(tmp_path):
    line = "x,accuracy,Accuracy,percent,higher,t,accuracy,variant == 'a',,max,too small"
    row = folder(tmp_path, line).iloc[0]
    assert row["reason"] == "too small"
    assert pd.isna(row["best"])
    assert folder(tmp_path, line, seed=0.6).iloc[0]["reason"] == ""


@pytest.mark.parametrize(
    ("variant", "reason"), [("a", "too small; fewer epochs than the seed's 8"), ("b", "too small")]
)
def test_fewer_epochs_are_a_reason_where_they_are_fewer(tmp_path, variant, reason):
    line = f"x,accuracy,Accuracy,percent,higher,t,accuracy,variant == '{variant}',,max,too small,epochs,length"
    assert folder(tmp_path, line, seed=0.95).iloc[0]["reason"] == reason


def test_less_is_better_for_times(tmp_path):
    line = "x,accuracy,Time,ms,lower,t,accuracy,variant == 'a',,max,another processor"
    assert folder(tmp_path, line, seed=0.8).iloc[0]["reason"] == ""
    assert folder(tmp_path, line, seed=0.6).iloc[0]["reason"] == "another processor"


def test_a_column_may_be_a_difference(tmp_path):
    line = "x,accuracy,Gain,points,higher,t,accuracy - 0.5,variant == 'b',,first,"
    assert folder(tmp_path, line).iloc[0]["same"] == pytest.approx(0.4)


def test_every_headline_says_why_ours_may_be_worse():
    lines = pd.read_csv(ROOT / "report" / "reference" / "headlines.csv")
    assert (lines["reason"].notna() | lines["seed_epochs"].notna()).all()
    assert (lines["epochs"].notna() == lines["seed_epochs"].notna()).all()
    assert set(lines["better"]) <= {"higher", "lower"}
    assert set(lines["unit"]) <= {"percent", "points", "times", "ms", "M", "sizes"}


def test_sizes_stand_as_they_are(tmp_path):
    line = "x,sizes,Sizes,sizes,higher,u,sizes,variant == 'a',,first,none"
    pd.DataFrame({"variant": ["a", "b"], "sizes": ["5 7", "9 9"]}).to_csv(tmp_path / "u.csv", index=False)
    row = folder(tmp_path, line).iloc[0]
    assert [figure(row[key], row["unit"]) for key in ("seed", "same", "best")] == ["3, 5", "5, 7", MISSING]
    assert row["reason"] == ""


def test_a_figure_that_the_seed_lacks_is_named(tmp_path):
    with pytest.raises(ConvpressError, match="no figure 'absent' of x"):
        folder(tmp_path, "x,absent,Accuracy,percent,higher,t,accuracy,,,max,")
    with pytest.raises(ConvpressError, match="no figure 'longest' of x"):
        folder(tmp_path, "x,accuracy,Accuracy,percent,higher,t,accuracy,,,max,,epochs,longest")


@pytest.mark.parametrize(("seed", "reason"), [(0.9, ""), (0.91, "too small")])
def test_only_a_lower_figure_needs_a_reason_and_the_best_may_be_it(tmp_path, seed, reason):
    line = "x,accuracy,Accuracy,percent,higher,t,accuracy,,variant == 'b',max,too small"
    assert folder(tmp_path, line, seed=seed).iloc[0]["reason"] == reason


@pytest.mark.parametrize(
    ("ours", "shown", "reason"), [(44_434_999, "44.43 M", ""), (44_436_000, "44.44 M", "too many")]
)
def test_counts_are_in_millions_and_what_rounds_to_the_seeds_figure_is_not_worse(tmp_path, ours, shown, reason):
    pd.DataFrame({"params": [ours]}).to_csv(tmp_path / "u.csv", index=False)
    row = folder(tmp_path, "x,accuracy,Parameters,M,lower,u,params,params > 0,,first,too many", seed=44_430_000).iloc[0]
    assert (figure(row["same"], "M").replace(SPACE, " "), row["reason"]) == (shown, reason)
    assert figure(None, "M") == MISSING


def test_headlines_with_one_figure_of_ours_are_known():
    frame = pd.DataFrame({"headline": list("abcd"), "same": [1, None, 1, None], "best": [None, 1, 1, None]})
    assert known(frame)["headline"].tolist() == ["a", "b", "c"]
