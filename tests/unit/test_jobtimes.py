"""Times of jobs are read from Snakemake's records."""

import json
import re
import shutil
from base64 import urlsafe_b64encode
from pathlib import Path

from made_run import page_of, run, text_of  # noqa: F401

from convpress.workflow.jobtimes import rule_seconds

RESULTS = Path("results/mine")


def record(file, rule, log, start, end, *, there=True, parts=1):
    """A record as Snakemake writes it, and its file; long names are parted into folders."""
    name = urlsafe_b64encode(file.encode()).decode()
    step = -(-len(name) // parts)
    pieces = [name[place : place + step] for place in range(0, len(name), step)]
    path = Path("records", *(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rule": rule, "log": [log], "starttime": start, "endtime": end}))
    if there:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()


def test_jobs_count_once_and_only_where_their_files_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record("results/mine/a.pt", "finetune", "logs/mine/finetune/x.log", 10, 40)
    record("results/mine/a.csv", "finetune", "logs/mine/finetune/x.log", 10, 40, parts=3)
    record("results/mine/b.pt", "finetune", "logs/mine/finetune/y.log", 40, 45)
    record("results/mine/c.json", "evaluate", "logs/mine/evaluate/y.log", 1, 101)
    record("results/mine/failed.json", "evaluate", "logs/mine/evaluate/z.log", 1, 900, there=False)
    record("results/other/c.json", "evaluate", "logs/other/evaluate/y.log", 1, 900)
    record("results/mine/report.html", "report_page", "logs/mine/report_page.log", 1, 9)
    Path("records/cut").write_text('{"rule": "evaluate", "lo')
    found = rule_seconds(Path("records"), RESULTS)
    assert list(found.items()) == [
        ("evaluate", {"jobs": 1, "seconds": 100}),
        ("finetune", {"jobs": 2, "seconds": 35}),
    ]


def test_without_records_nothing_is_told(tmp_path):
    assert rule_seconds(tmp_path / "none", RESULTS) == {}


def test_the_page_tells_what_each_rule_took(tmp_path, run):  # noqa: F811
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["rule_seconds"] = {"evaluate": {"jobs": 165, "seconds": 7200}}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    text = text_of(page_of(folder))
    assert "What the jobs of each rule took" in text
    assert re.search(r"evaluate\s+165\s+2 h", text)
