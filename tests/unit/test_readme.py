"""The README's figures are those of the committed tables."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import convpress
from convpress.report.benchmarks_table import NOTE, benchmark_rows, benchmarks_in_short, reference
from convpress.report.contents import Run
from convpress.report.page import LARGEST_PAGE, render_page
from convpress.report.readme import benchmarks_page, cost, results, with_results
from convpress.report.wording import SPACE

ROOT = Path(__file__).resolve().parents[2]


BENCHMARKS = ROOT / "results" / "benchmarks.csv"


@pytest.fixture(scope="module")
def committed():
    """What the README is to say of the committed tables."""
    return results(ROOT / "results" / "cifar10" / "tables", ROOT / "report" / "reference", BENCHMARKS)


def test_readme_and_tables_agree(committed):
    text = (ROOT / "README.md").read_text()
    assert with_results(text, committed) == text, "call `make docs`"
    assert (ROOT / "docs" / "benchmarks.md").read_text() == benchmarks_page(BENCHMARKS), "the same"


@pytest.mark.parametrize("name", convpress.__all__)
def test_the_readme_knows_what_the_package_offers(name):
    assert re.search(rf"\b{name}\b", (ROOT / "README.md").read_text())


LABELS = {
    "SharedFilterConv2d": torch.arange(6) % 3,
    "SharedKernelConv2d": torch.arange(24).reshape(6, 4) % 5,
    "ElementwiseSharedConv2d": torch.arange(216).reshape(6, 4, 3, 3) % 3,
}
VALUES = {"R": 3, "M": 3, "K": 3, "(R1, R2)": (2, 3), "(r0, r1, r2)": (2, 2, 2)}
VALUES |= {"True": True, '"per_channel"': "per_channel"}


def test_the_layers_of_the_readme_take_what_it_says():
    table = dict(re.findall(r"^\| `(\w+Conv2d)` \| (.*?) \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert "extend_cp" in table.pop("SearchedConv2d")
    assert len(table) == 9
    for name, takes in table.items():
        words = re.findall(r"`(\w+)(?:=([^`]+))?`", takes)
        options = {word: VALUES[value] if value else LABELS[name] for word, value in words}
        model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1))
        assert convpress.replace_conv(model, "0", getattr(convpress, name), **options) is model[0]
        assert model(torch.zeros(1, 4, 5, 5)).shape == (1, 6, 5, 5)


def test_the_page_is_drawn_without_torch():
    """Else a change in a layer would draw it anew, and its job would wait a second and a half."""
    asked = "import sys, convpress.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


def test_the_committed_page_opens_fast():
    assert (ROOT / "results" / "cifar10" / "report.html").stat().st_size <= LARGEST_PAGE


def test_a_run_with_tables_has_all_parts(tmp_path):
    quickstart = {
        "baselines": "model,variant,test_accuracy\nresnet32,baseline,0.9263\n",
        "kernel_search": "stage,variant,accuracy_before,test_accuracy,test_n,ci_low,ci_high,delta_control,"
        "mcnemar_p,epochs,kernel_sizes,macs,latency_ms,validation_accuracy,selected\n"
        "finetune_cp,plain,0.8,0.91,10000,0.9,0.92,-0.01,0.03,4,,9000000,5.5,0.9,False\n",
        "targets": "study,target,measured,relation,limit,unit,met,test,p,reason\n"
        "x,accuracy,0.93,>=,0.92,percent,met,McNemar,0.89,\n",
    }
    tables = tmp_path / "tables"
    tables.mkdir()
    for name, content in quickstart.items():
        (tables / f"{name}.csv").write_text(content)
    benchmarks = tmp_path / "benchmarks.csv"
    benchmarks.write_text(
        "benchmark,group,case,unit,ratio,machine,date\n"
        "b,seconds against x,1,s,2.0,m,d\nb,seconds against x,2,s,4.0,m,d\nb,seconds against x,3,s,2.5,m,d\n"
    )
    found = results(tables, ROOT / "report" / "reference", benchmarks)
    assert "2.50× as fast" in found, "the median of the cases"
    assert "2.00× to 4.00×" in found
    assert "| finetune_cp" in found
    assert "91.52" in found, "the seed's figure"
    assert "92.00" in found
    assert "93.00" in found
    assert f"McNemar, p{SPACE}={SPACE}0.89" in found, "“met” with its test"
    assert f"p{SPACE}={SPACE}0.03" in found


@pytest.mark.parametrize(
    ("benchmark", "group", "against"),
    [
        ("dag_build", "10 x the grid", "1 x the grid"),
        ("decomposition", "seconds against pyTensorlab", "pyTensorlab, 4 starts"),
        ("decomposition, all families at 2x", "tucker: error against tensorly", "partial_tucker, the same start"),
    ],
)
def test_each_benchmark_says_what_it_is_held_against(benchmark, group, against):
    assert reference(benchmark, group) == against


def test_what_is_held_against_itself_has_no_row(tmp_path):
    path = tmp_path / "benchmarks.csv"
    path.write_text(
        "benchmark,group,unit,ratio,machine,date\n"
        'dag_build,"1 x the grid, 9 jobs",s,1.0,m,d\ndag_build,"10 x the grid, 90 jobs",s,0.36,m,d\n'
    )
    _, rows = benchmark_rows(path)
    assert rows == [
        ("dag_build", "10 x the grid, 90 jobs", "1 x the grid", 1, "0.36× as fast", "0.36× to 0.36×", "m", "d")
    ]


def test_errors_are_told_apart_by_the_fifth_decimal(tmp_path):
    path = tmp_path / "benchmarks.csv"
    ratios = {"": (0.9999331568934543, 1.000023, 1.0272678717203632), "s": (0.9992, 1.5, 2.0)}
    lines = [f"d,{unit} against x,{unit},{one},m,d" for unit, ones in ratios.items() for one in ones]
    path.write_text("\n".join(["benchmark,group,unit,ratio,machine,date", *lines]))
    _, ((*_, error, errors, _, _), (*_, time, times, _, _)) = benchmark_rows(path)
    assert (error, errors) == ("1.00002× as exact", "0.99993× to 1.02727×")
    assert (time, times) == ("1.50× as fast", "0.999× to 2.00×")


def test_the_readme_has_the_newest_row_of_each_comparison_and_none_that_only_helps_to_read_others(tmp_path):
    path = tmp_path / "benchmarks.csv"
    groups = [("ours, batch 1", "2026-11-23"), ("ours, batch 1", "2026-11-09"), ("again, batch 1", "2026-11-23")]
    lines = [f'm,"{group}",ms,{n}.0,machine {n},{date}' for n, (group, date) in enumerate(groups, start=1)]
    path.write_text("\n".join(["benchmark,group,unit,ratio,machine,date", *lines]))
    assert len(benchmark_rows(path)[1]) == 3
    assert [row[-2:] for row in benchmarks_in_short(path)[1]] == [("machine 1", "2026-11-23")]
    assert all(f"machine {n}" in benchmarks_page(path) for n in (1, 2, 3))


def test_the_readme_explains_no_row_that_it_leaves_out(committed):
    assert NOTE in committed
    assert "limit of merging_latency" not in committed
    assert "limit of merging_latency" in benchmarks_page(BENCHMARKS)


def test_the_cost_of_a_run_is_read(tmp_path):
    record = {"cores": 2, "processor": "X", "stage_seconds": {"a/b": 3600, "a/c": 7200}}
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    lock = tmp_path / "dvc.lock"
    lock.write_text("stages: {workflow: {outs: [{path: data, size: 2100000000}]}}")
    found = cost(Run(tmp_path, ROOT / "report"), lock)
    assert "2 trainings took 3 hours in sum, held time included (X)" in found
    assert "jobs" not in found, "nothing is known of them"
    assert f"need 3{SPACE}GB" in found
    studies = {"a": {"jobs": 3, "seconds": 5400}, "b": {"jobs": 1, "seconds": 9}}
    record |= {"processors": ["X", "Y"], "study_seconds": studies}
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    found = cost(Run(tmp_path, ROOT / "report"), lock).replace(SPACE, " ")
    assert "in sum, held time included (X and Y);" in found
    assert "In sum, all jobs took 1 h 30 min for a and 9.00 s for b; 2 cores run 2 jobs at a time. Its inputs" in found


def test_the_committed_page_is_what_todays_code_draws(tmp_path):
    render_page(ROOT / "results" / "cifar10", tmp_path / "report.html", report_folder=ROOT / "report")
    drawn, kept = ((folder / "report.html").read_text() for folder in (tmp_path, ROOT / "results" / "cifar10"))
    assert drawn == kept, "the page is older than its code; draw it again"


def test_each_study_is_told_in_short(committed):
    assert re.match(r"\*\*In short\*\*\n\n- \d+ variants of .+\n(- .+\n)+\n\*\*What to use when\*\*\n\n- ", committed)
    assert re.search(r"^- resnet20\n(  - .+\.\n)*  - .+ smaller .+\.$", committed, flags=re.MULTILINE)
    assert re.search(r"^- Merging: [^\n]+\.$", committed, flags=re.MULTILINE)
    assert "- Low-rank expansions: " in committed


def test_only_the_marked_part_changes():
    text = "a\n<!-- results:begin x -->\nold\n<!-- results:end -->\nz\n"
    assert with_results(text, "new") == "a\n<!-- results:begin x -->\nnew\n<!-- results:end -->\nz\n"


def test_the_names_that_documents_call_are_there():
    """In a process of its own, where no other test has imported the modules."""
    texts = [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    names = sorted({name for text in texts for name in re.findall(r"\bconvpress((?:\.[a-z]\w*)+)\(", text)})
    assert {".sensitivity.ranks_for", ".merging.merge_channels", ".load"} <= set(names)
    calls = "\n".join(f"convpress{name}" for name in names)
    subprocess.run([sys.executable, "-c", f"import convpress\n{calls}"], check=True)
