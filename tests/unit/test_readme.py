"""The README's figures are those of the committed tables."""

from pathlib import Path

from convpress.report.readme import results_table, with_results

ROOT = Path(__file__).resolve().parents[2]


def test_readme_and_tables_agree():
    text = (ROOT / "README.md").read_text()
    assert with_results(text, results_table(ROOT / "results" / "cifar10" / "tables")) == text, "call `make docs`"


def test_only_the_marked_part_changes():
    text = "a\n<!-- results:begin x -->\nold\n<!-- results:end -->\nz\n"
    assert with_results(text, "new") == "a\n<!-- results:begin x -->\nnew\n<!-- results:end -->\nz\n"
