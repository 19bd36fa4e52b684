"""The record beside metrics that cannot hold it themselves."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version

import pytest

from convpress.provenance import result_record
from convpress.sidecar import write_record

COMPUTE = {"device": "cpu", "precision": "fp32", "threads": 2}


@pytest.fixture
def inputs(tmp_path):
    for name in ("model", "data"):
        (tmp_path / name).write_text(name)
    return [tmp_path / "model", tmp_path / "data"]


def read(path):
    return json.loads(path.read_text())


def test_it_says_what_metrics_that_hold_their_record_say(tmp_path, inputs):
    metrics = tmp_path / "metrics" / "conv1.csv"
    write_record(inputs, metrics, seed=3, code="c0de", compute=COMPUTE)
    record = read(tmp_path / "metrics" / "conv1.csv.provenance.json")
    assert record == result_record(map(str, inputs), seed=3, code="c0de", compute=COMPUTE)
    digests = {str(path): hashlib.sha256(path.name.encode()).hexdigest() for path in inputs}
    assert record["inputs"] == digests
    assert list(record["inputs"]) == sorted(digests)
    assert "provenance" not in record, "the page takes files with this key for metrics"
    assert not metrics.exists()


def test_all_metrics_of_a_job_get_one(tmp_path, inputs):
    write_record(inputs, tmp_path / "a.json", str(tmp_path / "a.csv"), seed=None, code="", compute=COMPUTE)
    first, second = (read(tmp_path / f"a.{kind}.provenance.json") for kind in ("json", "csv"))
    assert first == second
    assert first["seed"] is None


def test_what_only_some_results_depend_on(tmp_path, inputs):
    write_record(inputs, tmp_path / "a.csv", seed=0, code="", compute=COMPUTE, packages=["pytest"])
    packages = read(tmp_path / "a.csv.provenance.json")["packages"]
    assert packages["pytest"] == version("pytest")
    assert packages["torch"] == version("torch")
    with pytest.raises(PackageNotFoundError):
        write_record(inputs, tmp_path / "b.csv", seed=0, code="", compute=COMPUTE, packages=["no-such-package"])
    assert not (tmp_path / "b.csv.provenance.json").exists()


def test_an_input_that_is_gone(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        write_record([tmp_path / "gone"], tmp_path / "a.csv", seed=0, code="", compute=COMPUTE)
