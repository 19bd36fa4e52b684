"""Results travel through a folder to a clone, where nothing has to run again.

The jobs are stubs; all files, records, checksums, git and DVC are real.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from conftest import LOST, ROOT, assert_complete, object_of

pytestmark = pytest.mark.workflow


@pytest.fixture
def store(published) -> Path:
    return published.folder.parent / "store"


def test_a_folder(published, tmp_path):
    clone = published.clone(tmp_path / "clone")
    assert (clone.folder / "results/cifar10/report.html").exists(), "readers of git see it before they pull"
    clone.dvc("pull")
    assert_complete(clone)
    assert "didn't change, skipping" in clone.dvc("repro")


def test_an_experiment_runs_what_its_parameter_changes(published, tmp_path):
    clone = published.clone(tmp_path / "clone")
    clone.dvc("pull")
    key = "kernel_search.finetune_recomposed.lr"
    said = clone.dvc("exp", "run", "--name", "faster", "--set-param", f"{key}=0.013")
    ran = clone.ran(said)
    assert {"finetune_recomposed", "kernel_search_tables", "report_page", "summary"} <= ran
    assert not {"search_kernels", "finetune_cp", "finetune", "train_baseline", "fetch_data"} & ran
    changes = json.loads(clone.dvc("params", "diff", "--json"))
    assert changes == {"params.yaml": {key: {"old": 0.02, "new": 0.013, "diff": pytest.approx(-0.007)}}}
    metrics = json.loads(clone.dvc("metrics", "diff", "--json"))
    assert list(metrics) == ["results/cifar10/summary.json"]
    shown = json.loads(clone.dvc("metrics", "show", "--json"))
    assert "results/cifar10/summary.json" in json.dumps(shown)
    assert "faster" in clone.dvc("exp", "show", "--csv")
    clone.git("checkout", "--", ".")
    clone.dvc("checkout")
    assert_complete(clone)


def test_figures_can_be_looked_at_without_a_network(published, tmp_path):
    clone = published.clone(tmp_path / "clone")
    clone.dvc("plots", "show")
    page = (clone.folder / "dvc_plots/index.html").read_text()
    assert "http" not in page
    pictures = list((clone.folder / "results/cifar10/figures").iterdir())
    assert pictures
    assert all(path.name in page for path in pictures)


def test_a_damaged_object_is_refused_and_can_be_repaired(published, store, tmp_path):
    damaged = object_of((published.folder / LOST).read_bytes(), store)
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    clone = published.clone(tmp_path / "clone")
    said = clone.dvc("pull", check=False)
    assert "failed to pull" in said
    assert "results/cifar10/models" in said
    assert not any(path.read_bytes() == b"damaged" for path in clone.folder.rglob("*") if path.is_file())
    # The repair of the README, on the machine that has the results.
    store.rename(store.with_name("store.damaged"))
    published.dvc("push")
    assert damaged.exists()
    clone.dvc("pull")
    assert_complete(clone)


def test_a_remote_that_is_away_loses_nothing(published, store, tmp_path):
    clone = published.clone(tmp_path / "clone")
    away = store.rename(store.with_name("away"))
    try:
        assert "failed to pull" in clone.dvc("pull", check=False)
        assert clone.git("status", "--porcelain") == ""
    finally:
        shutil.rmtree(store, ignore_errors=True)
        away.rename(store)
    clone.dvc("pull")
    assert_complete(clone)


def test_committed_results_are_checked_against_the_lock(published, tmp_path):
    check = (sys.executable, "-m", "convpress.workflow.checkresults")
    clone = published.clone(tmp_path / "clone")
    said = clone.call(*check)
    assert "5 outputs compared" in said, "what git holds can be checked without a pull"
    clone.dvc("pull")
    said = clone.call(*check)
    assert "11 outputs compared with dvc.lock, 0 differ" in said
    assert "warning" not in said
    clone.dvc("remote", "modify", "share", "verify", "false")
    assert "call `dvc remote modify share verify true`" in clone.call(*check)
    table = clone.folder / "results/cifar10/tables/baselines.csv"
    table.write_text(table.read_text() + "\n")
    (clone.folder / "results/cifar10/summary.json").unlink()
    said = clone.call(*check, check=False)
    assert "results/cifar10/tables: its checksum is" in said
    assert "results/cifar10/summary.json: is missing" in said
    assert "2 differ or are missing" in said
    (clone.folder / "dvc.lock").unlink()
    said = clone.call(*check, check=False)
    assert said == "convpress: dvc.lock is not there yet: call `dvc repro`\n"


def test_every_remote_of_the_readme_is_verified():
    text = (ROOT / "README.md").read_text()
    names = re.findall(r"dvc remote add (?:--default )?(\w+)", text)
    assert names
    assert [name for name in names if f"dvc remote modify {name} verify true" not in text] == []
