"""What an export is checked by: the images, the tolerance, the modes and types of both sides."""

import copy
import logging
import math

import numpy as np
import pytest
import torch
from torch import nn

from convpress import onnx_export
from convpress.errors import ConvpressError
from convpress.onnx_export import TOLERANCE, OnnxModel, export, largest_difference, rounding_difference

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def network():
    """In training mode, where it answers otherwise than in inference."""
    torch.manual_seed(0)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), *head)
    model[1].running_mean.normal_()
    return model.train()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    return export(network, tmp_path_factory.mktemp("onnx") / "a.onnx", images=torch.randn(5, 3, 8, 10))


def test_given_images_decide_the_size_and_are_what_is_checked(network, exported):
    assert exported.images == 5
    assert exported.difference <= TOLERANCE
    assert network.training
    x, model = torch.randn(3, 3, 8, 10), copy.deepcopy(network).eval()
    with torch.no_grad():
        torch.testing.assert_close(OnnxModel(exported.path)(x), model(x), atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(OnnxModel(exported.path)(x.double()), model(x), atol=TOLERANCE, rtol=0)


def test_a_file_runs_with_the_threads_of_torch_and_may_be_copied(exported):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = OnnxModel(exported.path)
    finally:
        torch.set_num_threads(threads)
    options = model.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert copy.deepcopy(model) is model


@pytest.mark.parametrize(
    ("difference", "tolerance", "allowed"),
    [(0.0, 0, True), (1e-4, 1e-4, True), (1.1e-4, 1e-4, False), (math.nan, 1.0, False), (math.inf, 1.0, False)],
)
def test_what_a_tolerance_allows(tmp_path, monkeypatch, difference, tolerance, allowed):
    monkeypatch.setattr(onnx_export, "write_onnx", lambda model, path, shape: path.write_bytes(b"1"))
    monkeypatch.setattr(onnx_export, "OnnxModel", lambda path: None)
    monkeypatch.setattr(onnx_export, "largest_difference", lambda *_: difference)
    path = tmp_path / "a.onnx"
    if allowed:
        assert export(nn.Flatten(), path, input_shape=(3, 2, 2), tolerance=tolerance).difference == difference
    else:
        with pytest.raises(ConvpressError, match="so no file is written"):
            export(nn.Flatten(), path, input_shape=(3, 2, 2), tolerance=tolerance)
    assert path.exists() == allowed


def test_a_tolerance_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(ConvpressError, match="tolerance is nan; 0 or more"):
        export(nn.Flatten(), tmp_path / "a.onnx", input_shape=(3, 2, 2), tolerance=math.nan)


def test_differences_count_whichever_side_is_larger_and_in_float32():
    conv, x = nn.Conv2d(3, 2, 3).bfloat16(), torch.randn(2, 3, 5, 5)
    other = copy.deepcopy(conv).float()
    assert largest_difference(conv, other, x) == 0.0
    for change in (0.25, -0.5):
        with torch.no_grad():
            other.bias += change
        assert largest_difference(conv, other, x) == pytest.approx(0.25, abs=1e-5)


def test_rounding_is_that_of_inference(network):
    assert rounding_difference(network, torch.randn(4, 3, 8, 10)) < 1e-5
    assert network.training


def test_the_images_of_torchvision_have_224_pixels_those_of_registered_networks_are_asked_for(monkeypatch):
    def noted(name):
        model = nn.Flatten()
        model.convpress_architecture = {"name": name, "arguments": {}}
        return model

    assert onnx_export.input_shape_of(noted(f"{onnx_export.TORCHVISION}resnet18")) == (3, 224, 224)
    monkeypatch.setitem(onnx_export.MODELS, "mine", noted)
    with pytest.raises(ConvpressError, match="Flatten: the size of its images is not known"):
        onnx_export.input_shape_of(noted("mine"))


def test_a_package_that_is_not_there_is_named_with_its_cure():
    with pytest.raises(ConvpressError, match=r"no_such_package is not installed; .*convpress\[onnx\]"):
        onnx_export._need("no_such_package")


def test_loggers_are_as_loud_after_an_export_as_before():
    loggers = [logging.getLogger(name) for name in ("convpress.one", "convpress.two")]
    loggers[0].setLevel(logging.DEBUG)
    with onnx_export._Quiet("convpress.one", "convpress.two"):
        assert {logger.level for logger in loggers} == {logging.ERROR}
    assert [logger.level for logger in loggers] == [logging.DEBUG, logging.NOTSET]


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 9, 9), torch.zeros(0, 3, 8, 10)])
def test_images_that_cannot_be_the_input_are_refused(network, tmp_path, images):
    with pytest.raises(ConvpressError, match=r"images are \(.*at least one of the input's shape \(3, 8, 10\)"):
        export(network, tmp_path / "a.onnx", input_shape=(3, 8, 10), images=images)


@pytest.mark.parametrize("shape", [(3, -8, 8), (3, 8.0, 10), 8, "3,8,10"])
def test_a_shape_that_is_none_is_refused(network, tmp_path, shape):
    with pytest.raises(ConvpressError, match=r"input_shape is .*; positive integers \(C, H, W\)"):
        export(network, tmp_path / "a.onnx", input_shape=shape)


def test_what_is_no_network_is_not_exported(tmp_path):
    with pytest.raises(ConvpressError, match="the network to export is None; give a module or the path"):
        export(None, tmp_path / "a.onnx")


def test_images_and_their_shape_may_be_lists_and_arrays(network, tmp_path):
    images = torch.randn(2, 3, 8, 10)
    for options in ({"images": images.tolist()}, {"input_shape": np.array([3, 8, 10]), "images": images.numpy()}):
        assert export(network, tmp_path / "a.onnx", **options).images == 2


def test_what_a_network_says_of_its_images_is_told(tmp_path):
    class Picky(nn.Module):
        def forward(self, x):
            assert x.shape[-1] == 7, "Wrong width"
            return x.mean((2, 3))

    with pytest.raises(ConvpressError, match=r"Picky with input \(3, 8, 8\) cannot be exported .*Wrong width"):
        export(Picky(), tmp_path / "a.onnx", input_shape=(3, 8, 8))


def test_images_in_float64_are_rounded_first(network):
    images = torch.randn(4, 3, 8, 10)
    assert rounding_difference(network, images.double()) == rounding_difference(network, images)


def test_a_compiled_network_is_checked_as_it_is_written(network, exported, monkeypatch):
    monkeypatch.setattr(
        onnx_export, "write_onnx", lambda model, path, shape: path.write_bytes(exported.path.read_bytes())
    )

    def backend(graph, inputs):
        raise AssertionError("the check compiles")

    compiled = torch.compile(copy.deepcopy(network), backend=backend)
    assert export(compiled, exported.path.with_name("b.onnx"), images=torch.randn(2, 3, 8, 10)).difference <= TOLERANCE
