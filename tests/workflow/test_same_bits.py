"""Same seed, same machine: the same tables and models, whatever runs beside a job."""

import pytest

from conftest import TARGETS, TINY, contents, tiny_project

pytestmark = pytest.mark.workflow


def test_one_core_and_two_give_the_same_bits(unbroken, tmp_path):
    one = tiny_project(tmp_path / "one")
    one.done(*TARGETS, "--cores", "1", overlay=TINY)
    found, wanted = contents(one), contents(unbroken)  # the unbroken run had two cores
    assert len(found) > 8
    assert found.keys() == wanted.keys()
    assert [name for name in found if found[name] != wanted[name]] == []
