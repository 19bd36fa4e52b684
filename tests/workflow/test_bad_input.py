"""A mistake stops the run at once, with one sentence, and leaves nothing half-written."""

import hashlib
import json
import time

import pytest

pytestmark = pytest.mark.workflow


def said(project, overlay_text, *arguments, **environment):
    (project.folder / "overlay.yaml").write_text(overlay_text)
    result = project.snakemake(*arguments, overlay="overlay.yaml", **environment)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert not (project.folder / "results").exists() or not list((project.folder / "results").rglob("*.*"))
    return result.stderr


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ("kernel_search: {epocs: 3}", "kernel_search.epocs: unknown key; allowed here: cp, decompose"),
        ("kernel_search: {cp: {rank: 0}}", "kernel_search.cp.rank: 0 gives rank 0"),
        ("kernel_search: {search: {seed: {extent: 20}}}", "kernel_search.search.seed.extent: 20 is even"),
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
    start = time.monotonic()
    # A proxy on a closed port of the loopback interface stands for the missing network.
    closed = "http://127.0.0.1:9"
    text = said(project, "seed: 0", "data/checkpoints/resnet32-d509ac18.th", https_proxy=closed, http_proxy=closed)
    assert time.monotonic() - start < 60
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


def test_a_right_file_that_lies_there_is_used(project):
    content = b"stands for a checkpoint"
    name = f"toy-{hashlib.sha256(content).hexdigest()[:8]}.th"
    path = project.folder / "data" / "checkpoints" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    project.done(f"data/checkpoints/{name}.json", https_proxy="http://127.0.0.1:9")
    assert path.read_bytes() == content
    assert json.loads(path.with_name(f"{name}.json").read_text())["source"] == "present"
