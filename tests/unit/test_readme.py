"""The README's figures are those of the committed tables."""

from pathlib import Path

from convpress.report.page import LARGEST_PAGE
from convpress.report.readme import results, with_results

ROOT = Path(__file__).resolve().parents[2]


def test_readme_and_tables_agree():
    text = (ROOT / "README.md").read_text()
    committed = ROOT / "results"
    found = results(committed / "cifar10" / "tables", ROOT / "report" / "reference", committed / "benchmarks.csv")
    assert with_results(text, found) == text, "call `make docs`"


def test_the_committed_page_opens_fast():
    assert (ROOT / "results" / "cifar10" / "report.html").stat().st_size <= LARGEST_PAGE


def test_a_run_with_tables_has_all_parts(tmp_path):
    quickstart = {
        "baselines": "model,variant,test_accuracy\nresnet32,baseline,0.9263\n",
        "kernel_search": "stage,variant,accuracy_before,test_accuracy,ci_low,ci_high,delta_control,epochs,kernel_sizes,"
        "macs,latency_ms,validation_accuracy,selected\nfinetune_cp,plain,0.8,0.91,0.9,0.92,-0.01,4,,9000000,5.5,0.9,False\n",
        "targets": "study,target,measured,relation,limit,unit,met\nx,accuracy,0.93,>=,0.92,percent,met\n",
    }
    for name, content in quickstart.items():
        (tmp_path / f"{name}.csv").write_text(content)
    benchmarks = tmp_path / "benchmarks.csv"
    benchmarks.write_text("benchmark,group,case,ratio,machine,date\nb,g,1,2.0,m,d\nb,g,2,4.0,m,d\nb,g,3,2.5,m,d\n")
    found = results(tmp_path, ROOT / "report" / "reference", benchmarks)
    assert "2.50×" in found, "the median of the cases"
    assert "2.00× to 4.00×" in found
    assert "| finetune_cp" in found
    assert "91.52" in found, "the seed's figure"
    assert "92.00" in found
    assert "93.00" in found


def test_each_study_is_told_in_short():
    run = ROOT / "results" / "cifar10"
    found = results(run / "tables", ROOT / "report" / "reference", ROOT / "results" / "benchmarks.csv")
    assert found.startswith("**In short**\n\n- ")
    assert "- Low-rank expansions: " in found


def test_only_the_marked_part_changes():
    text = "a\n<!-- results:begin x -->\nold\n<!-- results:end -->\nz\n"
    assert with_results(text, "new") == "a\n<!-- results:begin x -->\nnew\n<!-- results:end -->\nz\n"
