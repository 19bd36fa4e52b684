"""Same seed, same machine: the same tables and models, whatever runs beside a job."""

import pytest

from conftest import copy_project

pytestmark = pytest.mark.workflow

OVERLAYS = ("config/quickstart.yaml", "tiny.yaml")
# The longest chain of the study, from the data to the evaluated dense network, and a table.
TARGETS = (
    "results/tiny/tables/baselines.csv",
    "results/tiny/metrics/kernel_search/finetune_recomposed-preserving.json",
)
PATTERNS = ("tables/*", "models/**/*.safetensors", "metrics/*/*.json", "predictions/**/*.npz")


def run(project, tiny, cores):
    (project.folder / "tiny.yaml").write_text(tiny)
    project.done(*TARGETS, "--cores", str(cores), "--configfile", *OVERLAYS)
    folder = project.folder / "results" / "tiny"
    files = [path for pattern in PATTERNS for path in folder.glob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_one_core_and_two_give_the_same_bits(tmp_path, request):
    tiny = (request.path.parent / "tiny.yaml").read_text()
    one = run(copy_project(tmp_path / "one"), tiny, 1)
    two = run(copy_project(tmp_path / "two"), tiny, 2)
    assert len(one) > 12
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
