"""What the jobs ask of a cluster."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import ROOT, TINY, tiny_project

pytestmark = pytest.mark.workflow


def test_only_what_runs_on_a_gpu_asks_for_one(tmp_path):
    project = tiny_project(tmp_path / "project", stubs=True)
    result = project.done("-n", "--config", "compute={device: cuda}", overlay=TINY)
    blocks = re.split(r"^(?:local)?rule (?=\w+:$)", result.stdout + result.stderr, flags=re.MULTILINE)[1:]
    asked = {
        block.partition(":")[0]: int(re.search(r"\bgpu=(\d)", block).group(1)) for block in blocks if "gpu=" in block
    }
    wanting = {name for name, gpus in asked.items() if gpus}
    assert {
        "train_baseline",
        "finetune",
        "finetune_merged",
        "evaluate",
        "sweep_clusters",
        "low_rank_latency",
    } <= wanting
    without = {"merge", "merge_sweep", "low_rank_distances", "export_onnx", "decompose_cp", "report_page"}
    assert without <= asked.keys() - wanting


@pytest.mark.parametrize(
    ("params", "memory", "minutes", "gpu"),
    [
        (["code"], 2000, 60, 0),
        (["code", "compute"], 4000, 60, 1),
        (["code", "compute", "resume"], 4000, 480, 1),
        (["measure", "compute"], 8000, 60, 1),
    ],
)
def test_a_retry_gets_twice_as_much(params, memory, minutes, gpu):
    rule = SimpleNamespace(name="any", params=dict.fromkeys(params), resources={})
    chosen = SimpleNamespace(overwrite_resources={"other": {"mem_mb": 1}})
    names = {"config": {"compute": {"device": "cuda"}}}
    names["workflow"] = SimpleNamespace(rules=[rule], resource_settings=chosen)
    exec(Path(ROOT, "rules", "resources.smk").read_text(), names)
    assert rule.resources["gpu"] == gpu
    for attempt in (1, 2):
        assert rule.resources["mem_mb"](None, attempt) == memory * attempt
        assert rule.resources["runtime"](None, attempt) == minutes * attempt
