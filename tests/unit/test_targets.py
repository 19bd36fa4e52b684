"""Targets beside measured values."""

from pathlib import Path

import pandas as pd
import pytest

from convpress.errors import ConvpressError
from convpress.report.tables import write_table
from convpress.report.targets import COLUMNS, targets_table

ROOT = Path(__file__).resolve().parents[2]
TABLE = pd.DataFrame(
    {"variant": ["a", "b", "c"], "accuracy": [0.63, 0.83, None], "validation_accuracy": [0.9, 0.8, 0.7]}
)


def judge(tmp_path, **changes):
    target = dict.fromkeys(COLUMNS, "") | {"table": "t", "column": "accuracy", "pick": "max", "relation": ">="}
    pd.DataFrame([target | {"limit": 0.5} | changes]).to_csv(tmp_path / "targets.csv", index=False)
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    return targets_table(tmp_path / "targets.csv", tmp_path).iloc[0]


@pytest.mark.parametrize(
    ("changes", "measured", "met"),
    [
        ({}, 0.83, "met"),
        ({"limit": 0.84}, 0.83, "not met"),
        ({"pick": "min", "relation": "<", "limit": 0.63}, 0.63, "not met"),
        ({"where": "variant == 'a'"}, 0.63, "met"),
        ({"pick": "chosen", "limit": 0.7}, 0.63, "not met"),
        ({"relation": "within 0.05 points of", "limit": 0.8305}, 0.83, "met"),
        ({"relation": "within 0.05 points of", "limit": 0.8306}, 0.83, "not met"),
        ({"where": "variant == 'b'", "against": "variant == 'a'", "limit": 0.2}, 0.2, "met"),
    ],
)
def test_a_target_is_judged_by_the_table(tmp_path, changes, measured, met):
    row = judge(tmp_path, **changes)
    assert row["measured"] == pytest.approx(measured)
    assert row["met"] == met


def test_a_reason_stands_where_a_target_is_missed(tmp_path):
    assert judge(tmp_path, reason="too few images", limit=0.84)["reason"] == "too few images"
    assert judge(tmp_path, reason="too few images")["reason"] == ""


def test_a_tested_difference_has_its_p_value(tmp_path):
    table = TABLE.assign(delta_control=[-0.1, 0.1, 0.2], mcnemar_p=[0.01, 0.3, 0.4])
    assert pd.isna(judge(tmp_path)["p"])
    table.to_csv(tmp_path / "d.csv", index=False)
    row = judge(tmp_path, table="d", column="delta_control", where="variant == 'b'", pick="first")
    assert list(row[["test", "p"]]) == ["McNemar", 0.3]
    assert judge(tmp_path, table="d", column="delta_control", pick="chosen")["p"] == 0.01
    with pytest.raises(ConvpressError, match="several rows make no p-value"):
        judge(tmp_path, table="d", column="delta_control", pick="mean")


@pytest.mark.parametrize("changes", [{"table": "absent"}, {"where": "variant == 'c'"}, {"where": "variant == 'z'"}])
def test_what_no_table_has_is_not_measured(tmp_path, changes):
    row = judge(tmp_path, **changes)
    assert row["met"] == "not measured"
    assert pd.isna(row["measured"])


@pytest.mark.parametrize(
    "changes", [{"where": "nonsense ==="}, {"column": "absent"}, {"relation": "=>"}, {"pick": "x"}]
)
def test_a_target_that_cannot_be_read_is_named(tmp_path, changes):
    with pytest.raises(ConvpressError, match=r"target .T.:"):
        judge(tmp_path, target="T", **changes)


def test_the_committed_targets_are_those_of_the_committed_tables_and_aims(tmp_path):
    tables = ROOT / "results" / "cifar10" / "tables"
    write_table(targets_table(ROOT / "report" / "reference" / "targets.csv", tables), tmp_path / "targets.csv")
    for name in ("targets.csv", "targets.md"):
        assert (tmp_path / name).read_text() == (tables / name).read_text(), "write the table of targets again"


def test_the_difference_of_two_rows_has_no_p_value_of_one(tmp_path):
    table = TABLE.assign(delta_control=[-0.1, 0.1, 0.2], mcnemar_p=[0.01, 0.3, 0.4])
    table.to_csv(tmp_path / "d.csv", index=False)
    rows = {"where": "variant == 'b'", "against": "variant == 'a'"}
    row = judge(tmp_path, table="d", column="delta_control", pick="first", limit=0.2, **rows)
    assert (row["met"], row["test"]) == ("met", "")
    assert pd.isna(row["p"])


def test_the_p_value_is_of_the_row_that_is_measured(tmp_path):
    """The first row has no difference, the second no p-value: nothing is put together of two rows."""
    table = TABLE.assign(delta_control=[None, 0.1, 0.2], mcnemar_p=[0.01, None, 0.4])
    table.to_csv(tmp_path / "u.csv", index=False)
    row = judge(tmp_path, table="u", column="delta_control", pick="first")
    assert row["measured"] == 0.1
    assert row["test"] == ""
    table.assign(mcnemar_p=[0.01, 0.3, 0.4]).to_csv(tmp_path / "u.csv", index=False)
    assert judge(tmp_path, table="u", column="delta_control", pick="first")["p"] == 0.3
