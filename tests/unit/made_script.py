"""Runs a script of the workflow inside a test: three parts of images of unequal size, and what the work is handed."""

import gc
import logging
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from convpress.checkpoints import save_model
from convpress.workflow.codehash import code_hash
from small_network import images, network

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ROOTS = (SCRIPTS.parent / "src", SCRIPTS)
TRAIN, VALIDATION, TEST = 30, 20, 10
COMPUTE = {"threads": 1, "device": "cpu", "precision": "fp32", "compile": "off"}
RECIPE = {"epochs": 1, "batch_size": 10, "lr": 0.01, "crop_padding": 2, "flip": False}


class Named(dict):
    """What Snakemake hands to a script: values by name, as attributes; going through files gives the files."""

    __getattr__ = dict.__getitem__


class Files(Named):
    def __iter__(self):
        for value in self.values():
            yield from [value] if isinstance(value, str) else value


@pytest.fixture(name="parts")
def split_parts(monkeypatch, tmp_path):
    """The split data, and a folder with a network in `model.safetensors`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.setattr(logging, "basicConfig", lambda handlers, **options: [one.close() for one in handlers])
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)
    for name in ("common", "training", "clusters", "factors"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    places = torch.arange(TRAIN + VALIDATION + TEST).split([TRAIN, VALIDATION, TEST])
    found = tuple(images(TRAIN + VALIDATION + TEST).subset(part) for part in places)
    monkeypatch.setattr("convpress.data.load_dataset", lambda path, config: found)
    save_model(network(), "model.safetensors")
    Path("data").write_text("images")
    yield found
    for name in ("common", "training", "clusters", "factors"):
        sys.modules.pop(name, None)
    gc.unfreeze()
    gc.enable()


@pytest.fixture(name="run")
def script_runner(parts, monkeypatch):
    """Call a script; `noted` functions of the package are replaced and what they are given is returned."""

    def call(script, params, inputs=(), outputs=(), wildcards=()):
        file = SCRIPTS / f"{script}.py"
        monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__=str(file)))
        common = {"code": code_hash(file, ROOTS), "data": {"name": "digits"}, "compute": COMPUTE}
        work = SimpleNamespace(log=["job.log"], params=Named(common | params), wildcards=Named(wildcards))
        work.input = Files({"data": "data", "model": "model.safetensors"} | dict(inputs))
        work.output = Files(outputs)
        runpy.run_path(str(file), {"snakemake": work})

    return call


class Stop(Exception):
    """The work was called; what follows is none of the test's business."""


def stopping(monkeypatch, name):
    """Replace a function of the package by one that notes its arguments and ends the script."""
    given = {}

    def noted(*arguments, **options):
        given.update({"arguments": arguments} | options)
        raise Stop

    monkeypatch.setattr(name, noted)
    return given
