"""Same seed, same machine: the same tables and models, whatever runs beside a job."""

import pytest

from conftest import TINY, copy_project, without_times

pytestmark = pytest.mark.workflow

# The numbers of two other studies' tables, from one job each.
STUDIES = ("results/tiny/metrics/merging/sweep/fitted.csv", "results/tiny/metrics/clustering/layers/layer3.0.conv2.csv")


def test_one_core_and_two_give_the_same_bits(unbroken, tmp_path):
    """Here two jobs side by side; test_faults holds trainings, evaluations and a table on two cores against one."""
    made = {}
    for cores in ("1", "2"):
        project = unbroken.copy(tmp_path / cores)
        project.done(*STUDIES, "--cores", cores, overlay=TINY)
        made[cores] = [(project.folder / name).read_bytes() for name in STUDIES]
    assert made["1"] == made["2"]


def test_what_was_computed_with_the_former_code_of_a_network_runs_again(unbroken, tmp_path):
    """Also when the run in between stopped after the network itself, whose weights need not differ."""
    project = unbroken.copy(tmp_path / "project")
    network, metrics = "results/tiny/models/baseline/resnet8.safetensors", "results/tiny/metrics/baseline/resnet8.json"
    assert project.jobs(metrics, overlay=TINY) == []
    path = project.folder / "src" / "convpress" / "models" / "resnet_cifar.py"
    path.write_text(path.read_text() + "\n\nNEW = 1\n")
    project.done(network, "--cores", "2", overlay=TINY)
    assert project.rules(metrics, overlay=TINY) == {"evaluate"}
    assert project.jobs(network, overlay=TINY) == []


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_the_whole_quickstart_on_one_core_gives_the_same_numbers(quickstart, tmp_path):
    one = copy_project(tmp_path / "one")
    one.done("--cores", "1", overlay="config/quickstart.yaml")
    here, there = without_times(quickstart), without_times(one)
    assert len(here) > 60
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
