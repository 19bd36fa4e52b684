"""An exported network answers as the one it was made from, whatever layers it has."""

import copy

import pytest
import torch
from torch import nn

import convpress
from convpress.errors import ConvpressError
from convpress.layers import (
    LAYERS,
    CPConv2d,
    ElementwiseSharedConv2d,
    LowRankConv2d,
    SearchedConv2d,
    SeparableConv2d,
    SeparableCPConv2d,
    SharedFilterConv2d,
    SharedKernelConv2d,
    TensorChainConv2d,
    TuckerConv2d,
    find_conv,
    put_layer,
    replace_conv,
)
from convpress.layers.factorised import FactorisedConv2d
from convpress.onnx_export import TOLERANCE, OnnxModel, export, largest_difference, rounding_difference, write_onnx

ort = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def mixed():
    """ResNet-20 with one layer of each kind, strided ones too, and batch norms that do something."""
    torch.manual_seed(0)
    model = convpress.create_model("resnet20")
    replace_conv(model, "layer1.0.conv1", CPConv2d, rank=4, starts=1)
    replace_conv(model, "layer2.0.conv1", SeparableCPConv2d, rank=4, starts=1)
    replace_conv(model, "layer2.1.conv1", TuckerConv2d, ranks=(8, 8))
    replace_conv(model, "layer3.0.conv1", TensorChainConv2d, ranks=(2, 2, 2))
    searched = SearchedConv2d(32, 32, 8, mask="preserving", dense_size=3)
    nn.init.normal_(searched.vertical)
    nn.init.normal_(searched.horizontal)
    put_layer(model, "layer2.2.conv2", searched)
    conv = find_conv(model, "layer3.1.conv2")
    put_layer(model, "layer3.1.conv2", SharedFilterConv2d.from_conv(conv, labels=torch.arange(64) % 20))
    conv = find_conv(model, "layer1.1.conv1")
    labels = torch.arange(conv.weight.numel()).view(conv.weight.shape) % 5
    put_layer(model, "layer1.1.conv1", ElementwiseSharedConv2d.from_conv(conv, labels))
    labels = torch.arange(256).view(16, 16) % 7 - 1
    put_layer(model, "layer1.1.conv2", SharedKernelConv2d.from_conv(find_conv(model, "layer1.1.conv2"), labels))
    replace_conv(model, "layer1.2.conv1", LowRankConv2d, bases=4)
    replace_conv(model, "layer1.2.conv2", SeparableConv2d, rank=8)
    model.train()
    with torch.no_grad():
        model(torch.randn(32, 3, 32, 32))
    return model.eval()


@pytest.fixture(scope="module")
def exported(mixed, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "mixed.onnx"
    return export(mixed, path)


def test_every_layer_is_in_the_test(mixed):
    kinds = {type(module).__name__ for module in mixed.modules()}
    own = {name for name, cls in LAYERS.items() if cls.__module__.startswith("convpress.layers")}
    assert own <= kinds
    assert {cls.__name__ for cls in FactorisedConv2d.__subclasses__()} <= kinds


def test_same_answers_for_any_batch(mixed, exported):
    assert exported.images == 100
    assert exported.difference <= TOLERANCE
    model = OnnxModel(exported.path)
    for batch in (1, 3, 65):
        x = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(model(x), mixed(x), atol=TOLERANCE, rtol=0)
    assert exported.bytes == exported.path.stat().st_size


def test_a_file_and_its_model_give_the_same_export(mixed, exported, tmp_path):
    convpress.save_model(mixed, tmp_path / "mixed.safetensors")
    again = convpress.export(tmp_path / "mixed.safetensors", tmp_path / "again.onnx")
    assert again.path.read_bytes() == exported.path.read_bytes()


def test_a_file_holds_nothing_of_the_code_it_was_made_by(exported):
    content = exported.path.read_bytes()
    assert b"convpress" not in content
    assert b".py" not in content


def test_rounding_is_the_distance_of_float32_from_float64(mixed):
    images = torch.randn(4, 3, 32, 32)
    assert 0 < rounding_difference(mixed, images) < 1e-3
    assert next(mixed.parameters()).dtype == torch.float32

    class Cancelling(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return (x + 1e8 * self.scale) - 1e8 * self.scale

    assert rounding_difference(Cancelling(), torch.ones(1, 1)) == 1.0


def test_the_model_stays_as_it_is(tmp_path):
    model = convpress.create_model("resnet8", width=4).train().to(torch.bfloat16)
    before = copy.deepcopy(model.state_dict())
    write_onnx(model, tmp_path / "a.onnx", (3, 32, 32))
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_difference_is_seen_and_leaves_no_file(tmp_path):
    model = convpress.create_model("resnet8", width=4)
    write_onnx(model, tmp_path / "a.onnx", (3, 32, 32))
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.linear.bias[3] += 0.25
    found = largest_difference(other, OnnxModel(tmp_path / "a.onnx"), torch.randn(5, 3, 32, 32))
    assert found == pytest.approx(0.25, abs=1e-4)
    noisy = copy.deepcopy(model)
    with torch.no_grad():
        noisy.linear.weight.mul_(1e5)  # logits so large that rounding alone is more than 1e-4
    said = r"differ by up to \S+, 0\.0001 is allowed, .* rounding to float32 .* by up to \S+, and tolerance= \(--tol"
    with pytest.raises(ConvpressError, match=said):
        export(noisy, tmp_path / "b.onnx")
    with pytest.raises(ConvpressError, match=r"tolerance is -1; 0 or more"):
        export(noisy, tmp_path / "b.onnx", tolerance=-1)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.onnx"]
    assert export(noisy, tmp_path / "b.onnx", tolerance=1e3).difference > TOLERANCE


def test_a_difference_is_said_of_networks_that_do_not_follow_to_float64(tmp_path, monkeypatch):
    class Stubborn(nn.Module):
        def forward(self, x):
            return x.flatten(1) @ torch.ones(12, 2)

    monkeypatch.setattr("convpress.onnx_export.largest_difference", lambda *_: 1.0)
    with pytest.raises(ConvpressError, match="by an unknown amount, and tolerance="):
        export(Stubborn(), tmp_path / "a.onnx", input_shape=(3, 2, 2))


def test_what_cannot_be_exported_is_said(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(ConvpressError, match=r"Odd with input .* cannot be exported") as said:
        export(Odd(), tmp_path / "odd.onnx", input_shape=(3, 8, 8))
    assert "\x1b" not in str(said.value)
    with pytest.raises(ConvpressError, match=r"\(1, 32, 32\) cannot be exported to ONNX \(.*[Gg]iven groups=1") as said:
        export(nn.Conv2d(3, 2, 3), tmp_path / "odd.onnx", input_shape=(1, 32, 32))
    assert "\x1b" not in str(said.value)
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_is_named(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(ConvpressError, match=r"x\.onnx: ONNX Runtime cannot read it"):
        OnnxModel(tmp_path / "x.onnx")


def test_images_in_float64_are_compared_in_float32():
    model = nn.Conv2d(3, 2, 3)
    assert largest_difference(model, model, torch.randn(2, 3, 5, 5, dtype=torch.float64)) == 0.0
