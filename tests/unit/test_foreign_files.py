"""Files of networks of one's own: versions and states of layers, complex numbers, folders, extra data that is none."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from made_model import small_model
from torch import nn

from convpress.checkpoints import import_pretrained, load, save_model
from convpress.errors import ConvpressError
from convpress.models import MODELS, create_model


class Versioned(nn.Conv2d):
    """Before its second version it kept the weight with another sign."""

    _version = 2

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        if local_metadata.get("version", 1) < 2:
            state_dict[prefix + "weight"] = -state_dict[prefix + "weight"]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class Waves(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("waves", torch.full((2,), 1 + 2j, dtype=torch.complex64))
        self.scales = nn.ParameterDict({"one": nn.Parameter(torch.ones(1))})
        self.offsets = nn.ParameterList([nn.Parameter(torch.zeros(2))])


class Stateful(nn.Linear):
    def __init__(self, state):
        super().__init__(2, 2)
        self.state = state

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        self.state = state


@pytest.fixture
def make(monkeypatch):
    """Build a network through the registry."""

    def build(factory, **arguments):
        monkeypatch.setitem(MODELS, "mine", factory)
        return create_model("mine", **arguments)

    return build


def test_layers_with_versions_find_their_own(make, tmp_path):
    model = make(lambda: nn.Sequential(Versioned(3, 4, 3)))
    save_model(model, tmp_path / "m.safetensors")
    torch.save(nn.DataParallel(model).state_dict(), tmp_path / "m.pt")
    fresh = make(lambda: nn.Sequential(Versioned(3, 4, 3)))
    for again in (load(tmp_path / "m.safetensors"), import_pretrained(tmp_path / "m.pt", fresh)):
        assert torch.equal(again[0].weight, model[0].weight)
    old = OrderedDict(model.state_dict())  # without versions, as trainers of old wrote it
    torch.save(old, tmp_path / "old.pt")
    assert torch.equal(import_pretrained(tmp_path / "old.pt", fresh)[0].weight, -model[0].weight)


def test_a_network_with_versions_of_torchvision_comes_back(tmp_path):
    model = create_model("torchvision/mnasnet0_5").eval()
    save_model(model, tmp_path / "m.safetensors")
    torch.save(model.state_dict(), tmp_path / "m.pt")
    load(tmp_path / "m.safetensors")
    import_pretrained(tmp_path / "m.pt", model)
    torch.save(dict(model.state_dict()), tmp_path / "old.pt")
    with pytest.raises(ConvpressError, match=r"old\.pt: MNASNet does not take these weights \(version should be"):
        import_pretrained(tmp_path / "old.pt", model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_complex_buffers_and_parameters_in_dicts_and_lists_come_back(make, tmp_path, dtype):
    model = make(Waves)._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)
    save_model(model, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
        assert again.state_dict()[key].dtype == value.dtype


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (lambda: Stateful({"seen": 3}), "_extra_state is a dict, and a file holds tensors alone"),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), r"0\.weight has no numbers yet; run the network on an image"),
        (lambda: nn.Linear(2, 2, device="meta"), "weight has no numbers yet; load its weights"),
    ],
)
def test_what_no_file_can_hold_is_named(make, tmp_path, factory, words):
    with pytest.raises(ConvpressError, match=words):
        save_model(make(factory), tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_states_that_are_tensors_come_back(make, tmp_path):
    model = make(lambda: Stateful(torch.zeros(2)))
    model.state = torch.tensor([3.0, 4.0])
    save_model(model, tmp_path / "m.safetensors")
    assert torch.equal(load(tmp_path / "m.safetensors").state, model.state)


@pytest.mark.parametrize("extra", [{"a": torch.zeros(2)}, {"a": np.float32(1)}, {1: 2, "b": 3}])
def test_extra_data_that_json_cannot_hold_is_refused(tmp_path, extra):
    with pytest.raises(ConvpressError, match="extra must be numbers, texts"):
        save_model(small_model(), tmp_path / "m.safetensors", extra)


def test_a_folder_is_no_file_to_write(tmp_path):
    with pytest.raises(ConvpressError, match="this is a folder; give the name of a file"):
        save_model(small_model(), tmp_path)


def refuse(size):
    assert size % 2 == 0, "Wrong image size!"
    return nn.Linear(size, 2)


@pytest.mark.parametrize(
    ("factory", "arguments", "words"),
    [
        (refuse, {"size": 33}, r"cannot be built with \{'size': 33\} \(Wrong image size!"),
        (lambda: "a network", {}, r"its function made a str; let it return an nn\.Module"),
    ],
)
def test_networks_that_cannot_be_made_are_named(make, factory, arguments, words):
    with pytest.raises(ConvpressError, match=f"model mine: {words}"):
        make(factory, **arguments)


def test_name_is_an_argument_like_others(make):
    assert make(lambda name: nn.Linear(len(name), 2), name="abc").in_features == 3
