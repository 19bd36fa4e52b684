"""The seeds' figures beside ours."""

import pandas as pd
import pytest

from convpress.errors import ConvpressError
from convpress.report.headlines import headlines_table

HEAD = "study,figure,headline,table,column,same,best,pick,reason\n"


def folder(tmp_path, line, seed=0.8):
    (tmp_path / "headlines.csv").write_text(HEAD + line + "\n")
    (tmp_path / "seeds.csv").write_text(f"study,figure,value,source\nx,accuracy,{seed},page 1\nx,sizes,3 5,page 2\n")
    pd.DataFrame({"variant": ["a", "b"], "accuracy": [0.7, 0.9]}).to_csv(tmp_path / "t.csv", index=False)
    return headlines_table(tmp_path, tmp_path)


def test_theirs_and_ours_are_read_from_the_files(tmp_path):
    row = folder(tmp_path, "x,accuracy,Accuracy,t,accuracy,variant == 'a',variant != 'z',max,too small").iloc[0]
    assert list(row) == ["x", "Accuracy", 0.8, 0.7, 0.9, "too small"]


def test_a_reason_stands_where_ours_is_lower(tmp_path):
    line = "x,accuracy,Accuracy,t,accuracy,variant == 'a',,max,too small"
    row = folder(tmp_path, line).iloc[0]
    assert row["reason"] == "too small"
    assert pd.isna(row["best"])
    assert folder(tmp_path, line, seed=0.6).iloc[0]["reason"] == ""


def test_a_figure_that_the_seed_lacks_is_named(tmp_path):
    with pytest.raises(ConvpressError, match="no figure 'absent' of x"):
        folder(tmp_path, "x,absent,Accuracy,t,accuracy,,,max,")
