"""The command line: what it prints, what it refuses, and with which exit code."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import convpress
from convpress import cli
from convpress.data import load_digits
from convpress.errors import ConvpressError
from convpress.layers import TuckerConv2d, replace_conv
from convpress.models import MODELS
from convpress.predict import predict
from convpress.statistics import wilson

OWN_LAYER = """
import torch
import convpress

@convpress.register_layer
class TwiceConv2d(torch.nn.Conv2d):
    def __init__(self):
        super().__init__(3, 4, 3, padding=1)

    def arguments(self):
        return {}
"""


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Call the command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["convpress", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return call


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    network = convpress.create_model("resnet8", width=4)
    replace_conv(network, "layer2.0.conv2", TuckerConv2d, ranks=(3, 5))
    convpress.save_model(network, tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    train, test = load_digits()
    parts = {"train": train, "test": test}
    save_file({f"{k}_{n}": getattr(d, n).contiguous() for k, d in parts.items() for n in ("images", "labels")}, path)
    return path


def test_info_counts_by_hand(run, model):
    code, out, _ = run("info", model, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["architecture"] == "resnet8"
    assert facts["arguments"] == {"width": 4}
    assert [(s["layer"], s["kind"], s["arguments"]["ranks"]) for s in facts["surgeries"]] == [
        ("layer2.0.conv2", "TuckerConv2d", [3, 5])
    ]
    # Per stage two 3x3 convolutions; the Tucker layer has 8*3 + 9*3*5 + 5*8 in place of 9*8*8.
    convolutions = 9 * (3 * 4 + 2 * 4 * 4 + 4 * 8 + 8 * 16 + 16 * 16) + (8 * 3 + 9 * 3 * 5 + 5 * 8)
    norms, linear = 2 * (3 * 4 + 2 * 8 + 2 * 16), 16 * 10 + 10
    assert facts["params"] == convolutions + norms + linear
    macs = 32**2 * 9 * (3 * 4 + 2 * 4 * 4) + 16**2 * (9 * 4 * 8 + 8 * 3 + 9 * 3 * 5 + 5 * 8)
    macs += 8**2 * 9 * (8 * 16 + 16 * 16) + 16 * 10
    assert facts["macs"] == macs
    assert facts["bytes"] == model.stat().st_size


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_files_of_other_types(run, model, digits, dtype):
    plain = json.loads(run("info", model, "--json")[1])
    convpress.save_model(convpress.load(model).to(dtype), model)
    code, out, _ = run("info", model, "--json")
    assert code == 0
    assert [json.loads(out)[key] for key in ("params", "macs")] == [plain[key] for key in ("params", "macs")]
    assert run("evaluate", model, "--data", digits)[0] == 0


def test_info_for_people(run, model):
    code, out, _ = run("info", model)
    assert code == 0
    for words in ("resnet8 (width=4)", "TuckerConv2d", "layer2.0.conv2", "ranks=[3,5]"):
        assert words in out


def test_larger_images_cost_more(run, model):
    once, four = (
        json.loads(run("info", model, "--json", "--input-shape", shape)[1])["macs"] for shape in ("3,32,32", "3,64,64")
    )
    assert four - 160 == 4 * (once - 160)


def test_evaluate_is_the_accuracy_of_predict(run, model, digits):
    _, test = load_digits()
    right = int((predict(convpress.load(model), test).argmax(1) == test.labels).sum())
    want = wilson(right, len(test))
    code, out, _ = run("evaluate", model, "--data", digits, "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["test_accuracy"], facts["ci_low"], facts["ci_high"]) == (want.accuracy, want.ci_low, want.ci_high)
    code, out, _ = run("evaluate", model, "--data", digits)
    assert f"{100 * want.accuracy:.2f} % of 360 test images right" in out
    assert f"{100 * want.ci_low:.2f} to {100 * want.ci_high:.2f} %" in out


def test_export_writes_beside_the_file(run, model):
    pytest.importorskip("onnxruntime")
    code, out, _ = run("export", model, "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["file"] == str(model.with_suffix(".onnx"))
    assert facts["bytes"] == model.with_suffix(".onnx").stat().st_size
    assert facts["difference"] <= 1e-4


def test_export_allows_the_difference_that_one_gives(run, model):
    pytest.importorskip("onnxruntime")
    code, _, err = run("export", model, "--tolerance", "1e-30")
    assert code == 1
    assert "1e-30 is allowed" in err
    assert run("export", model, "--tolerance", "1000")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "none.safetensors"], "none.safetensors: there is no such model file"),
        (["evaluate", "MODEL"], "data/cifar10.safetensors: these images are not here"),
        (["evaluate", "MODEL", "--data", "mnist"], "--data is 'mnist'; cifar10 or digits"),
        (["evaluate", "MODEL", "--data", "own/digits.safetensors"], "these images are not here; give another file"),
        (["info", "."], ".: this is a folder; give the model file in it"),
        (
            ["export", "MODEL", "small.safetensors/no.onnx"],
            "/no.onnx: cannot be written (File exists)",
        ),
        (["export", "MODEL", 300 * "x" + ".onnx"], "xx.onnx: cannot be written (File name too long)"),
        (["export", "MODEL", "network.pt"], "network.pt: the file to write must end in .onnx"),
        (["info", "MODEL", "--input-shape", "32"], "--input-shape is '32'; three positive integers"),
        (["info", "MODEL", "--input-shape", "1,32,32"], "do not go through the network"),
        (["info", "MODEL", "--input-shape", "3,²,32"], "--input-shape is '3,²,32'; three positive integers"),
        (["--import", "no_such_module", "info", "MODEL"], "--import no_such_module: it cannot be imported"),
        (["--import", "", "info", "MODEL"], "--import : it cannot be imported (Empty module name)"),
        (["--import", ".x", "info", "MODEL"], "--import .x: it cannot be imported"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_1(run, model, arguments, words):
    code, out, err = run(*(model if argument == "MODEL" else argument for argument in arguments))
    assert code == 1
    assert out == ""
    assert words in err
    assert err.startswith("convpress: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("content", "words"), [("1 / 0", "division by zero"), ("def", "invalid syntax (broken.py")])
def test_a_module_that_fails_is_named(run, model, tmp_path, monkeypatch, content, words):
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    (tmp_path / "broken.py").write_text(content)
    code, _, err = run("--import", "broken", "info", model)
    assert code == 1
    assert f"convpress: --import broken: it cannot be imported ({words}" in err


def refusing_network(error):
    class Refusing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 10, 3)

        def forward(self, x):
            raise error

    return Refusing


@pytest.mark.parametrize("error", [AssertionError("Wrong height!"), ValueError("Wrong height!\nSo."), IndexError()])
def test_images_that_a_network_refuses_in_its_own_words_are_told(run, tmp_path, digits, monkeypatch, error):
    monkeypatch.setitem(MODELS, "refusing", refusing_network(error))
    convpress.save_model(convpress.create_model("refusing"), tmp_path / "refusing.safetensors")
    words = "(Wrong height!)" if str(error) else "(IndexError)"
    for command in (("info", "--input-shape", "3,8,8"), ("evaluate", "--data", digits)):
        code, _, err = run(command[0], tmp_path / "refusing.safetensors", *command[1:])
        assert code == 1
        assert words in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("network", [lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), lambda: nn.ReLU()])
def test_networks_for_other_classes_have_no_accuracy(run, tmp_path, digits, monkeypatch, network):
    monkeypatch.setitem(MODELS, "other", network)
    convpress.save_model(convpress.create_model("other"), tmp_path / "other.safetensors")
    code, out, err = run("evaluate", tmp_path / "other.safetensors", "--data", digits)
    assert (code, out) == (1, "")
    assert "numbers for an image" in err
    assert "10 classes" in err


def test_a_damaged_file_is_named(run, model):
    model.write_bytes(model.read_bytes()[:500])
    code, _, err = run("info", model)
    assert code == 1
    assert "small.safetensors: damaged" in err


def test_layers_of_ones_own_are_imported(run, model, tmp_path):
    (tmp_path / "doubled_layer.py").write_text(OWN_LAYER)
    script = "import convpress, doubled_layer as d; m = convpress.create_model('resnet8', width=4); "
    script += "convpress.put_layer(m, 'conv1', d.TwiceConv2d()); convpress.save_model(m, 'own.safetensors')"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    code, _, err = run("info", "own.safetensors")
    assert code == 1
    assert "TwiceConv2d, which is not registered" in err
    assert "convpress --import MODULE" in err
    code, out, _ = run("--import", "doubled_layer", "info", "own.safetensors")
    assert code == 0
    assert "TwiceConv2d" in out


def test_networks_of_ones_own_tell_all_but_macs_without_a_shape(run, tmp_path):
    (tmp_path / "own_network.py").write_text(
        "import convpress, torch\n@convpress.register_model('own_network')\n"
        "def own_network():\n    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))\n"
    )
    script = (
        "import convpress, own_network; convpress.save_model(convpress.create_model('own_network'), 'o.safetensors')"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    code, out, _ = run("--import", "own_network", "info", "o.safetensors")
    assert code == 0
    assert re.search(r"MACs +.*with --input-shape", out)
    code, out, _ = run("--import", "own_network", "info", "o.safetensors", "--input-shape", "3,8,8", "--json")
    assert json.loads(out)["macs"] == 6 * 6 * 4 * 27
    code, _, err = run("--import", "own_network", "export", "o.safetensors")
    assert code == 1
    assert "the size of its images is not known" in err


def test_wrong_usage_is_exit_code_2(run):
    code, _, err = run("inform")
    assert code == 2
    assert "No such command 'inform'" in err


def test_help_without_torch(tmp_path):
    script = "import sys; from convpress import cli; assert 'torch' not in sys.modules; cli.main()"
    done = subprocess.run([sys.executable, "-c", script, "-h"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("info", "evaluate", "export"):
        assert name in done.stdout


def test_completion_offers_commands_and_model_files(model, tmp_path):
    (tmp_path / "other.txt").touch()

    def complete(line):
        environment = os.environ | {
            "_CONVPRESS_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        command = [sys.executable, "-m", "convpress"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout.split()

    assert complete("convpress e") == ["evaluate", "export"]
    assert complete("convpress info sm") == ["small.safetensors"]
    assert complete("convpress info ") == ["small.safetensors"]


def test_shape_is_three_integers():
    assert cli.parse_shape("3, 32,64") == (3, 32, 64)
    with pytest.raises(ConvpressError):
        cli.parse_shape("3,0,32")
