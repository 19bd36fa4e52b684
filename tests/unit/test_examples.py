"""The examples run as a reader would run them, and do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import convpress

FOLDER = Path(__file__).resolve().parents[2] / "examples"
LINES_OF_A_METHOD = 20


def run(name, folder):
    source = str(FOLDER.parent / "src")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    environment["OMP_NUM_THREADS"] = "1"  # another process of tests runs beside
    command = [sys.executable, "-W", "error::UserWarning", str(FOLDER / name)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def methods():
    return sorted(path.name for path in FOLDER.glob("own_network_*.py"))


@pytest.mark.parametrize("name", methods())
def test_a_method_makes_a_network_of_ones_own_smaller(name, tmp_path):
    out = run(name, tmp_path)
    before, after = (int(number.replace(",", "")) for number in re.findall(r"([\d,]+)(?= to| parameters)", out))
    assert after < 0.8 * before
    assert 0 < float(out.split("move by ")[1]) < 1
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


@pytest.mark.parametrize("name", [*methods(), "own_kernel_sizes.py"])
def test_a_method_takes_under_20_lines(name):
    code = (FOLDER / name).read_text().split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line.strip()]) < LINES_OF_A_METHOD


def test_learned_kernel_sizes_are_recomposed(tmp_path):
    sizes = [int(size) for size in re.findall(r"'[25]': (\d+)", run("own_kernel_sizes.py", tmp_path))]
    assert len(sizes) == 2
    assert all(size % 2 == 1 and 1 <= size < 7 for size in sizes), "the penalty shrinks the 7 taps of the start"
    convolutions = [layer for layer in load_there(tmp_path) if isinstance(layer, nn.Conv2d)]
    assert [layer.kernel_size[0] for layer in convolutions[1:]] == sizes


def load_there(folder):
    """The layers of the one network saved in `folder`."""
    (path,) = folder.glob("*.safetensors")
    sys.path.insert(0, str(FOLDER))
    try:
        import my_network  # noqa: F401 (registers the network)
    finally:
        sys.path.remove(str(FOLDER))
    return list(convpress.load(path))


def test_one_layer_of_resnet18(tmp_path):
    pytest.importorskip("onnxruntime")
    out = run("one_layer_of_resnet18.py", tmp_path)
    # Tucker-2 of a 256 x 256 x 3 x 3 kernel at ranks (64, 64).
    before = 11_689_512
    assert f"parameters {before:,} to {before - 9 * 256**2 + 2 * 256 * 64 + 9 * 64**2:,}" in out
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".onnx"}


def test_a_method_of_ones_own(tmp_path):
    out = run("own_method.py", tmp_path)
    before = 269_722
    after = before - 2 * (9 * 64 * 64 - 2 * 3 * 64 * 48)
    assert [line.split()[0] for line in out.splitlines()[:2]] == [f"{before:,}", f"{after:,}"]
    assert (tmp_path / "resnet20-split.safetensors").is_file()
    command = out.splitlines()[-1].replace("=examples", f"={FOLDER.parent / 'src'}:{FOLDER}")
    command = command.replace(" convpress ", f" {sys.executable} -m convpress ")
    shown = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert f"{after:,}" in shown.stdout


def test_the_split_of_the_example_is_exact_at_full_rank(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from own_method import split

    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, padding=1, bias=False)
    x = torch.randn(2, 4, 7, 7)
    with torch.no_grad():
        torch.testing.assert_close(split(conv, 12)(x), conv(x), atol=1e-5, rtol=1e-4)
