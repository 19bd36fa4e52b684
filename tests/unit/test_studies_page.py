"""The page of the studies names the rules that answer them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RULE = re.compile(r"^ *(?:use rule \w+ as|rule) (\w+)(?: with)?:$", re.MULTILINE)


def test_every_rule_occurs_but_those_of_tables_and_figures():
    rules = {name for path in ROOT.glob("rules/*.smk") for name in RULE.findall(path.read_text())}
    assert {"finetune", "finetune_cp", "record_checkpoint"} <= rules
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "studies.md").read_text()))
    assert [name for name in sorted(rules - named) if not re.search("_(tables?|figures)$", name)] == []
