"""Times of jobs are read from Snakemake's records."""

import json
import re
import shutil

from made_run import page_of, run, text_of  # noqa: F401

from convpress.workflow.jobtimes import rule_seconds


def record(folder, name, rule, log, start, end):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rule": rule, "log": [log], "starttime": start, "endtime": end}))


def test_a_job_of_several_files_counts_once_and_other_runs_do_not_count(tmp_path):
    record(tmp_path, "a", "finetune", "logs/mine/finetune/x.log", 10, 40)
    record(tmp_path, "long/b", "finetune", "logs/mine/finetune/x.log", 10, 40)
    record(tmp_path, "c", "finetune", "logs/mine/finetune/y.log", 40, 45)
    record(tmp_path, "d", "evaluate", "logs/mine/evaluate/y.log", 1, 101)
    record(tmp_path, "e", "evaluate", "logs/other/evaluate/y.log", 1, 900)
    (tmp_path / "cut").write_text('{"rule": "evaluate", "lo')
    found = rule_seconds(tmp_path, "mine")
    assert list(found.items()) == [
        ("evaluate", {"jobs": 1, "seconds": 100}),
        ("finetune", {"jobs": 2, "seconds": 35}),
    ]


def test_without_records_nothing_is_told(tmp_path):
    assert rule_seconds(tmp_path / "none", "mine") == {}


def test_the_page_tells_what_each_rule_took(tmp_path, run):  # noqa: F811
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["rule_seconds"] = {"evaluate": {"jobs": 165, "seconds": 7200}}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    text = text_of(page_of(folder))
    assert "What the jobs of each rule took" in text
    assert re.search(r"evaluate\s+165\s+2 h", text)
