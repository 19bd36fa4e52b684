"""Saving, loading, resuming."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from made_model import same_answers, small_model
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune

from convpress.checkpoints import FORMAT, load, load_state, read_metadata, save_model, save_state
from convpress.errors import ConvpressError
from convpress.files import atomic_path, md5_file, sha256_file
from convpress.layers import CPConv2d, SeparableCPConv2d, TuckerConv2d, put_layer, replace_conv, surgeries
from convpress.models import MODELS, create_model, register_model

# --- save_model, load


def test_round_trip_gives_the_same_network(tmp_path):
    model = small_model(num_classes=5)
    model(torch.rand(8, 3, 32, 32))  # so that the running statistics are not the initial ones
    save_model(model, tmp_path / "deep" / "m.safetensors", {"seed": "3"})
    again = load(tmp_path / "deep" / "m.safetensors")
    assert same_answers(model, again)
    assert not again.training
    assert again.convpress_architecture == model.convpress_architecture
    assert read_metadata(tmp_path / "deep" / "m.safetensors")["extra"] == {"seed": "3"}


def test_round_trip_with_surgeries(tmp_path):
    model = small_model()
    put_layer(model, "layer1.0.conv2", CPConv2d(4, 4, rank=3, kernel_size=3, padding=1, bias=False))
    put_layer(model, "layer3.0.conv1", SeparableCPConv2d(8, 16, rank=2, kernel_size=3, stride=2, padding=1))
    save_model(model, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert same_answers(model, again)
    assert surgeries(again) == surgeries(model)
    assert isinstance(again.layer1[0].conv2, CPConv2d)
    save_model(again, tmp_path / "again.safetensors")
    assert sha256_file(tmp_path / "again.safetensors") == sha256_file(tmp_path / "m.safetensors")


def test_round_trip_of_a_torchvision_network_with_surgery(tmp_path):
    model = create_model("torchvision/squeezenet1_1", num_classes=4)
    put_layer(model, "features.3.expand3x3", CPConv2d(16, 64, rank=2, kernel_size=3, padding=1))
    save_model(model, tmp_path / "m.safetensors")
    assert same_answers(model, load(tmp_path / "m.safetensors"), size=64)


def test_half_precision_and_channels_last_survive(tmp_path):
    model = small_model().to(torch.bfloat16, memory_format=torch.channels_last)
    save_model(model, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors")
    assert again.conv1.weight.dtype == torch.bfloat16
    assert torch.equal(again.conv1.weight, model.conv1.weight)
    assert again.bn1.num_batches_tracked.dtype == torch.int64


def test_same_model_same_bytes(tmp_path):
    # safetensors itself writes these four metadata keys in another order nearly every time.
    for number in range(8):
        save_model(small_model(), tmp_path / str(number), {"a": "2", "b": "1"} if number % 2 else {"b": "1", "a": "2"})
    assert len({sha256_file(path) for path in tmp_path.iterdir()}) == 1


def test_loading_leaves_the_random_state_alone(tmp_path):
    save_model(small_model(), tmp_path / "m.safetensors")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    load(tmp_path / "m.safetensors")
    assert torch.equal(torch.rand(3), expected)


def test_a_compiled_model_is_saved_as_what_it_wraps(tmp_path):
    model = small_model()
    save_model(torch.compile(model), tmp_path / "m.safetensors")
    assert same_answers(model, load(tmp_path / "m.safetensors"))


def test_a_model_of_unknown_origin_is_not_saved(tmp_path):
    with pytest.raises(ConvpressError, match="create_model"):
        save_model(nn.Linear(2, 2), tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def with_new_head(model):
    model.linear = nn.Linear(16, 100)


def with_wider_head(model):
    model.linear = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 10))


def with_more_layers(model):
    model.extra = nn.Linear(2, 2)


def with_surgery_on_a_part(model):
    replace_conv(model.layer1, "0.conv1", TuckerConv2d, ranks=(2, 2))


def with_unnoted_change_after_surgery(model):
    put_layer(model, "linear", nn.Linear(16, 4))
    model.linear = nn.Linear(16, 5)


PUT = r"put the layer there with convpress\.put_layer\(model, '{}', \.\.\.\), on the whole model\."
REGISTER = r".*register a function that makes the network as it is \(convpress\.register_model\)\."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_new_head, r"linear\.weight has shape \(100, 16\), not \(10, 16\).*" + PUT.format("linear")),
        (with_wider_head, REGISTER),
        (lambda model: parametrizations.weight_norm(model.conv1), REGISTER),
        (lambda model: prune.l1_unstructured(model.conv1, "weight", 0.5), REGISTER),
        (lambda model: setattr(model, "bn1", nn.GroupNorm(2, 4)), REGISTER),
        (with_surgery_on_a_part, r"layer1\.0\.conv1\.weight is missing; .*" + PUT.format(r"layer1\.0\.conv1")),
        (with_unnoted_change_after_surgery, PUT.format("linear")),
        (with_more_layers, r"extra\.weight is not expected; " + REGISTER),
        (lambda model: model.layer1.bfloat16(), r"is torch\.bfloat16, not torch\.float32.* model\.float\(\)\."),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, change, words):
    model = small_model()
    change(model)
    with pytest.raises(ConvpressError, match=rf"m\.safetensors: not saved, the file could not be loaded: .*{words}"):
        save_model(model, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_the_way_out_that_the_message_names_works(tmp_path):
    model = small_model()
    with_new_head(model)
    with_surgery_on_a_part(model)
    for name in ("linear", "layer1.0.conv1"):
        put_layer(model, name, model.get_submodule(name))
    save_model(model, tmp_path / "m.safetensors")
    assert same_answers(model, load(tmp_path / "m.safetensors"))


def test_a_network_whose_module_is_gone_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("convpress.models.registry.MODELS", MODELS.copy())
    register_model("mine")(lambda: nn.Linear(2, 2))
    model = create_model("mine")
    monkeypatch.undo()
    with pytest.raises(ConvpressError, match=r"not saved.*no model 'mine'.*convpress --import MODULE"):
        save_model(model, tmp_path / "m.safetensors")


def test_constructors_that_look_at_their_numbers_and_types_of_their_own_are_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("convpress.models.registry.MODELS", MODELS.copy())

    @register_model("mine")
    def mine():
        model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.LazyLinear(4))
        model[1].double()
        assert float(model[0].weight.detach().square().sum()) > 0
        return model

    model = create_model("mine")
    model[3](torch.zeros(1, 2 * 30 * 30))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    save_model(model, tmp_path / "m.safetensors")
    assert torch.equal(torch.rand(3), expected)
    state = load(tmp_path / "m.safetensors").state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_the_check_before_saving_neither_computes_nor_loads_the_compiler(tmp_path):
    script = "import sys, convpress; from convpress.rebuilding import skeleton; surgery = dict(layer='features.6', "
    script += "kind='CPConv2d', arguments=dict(in_channels=192, out_channels=384, rank=9, kernel_size=3)); "
    script += "noted = dict(architecture=dict(name='alexnet', arguments={}), surgeries=[surgery]); "
    script += "assert all(value.is_meta for value in skeleton(noted).state_dict().values()); "
    script += "convpress.save_model(convpress.create_model('resnet8'), sys.argv[1]); "
    script += "assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, tmp_path / "m.safetensors"], check=True)


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_truncated_file(tmp_path, keep):
    path = tmp_path / "m.safetensors"
    save_model(small_model(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ConvpressError, match=r"m\.safetensors: damaged"):
        load(path)


def write_with(path, **changes):
    metadata = {"convpress": str(FORMAT), "architecture": json.dumps(small_model().convpress_architecture)}
    metadata |= {"surgeries": "[]", "extra": "{}"}
    save_file(small_model().state_dict(), path, {key: value for key, value in (metadata | changes).items() if value})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"convpress": None}, "not one of convpress"),
        ({"convpress": str(FORMAT + 1)}, f"later convpress; this one reads up to {FORMAT}"),
        ({"convpress": "new"}, "metadata are damaged"),
        ({"architecture": None}, "metadata are damaged"),
        ({"architecture": "{"}, "metadata are damaged"),
        ({"architecture": "{}"}, "cannot be rebuilt"),
        ({"architecture": '{"name": "resnet9", "arguments": {}}'}, "there is no model 'resnet9'"),
        (
            {"architecture": '{"name": "resnet8", "arguments": {"width": 8}}'},
            r"does not fit resnet8: .*has shape \(4, 3, 3, 3\)",
        ),
        (
            {"surgeries": '[{"layer": "conv1", "kind": "Magic", "arguments": {}}]'},
            "conv1 is a Magic, which is not registered",
        ),
        (
            {"surgeries": '[{"layer": "conv1", "kind": "Conv2d", "arguments": {"deep": 1}}]'},
            "cannot be rebuilt",
        ),
        (
            {"surgeries": '[{"layer": "conv9", "kind": "Linear", "arguments": {"in_features": 1, "out_features": 1}}]'},
            "conv9",
        ),
    ],
)
def test_foreign_newer_and_inconsistent_files(tmp_path, changes, words):
    path = tmp_path / "m.safetensors"
    write_with(path, **changes)
    with pytest.raises(ConvpressError, match=rf"m\.safetensors: .*{words}"):
        load(path)


def test_missing_file(tmp_path):
    with pytest.raises(ConvpressError, match="no such model file"):
        load(tmp_path / "m.safetensors")


# --- save_state, load_state


def test_state_of_a_training_comes_back(tmp_path):
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    state = {
        "optimizer": optimizer.state_dict(),
        "history": [{"loss": np.float64(0.5)}],
        "key": "k",
        "rng": torch.get_rng_state(),
    }
    # Eight digits in the name of a state are no checksum, unlike in the name of a checkpoint.
    save_state(state, tmp_path / "s-20250101.pt")
    again = load_state(tmp_path / "s-20250101.pt")
    assert again["history"] == state["history"]
    for index, slot in state["optimizer"]["state"].items():
        assert torch.equal(again["optimizer"]["state"][index]["momentum_buffer"], slot["momentum_buffer"])
    assert torch.equal(again["rng"], state["rng"])


def test_missing_or_damaged_state_means_start_anew(tmp_path, caplog):
    assert load_state(tmp_path / "s.pt") is None
    save_state({"a": torch.zeros(100)}, tmp_path / "s.pt")
    (tmp_path / "s.pt").write_bytes((tmp_path / "s.pt").read_bytes()[:300])
    assert load_state(tmp_path / "s.pt") is None
    assert "s.pt: damaged" in caplog.text


# --- files


def test_atomic_path_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with atomic_path(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (path.parent, ".csv")
        temporary.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_checksums(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a").startswith("ba7816bf8f01cfea")
    assert md5_file(tmp_path / "a") == "900150983cd24fb0d6963f7d28e17f72"
