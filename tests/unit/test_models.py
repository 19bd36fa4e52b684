"""The registry and the CIFAR networks."""

import pytest
import torch
from torch import nn

from convpress.errors import ConvpressError
from convpress.models import MODELS, create_model, register_model
from convpress.models.resnet_cifar import BasicBlock, PaddedShortcut


# The counts are those of the reference implementation's own table (option A shortcuts have no parameters).
@pytest.mark.parametrize(
    ("name", "blocks", "count"),
    [("resnet20", 3, 269_722), ("resnet32", 5, 464_154), ("resnet56", 9, 853_018)],
)
def test_sizes_are_those_of_the_paper(name, blocks, count):
    model = create_model(name)
    assert sum(p.numel() for p in model.parameters()) == count
    assert [len(stage) for stage in (model.layer1, model.layer2, model.layer3)] == [blocks] * 3
    assert model.convpress_architecture == {"name": name, "arguments": {}}


def test_keys_are_the_reference_ones():
    block = {f"{layer}.weight" for layer in ("conv1", "bn1", "conv2", "bn2")}
    wanted = {"conv1.weight", "bn1.weight", "linear.weight"}
    wanted |= {f"layer{stage}.0.{key}" for stage in (1, 2, 3) for key in block}
    assert {key for key in create_model("resnet8").state_dict() if key.endswith("weight")} == wanted


def test_option_a_subsamples_and_pads_with_zero_channels():
    x = torch.randn(2, 16, 8, 8)
    out = PaddedShortcut(16)(x)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_a_block_without_convolutions_is_its_shortcut():
    block = BasicBlock(4, 8, stride=2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 4, 6, 6)
    assert torch.equal(block(x), block.shortcut(x))


def test_width_scales_every_stage():
    model = create_model("resnet8", width=8, num_classes=3)
    assert model.convpress_architecture["arguments"] == {"width": 8, "num_classes": 3}
    assert model.linear.weight.shape == (3, 32)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_torchvision_models_are_known():
    model = create_model("torchvision/squeezenet1_1", num_classes=7, weights=None)
    assert model.convpress_architecture == {
        "name": "torchvision/squeezenet1_1",
        "arguments": {"num_classes": 7},
    }


def test_what_pretrained_weights_change_is_noted(monkeypatch):
    from torchvision.models import _api, googlenet

    state = googlenet(init_weights=False).state_dict()
    monkeypatch.setattr(_api, "load_state_dict_from_url", lambda *_, **__: state)
    model = create_model("torchvision/googlenet", weights="DEFAULT")
    assert model.transform_input
    noted = model.convpress_architecture["arguments"]
    assert noted == {"aux_logits": False, "transform_input": True}
    assert create_model("torchvision/googlenet", init_weights=False, **noted).transform_input


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("resnet23", {}, "resnet20"),
        ("network_of_nobody", {}, "import the module that defines it .`convpress --import MODULE`"),
        ("torchvision/resnet19", {}, "torchvision/resnet18"),
        ("resnet20", {"depth": 3}, "depth"),
        ("resnet20", {"num_classes": torch.tensor(3)}, "must be numbers"),
    ],
)
def test_mistakes_are_named(name, arguments, words):
    with pytest.raises(ConvpressError, match=words):
        create_model(name, **arguments)


def test_registering_a_model_makes_it_available_once(monkeypatch):
    monkeypatch.setattr("convpress.models.registry.MODELS", MODELS.copy())
    register_model("tiny")(lambda size=2: torch.nn.Linear(size, size))
    assert create_model("tiny", size=3).convpress_architecture == {"name": "tiny", "arguments": {"size": 3}}
    with pytest.raises(ConvpressError, match="taken"):
        register_model("tiny")(torch.nn.Identity)


def test_a_definition_that_is_run_again_replaces_itself(monkeypatch):
    monkeypatch.setattr("convpress.models.registry.MODELS", MODELS.copy())

    def run_the_cell(size):
        @register_model("mine")
        def mine():
            return torch.nn.Linear(size, size)

    run_the_cell(2)
    run_the_cell(3)
    assert create_model("mine").in_features == 3


def test_weights_are_an_argument_like_others_in_a_network_of_ones_own(monkeypatch):
    monkeypatch.setattr("convpress.models.registry.MODELS", MODELS.copy())
    register_model("mine")(lambda weights=4: torch.nn.Linear(2, weights))
    assert create_model("mine", weights=8).convpress_architecture["arguments"] == {"weights": 8}


def test_arguments_that_a_network_looks_up_in_vain_are_said(monkeypatch):
    monkeypatch.setitem(MODELS, "picky", lambda sizes: nn.Linear(sizes[0], sizes[1]))
    with pytest.raises(ConvpressError, match=r"model picky: cannot be built with \{'sizes': \[3\]\}"):
        create_model("picky", sizes=[3])
