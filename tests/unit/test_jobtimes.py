"""Times of jobs are read from Snakemake's records, and summed by rule and by study."""

import json
import re
import shutil
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from made_run import page_of, run, text_of  # noqa: F401

from convpress.report.contents import Run
from convpress.report.provenance_section import at_a_time, study_times
from convpress.report.wording import SPACE
from convpress.workflow.jobtimes import SHARED, UNKNOWN, job_times

RESULTS = Path("results/mine")
RULES = Path(__file__).parents[2] / "rules"


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
    found = job_times(Path("records"), RESULTS, RULES)
    assert list(found["rule_seconds"].items()) == [
        ("evaluate", {"jobs": 1, "seconds": 100}),
        ("finetune", {"jobs": 2, "seconds": 35}),
    ]


def test_without_records_nothing_is_told(tmp_path):
    assert job_times(tmp_path / "none", RESULTS, RULES) == {}


@pytest.mark.parametrize("lost", [{"log": []}, {"starttime": None}, {"endtime": None}])
def test_a_record_that_does_not_tell_enough_is_passed_over(tmp_path, monkeypatch, lost):
    monkeypatch.chdir(tmp_path)
    record("results/mine/b.pt", "finetune", "logs/mine/finetune/y.log", 40, 45)
    record("results/mine/c.json", "evaluate", "logs/mine/evaluate/y.log", 1, 101)
    path = Path("records", urlsafe_b64encode(b"results/mine/c.json").decode())
    path.write_text(json.dumps(json.loads(path.read_text()) | lost))
    assert list(job_times(Path("records"), RESULTS, RULES)["rule_seconds"]) == ["finetune"]


def test_a_record_that_a_kill_cut_off_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record("results/mine/b.pt", "finetune", "logs/mine/finetune/y.log", 40, 45)
    record("results/mine/c.json", "evaluate", "logs/mine/evaluate/y.log", 1, 101)
    path = Path("records", urlsafe_b64encode(b"results/mine/c.json").decode())
    path.write_text(path.read_text()[:30])
    assert list(job_times(Path("records"), RESULTS, RULES)["rule_seconds"]) == ["finetune"]


def test_each_job_belongs_to_a_study_or_to_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {
        "models/baseline/a.safetensors": ("import_baseline", SHARED),
        "models/control/a.safetensors": ("finetune", SHARED),
        "models/control/b.safetensors": ("finetune_low_rank_control", SHARED),
        "models/teacher/view0.safetensors": ("teacher_logits", SHARED),
        "metrics/control/a.json": ("evaluate", SHARED),
        "tables/baselines.csv": ("baseline_tables", SHARED),
        "metrics/merging/a.json": ("evaluate", "merging"),
        "models/merging/a.safetensors": ("finetune_merged", "merging"),
        "metrics/clustering/groups/a.csv": ("sweep_clusters_group", "clustering"),
        "metrics/mine/a.json": ("evaluate", "mine"),
        "metrics/mine/deep/a.json": ("evaluate", "mine"),
        "tables/low_rank.csv": ("low_rank_tables", "low_rank"),
        "metrics/onnx/a.csv": ("export_onnx", "comparison"),
        "summary.json": ("summary", "report"),
        "models/old/a.safetensors": ("rule_of_long_ago", UNKNOWN),
    }
    for seconds, (file, (rule, _)) in enumerate(files.items(), 1):
        record(f"results/mine/{file}", rule, f"logs/mine/{rule}/{file}.log", 1, 1 + seconds)
    expected: dict[str, list[int]] = {}
    for seconds, (_, study) in enumerate(files.values(), 1):
        expected.setdefault(study, []).append(seconds)
    found = job_times(Path("records"), RESULTS, RULES)["study_seconds"]
    assert found == {study: {"jobs": len(each), "seconds": sum(each)} for study, each in expected.items()}
    assert next(iter(found)) == max(expected, key=lambda study: sum(expected[study])), "most first"


def test_every_rule_of_the_workflow_has_a_home(tmp_path, monkeypatch):
    """As the files in rules/ are written now."""
    monkeypatch.chdir(tmp_path)
    text = "".join(path.read_text() for path in RULES.glob("*.smk"))
    names = re.findall(r"^ *(?:use )?rule (?:\w+ as )?(\w+)", text, re.MULTILINE)
    assert len(names) > 40
    for name in names:
        record(f"results/mine/tables/{name}.csv", name, f"logs/mine/{name}.log", 1, 2)
    assert UNKNOWN not in job_times(Path("records"), RESULTS, RULES)["study_seconds"]


@pytest.fixture
def timed(tmp_path, run):  # noqa: F811
    """A run with records of its jobs on two cores."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    provenance = json.loads((folder / "provenance.json").read_text()) | {"cores": 2, "threads": 1}
    provenance["rule_seconds"] = {"evaluate": {"jobs": 165, "seconds": 7200}}
    provenance["study_seconds"] = {
        "sensitivity": {"jobs": 90, "seconds": 5400},
        SHARED: {"jobs": 12, "seconds": 600},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


def test_the_page_tells_what_each_rule_took(timed):
    text = text_of(page_of(timed))
    assert "What the jobs of each rule took" in text
    assert re.search(r"evaluate\s+165\s+2 h", text)


def test_the_page_tells_what_each_study_took(timed):
    text = text_of(page_of(timed))
    assert "What each study took: all its jobs as they ran last, in sum; 2 cores run 2 jobs at a time" in text
    assert "together 1 h 40 min." in text
    assert re.search(r"sensitivity\s+90\s+1 h 30 min", text)
    assert re.search(re.escape(SHARED) + r"\s+12\s+10 min", text)


def test_the_page_says_that_trainings_are_timed_by_the_clock(timed):
    text = text_of(page_of(timed))
    assert "What the trainings of each study cost, held time included; together 1 min 15 s." in text.replace(SPACE, " ")
    assert "What each training cost, held time included." in text


def test_a_run_without_the_sums_by_study_has_no_table_of_them(timed):
    provenance = json.loads((timed / "provenance.json").read_text())
    del provenance["study_seconds"]
    (timed / "provenance.json").write_text(json.dumps(provenance))
    assert study_times(Run(timed, timed)) == {}
    text = text_of(page_of(timed))
    assert "What each study took" not in text
    assert "What the jobs of each rule took" in text


def test_a_job_lasts_until_its_last_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record("results/mine/a.pt", "finetune", "logs/mine/finetune/x.log", 10, 55)
    record("results/mine/b.csv", "finetune", "logs/mine/finetune/x.log", 10, 40)
    assert job_times(Path("records"), RESULTS, RULES)["rule_seconds"]["finetune"] == {"jobs": 1, "seconds": 45}


@pytest.mark.parametrize(
    ("provenance", "words"),
    [
        ({"cores": 8, "threads": 2}, "8 cores run 4 jobs at a time"),
        ({"cores": 2}, "2 cores run 2 jobs at a time"),
        ({"cores": 2, "threads": 2}, ""),
        ({}, ""),
    ],
)
def test_how_many_jobs_run_beside_each_other(provenance, words):
    assert at_a_time(provenance) == words
