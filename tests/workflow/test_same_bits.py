"""Same seed, same machine: the same tables and models, whatever runs beside a job."""

import shutil

import pytest

from conftest import TARGETS, TINY, Project, contents, tiny_project

pytestmark = pytest.mark.workflow

# The numbers of two other studies' tables, from one job each.
STUDIES = ("results/tiny/metrics/merging/sweep/fitted.csv", "results/tiny/metrics/clustering/layers/layer3.0.conv2.csv")


def test_one_core_and_two_give_the_same_bits(unbroken, tmp_path):
    one = tiny_project(tmp_path / "one")
    one.done(*TARGETS, *STUDIES, "--cores", "1", overlay=TINY)
    two = Project(shutil.copytree(unbroken.folder, tmp_path / "two"))  # the unbroken run had two cores
    two.done(*STUDIES, "--cores", "2", overlay=TINY)
    found, wanted = contents(one), contents(two)
    assert len(found) > 8
    assert found.keys() == wanted.keys()
    assert [name for name in found if found[name] != wanted[name]] == []
    different = [name for name in STUDIES if (one.folder / name).read_bytes() != (two.folder / name).read_bytes()]
    assert different == []
