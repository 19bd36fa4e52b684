"""A mistake stops the run at once, with one sentence, and leaves nothing half-written."""

import hashlib
import json
import os

import pytest
import torch

from convpress.models.registry import create_model

pytestmark = pytest.mark.workflow

RECORD_BYTES = 3073


def said(project, overlay_text, *arguments, **environment):
    (project.folder / "overlay.yaml").write_text(overlay_text)
    result = project.snakemake(*arguments, overlay="overlay.yaml", **environment)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    left = [path for folder in ("results", "data") for path in (project.folder / folder).rglob("*.*")]
    assert left == []
    return result.stderr


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("kernel_search: {epocs: 3}", "kernel_search.epocs: unknown key; allowed here: cp, decompose"),
        (
            "models: {resnet20: {checkpoint: resnet20.th}}",
            "models.resnet20.checkpoint: 'resnet20.th' cannot be fetched",
        ),
        ("low_rank: {input_size: 64}", "low_rank.input_size is 64, but models.alexnet.arguments.input_size is 96"),
        ("kernel_search: {decompose: [layer4.0.conv2], layers: [layer4.0.conv2]}", "no layer 'layer4.0.conv2'"),
    ],
)
def test_configuration(project, overlay, words):
    assert words in said(project, overlay)


def test_results_that_cannot_be_written(project):
    (project.folder / "results").write_text("a file, not a folder")
    result = project.snakemake()
    assert result.returncode == 1
    assert "results is a file, not a folder; move it away" in result.stderr


def test_no_network_and_no_mirror(project):
    # A proxy on a closed port of the loopback interface stands for the missing network.
    closed = "http://127.0.0.1:9"
    text = said(project, "seed: 0", "data/checkpoints/resnet32-d509ac18.th", https_proxy=closed, http_proxy=closed)
    for words in ("resnet32-d509ac18.th", "make quickstart", "CONVPRESS_MIRROR", "dvc pull"):
        assert words in text


def spoilt(project, tmp_path, name, content):
    folder = tmp_path / "mirror" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    return said(
        project,
        "seed: 0",
        f"data/checkpoints/{name}",
        CONVPRESS_MIRROR=str(tmp_path / "mirror"),
        https_proxy="http://127.0.0.1:9",
    )


def test_an_altered_checkpoint_is_not_taken(project, tmp_path):
    text = spoilt(project, tmp_path, "resnet32-d509ac18.th", b"not the checkpoint")
    assert "sha256" in text


class Runs:
    """A pickle that would run code."""

    def __reduce__(self):
        """Call a function of the system when it is read."""
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("content", "words"),
    [({"state_dict": Runs()}, "system"), (create_model("resnet8", width=4).state_dict(), "does not fit resnet20")],
    ids=["runs code", "another network"],
)
def test_a_checkpoint_that_cannot_be_taken(project, content, words):
    (project.folder / "mine").mkdir()
    torch.save(content, project.folder / "mine" / "own.th")
    overlay = "models: {resnet20: {checkpoint: mine/own.th}}"
    text = said(project, overlay, "-n")
    assert "mine/own.th" in text
    assert words in text


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\x0a" + bytes(RECORD_BYTES * 10_000 - 1), "record 0 has the label 10"), (bytes(RECORD_BYTES * 7), "belong")],
    ids=["label", "size"],
)
def test_spoilt_images(project, tmp_path, content, words):
    folder = tmp_path / "mirror" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / f"{name}.bin").write_bytes(bytes(RECORD_BYTES * 10_000) if name != "data_batch_3" else content)
    environment = {"CONVPRESS_MIRROR": str(tmp_path / "mirror"), "https_proxy": "http://127.0.0.1:9"}
    text = said(project, "seed: 0", "data/cifar10.safetensors", **environment)
    assert "data_batch_3.bin" in text
    assert words in text


def test_a_right_file_that_lies_there_is_used(project):
    content = b"stands for a checkpoint"
    name = f"toy-{hashlib.sha256(content).hexdigest()[:8]}.th"
    path = project.folder / "data" / "checkpoints" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    project.done(f"data/checkpoints/{name}.json", https_proxy="http://127.0.0.1:9")
    assert path.read_bytes() == content
    assert json.loads(path.with_name(f"{name}.json").read_text())["source"] == "present"


def test_a_key_that_stands_twice(project):
    text = said(project, "control: {lr: 0.1}\ncontrol: {epochs: 3}", "-n")
    assert "overlay.yaml, line 2: key 'control' stands there twice; join the two" in text


def test_another_folder(project, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    text = said(project, "seed: 0", "-n", "--directory", str(tmp_path / "elsewhere"))
    assert f"call snakemake in {project.folder}, without --directory" in text
