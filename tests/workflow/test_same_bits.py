"""Same seed, same machine: the same tables and models, whatever runs beside a job."""

import shutil

import pytest

from conftest import TINY, Project, contents, tiny_project

pytestmark = pytest.mark.workflow

# The longest chain of the study, from the data to the evaluated dense network, and a table.
CHAIN = (
    "results/tiny/tables/baselines.csv",
    "results/tiny/metrics/kernel_search/finetune_recomposed-preserving.json",
)


def run(project, cores):
    project.done(*CHAIN, "--cores", str(cores), overlay=TINY)
    return contents(project)


def test_one_core_and_two_give_the_same_bits(unbroken, tmp_path):
    one = run(tiny_project(tmp_path / "one"), 1)
    # The unbroken run has made part of the chain on two cores already.
    two = run(Project(shutil.copytree(unbroken.folder, tmp_path / "two")), 2)
    assert len(one) > 12
    assert one.keys() <= two.keys()
    assert [name for name in one if one[name] != two[name]] == []
