"""What every script does around its work."""

import gc
import logging
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made_model import same_answers
from safetensors import safe_open

from convpress.checkpoints import load
from convpress.models import create_model
from convpress.workflow.codehash import code_hash

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ROOTS = (SCRIPTS.parent / "src", SCRIPTS)


@pytest.fixture
def common(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__=str(SCRIPTS / "summary.py")))
    monkeypatch.setattr(logging, "basicConfig", lambda handlers, **options: [one.close() for one in handlers])
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)
    monkeypatch.delitem(sys.modules, "common", raising=False)
    import common

    yield common
    gc.unfreeze()
    gc.enable()


class Params(dict):
    """What Snakemake hands to a script: values by name, as attributes and by `get`."""

    __getattr__ = dict.__getitem__


def a_job(code, **params):
    return SimpleNamespace(log=["job.log"], params=Params(code=code, **params))


def test_the_code_that_the_run_started_with_does_the_work(common):
    worked = []
    with common.job(a_job(code_hash(SCRIPTS / "summary.py", ROOTS))):
        worked.append(1)
    assert worked


def test_code_that_was_edited_since_the_run_started_does_not(common, caplog):
    with pytest.raises(SystemExit), common.job(a_job("another")):
        pytest.fail("the job went on")
    assert "the code of summary.py, of what it imports or loads, or of a network has changed since" in caplog.text


def test_layers_that_are_found_by_name_count_as_well(common):
    loads = ["convpress.layers.cp"]
    with common.job(a_job(code_hash(SCRIPTS / "summary.py", ROOTS, loads), loads=loads)):
        assert gc.isenabled()
    with pytest.raises(SystemExit), common.job(a_job(code_hash(SCRIPTS / "summary.py", ROOTS), loads=loads)):
        pytest.fail("the job went on")


def test_networks_that_are_found_by_name_count_as_well(common):
    file = SCRIPTS.parent / "src" / "convpress" / "models" / "alexnet.py"
    work = a_job(code_hash(SCRIPTS / "summary.py", ROOTS))
    work.config = {"network_code": {str(file): code_hash(file, ROOTS)}}
    with common.job(work):
        assert gc.isenabled()
    work.config["network_code"][str(file)] = "another"
    with pytest.raises(SystemExit), common.job(work):
        pytest.fail("the job went on")


def test_an_imported_network_names_the_code_that_reads_it(common, tmp_path, monkeypatch):
    """Another code of the network makes another file, so that what was computed with the old one runs again."""
    network = create_model("resnet8", width=4)
    torch.save(network.state_dict(), tmp_path / "foreign.pt")
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__=str(SCRIPTS / "import_baseline.py")))
    model = {"architecture": "resnet8", "arguments": {"width": 4}, "checkpoint": "foreign.pt", "key_prefix": ""}
    work = a_job(code_hash(SCRIPTS / "import_baseline.py", ROOTS), model=model, architecture="hash of resnet_cifar.py")
    work.input = SimpleNamespace(checkpoint="foreign.pt")
    work.output = SimpleNamespace(model="imported.safetensors")
    runpy.run_path(str(SCRIPTS / "import_baseline.py"), {"snakemake": work})
    with safe_open("imported.safetensors", "pt") as file:
        assert "hash of resnet_cifar.py" in str(file.metadata())
    assert same_answers(load("imported.safetensors"), network.eval())


def test_ctrl_c_is_no_failure_with_a_traceback(common, caplog):
    with pytest.raises(SystemExit) as stopped, common.job(a_job(code_hash(SCRIPTS / "summary.py", ROOTS))):
        raise KeyboardInterrupt
    assert stopped.value.code == 130
    assert "interrupted; the same command goes on" in caplog.text
    assert "Traceback" not in caplog.text
