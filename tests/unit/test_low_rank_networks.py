"""Networks of low-rank layers: what is refused, exact costs, files, and what matching outputs leaves alone."""

import copy

import pytest
import torch
from torch import nn

import convpress
from convpress.compute import resolve
from convpress.config.low_rank import ExpansionConfig
from convpress.config.sections import ComputeConfig, TrainingConfig
from convpress.data import Dataset
from convpress.errors import ConvpressError
from convpress.layers.low_rank import LowRankConv2d, SeparableConv2d
from convpress.layers.surgery import find_conv, put_layer, replace_conv
from convpress.low_rank import OutputMatching, captured, expand, freeze_all_but, measure_costs, output_distances
from convpress.measure import count_macs, count_parameters
from convpress.models import create_model
from convpress.objectives import Batch
from convpress.train import Trainer

LAYERS = ["features.3", "features.6", "features.8", "features.10"]
BASES = [8, 8, 6, 4]
NARROW = {"width": 4, "hidden": [16, 12], "input_size": 64}


def narrow():
    torch.manual_seed(0)
    return create_model("alexnet", **NARROW)


def toy_data(n=24):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Dataset(images, torch.arange(n) % 10, (0.5,) * 3, (0.25,) * 3, 10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cls": LowRankConv2d, "bases": 10}, "bases is 10; this kernel allows an integer from 1 to 9"),
        ({"cls": LowRankConv2d, "bases": 7, "choice": "per_channel"}, "the number of filters is 7; this kernel allows"),
        ({"cls": LowRankConv2d, "bases": 2, "choice": "perchannel"}, "bases is 'perchannel'; shared and per_channel"),
        ({"cls": SeparableConv2d, "rank": 13}, "rank is 13; this kernel allows an integer from 1 to 12"),
    ],
)
def test_impossible_numbers_are_refused(options, words):
    model = narrow()
    put_layer(model, "features.6", nn.Conv2d(4, 6, 3))
    with pytest.raises(ConvpressError, match=words):
        replace_conv(model, "features.6", **options)


def expansion(scheme, bases="shared"):
    return ExpansionConfig(scheme=scheme, bases=bases)


@pytest.fixture(scope="module")
def full():
    """The real AlexNet on the meta device: shapes and counts without 170 MB."""
    with torch.device("meta"):
        return create_model("alexnet", input_size=96)


def test_alexnet_has_exactly_its_parameters_and_operations(full):
    assert count_parameters(full) == 44_428_106
    assert count_macs(full.to_empty(device="cpu"), (3, 224, 224)) == 697_519_808


@pytest.mark.parametrize(
    ("decomposed", "params", "macs"), [(False, 43_584_842, 444_285_888), (True, 43_557_194, 436_221_120)]
)
def test_expanded_alexnet_has_exactly_its_parameters_and_operations(decomposed, params, macs):
    # The figures 697.53, 444.30 and 436.23 M in circulation count 9,216 operations of the average pooling as well.
    model = create_model("alexnet")
    for layer, bases in zip(LAYERS, BASES, strict=True):
        conv = find_conv(model, layer)
        new = LowRankConv2d(
            conv.in_channels, conv.out_channels, bases, conv.kernel_size, padding=conv.padding, decomposed=decomposed
        )
        put_layer(model, layer, new)
    assert count_parameters(model) == params
    assert count_macs(model, (3, 224, 224)) == macs
    assert round((macs + 9216) / 1e6, 2) == (436.23 if decomposed else 444.30)


@pytest.mark.parametrize("scheme", ["grouped", "decomposed", "separable"])
def test_an_expanded_network_comes_back_from_its_file(tmp_path, scheme):
    model = narrow().eval()
    expand(model, LAYERS, expansion(scheme), bases=[2, 2, 2, 2], compression=2.0)
    convpress.save_model(model, tmp_path / "m.safetensors")
    again = convpress.load(tmp_path / "m.safetensors")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(x), model(x))


def test_only_replaced_layers_learn_from_matching_and_they_come_nearer():
    original, model, data = narrow().eval(), narrow(), toy_data()
    expand(model, LAYERS, expansion("grouped"), bases=[2, 2, 2, 2], compression=2.0)
    before = {name: value.clone() for name, value in model.named_parameters()}
    far = output_distances(original, {"x": model}, data, LAYERS)
    freeze_all_but(model, LAYERS)
    recipe = TrainingConfig(epochs=8, batch_size=8, optimizer="adamw", lr=3e-3, weight_decay=0.01, clip_norm=1.0)
    compute = resolve(ComputeConfig(precision="fp32", compile="off"))
    trainer = Trainer(model, data, recipe, compute, seed=0, view_seed=0, objective=OutputMatching(original, LAYERS))
    for _ in range(recipe.epochs):
        trainer.run_epoch()
    inside = tuple(f"{layer}." for layer in LAYERS)
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) != name.startswith(inside), name
    near = output_distances(original, {"x": model}, data, LAYERS)
    assert sum(row["relative"] for row in near) < 0.9 * sum(row["relative"] for row in far)


@pytest.mark.parametrize("affine", [True, False])
def test_matching_holds_batch_norms_outside_its_layers(affine):
    model, layer = convpress.create_model("resnet8", width=4), "layer2.0"
    model.bn1 = nn.BatchNorm2d(4, affine=affine)
    original = copy.deepcopy(model)
    freeze_all_but(model, [layer])
    objective = OutputMatching(copy.deepcopy(original), [layer])
    recipe = TrainingConfig(epochs=2, batch_size=8, lr=1e-3)
    compute = resolve(ComputeConfig(precision="fp32", compile="off"))
    trainer = Trainer(model, toy_data(), recipe, compute, seed=0, view_seed=0, objective=objective)
    trainer.run_epoch()
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training == name.startswith(layer)
            moved = not torch.equal(module.running_mean, original.get_submodule(name).running_mean)
            assert moved == name.startswith(layer)


def test_matching_of_equal_networks_with_batch_norm_costs_nothing_and_learning_norms_go_on():
    original, layers = convpress.create_model("resnet8", width=4).eval(), ["layer2.0.conv2"]
    model = copy.deepcopy(original)
    freeze_all_but(model, layers)
    batch = Batch(torch.randn(3, 3, 32, 32), torch.zeros(3, dtype=torch.int64), None)
    objective = OutputMatching(original, layers)
    assert objective(model.train(), batch)[0] == 0
    model.bn1.requires_grad_(True)
    assert objective(model.train(), batch)[0] > 0
    assert model.bn1.training
    assert not model.layer1[0].bn1.training


def test_matching_costs_nothing_where_the_outputs_are_equal_and_counts_what_differs():
    original, model = narrow().eval(), narrow().eval()
    batch = Batch(torch.randn(3, 3, 64, 64), torch.zeros(3, dtype=torch.int64), None)
    objective = OutputMatching(original, LAYERS)
    assert objective(model, batch)[0] == 0
    with torch.no_grad():
        find_conv(model, "features.10").bias.add_(0.5)
        output = captured_output(original, batch.images)
    # Only the last layer differs, by a half everywhere.
    expected = 0.25 * output.numel() / float(output.square().sum()) / len(LAYERS)
    assert objective(model, batch)[0].item() == pytest.approx(expected, rel=1e-4)


def captured_output(model, images):
    with captured(model, LAYERS) as outputs:
        model(images)
    return outputs["features.10"]


def test_hooks_are_gone_and_outputs_are_those_before_the_activation():
    model = narrow().eval()
    output = captured_output(model, torch.randn(2, 3, 64, 64))
    assert (output < 0).any()
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(ConvpressError, match=r"no layer 'features\.99'"), captured(model, [LAYERS[0], "features.99"]):
        pass
    assert not any(module._forward_hooks for module in model.modules())


def test_costs_have_a_row_a_network_and_no_gpu_time_without_a_gpu():
    original, model = narrow(), narrow()
    expand(model, LAYERS, expansion("grouped"), bases=[1, 1, 1, 1], compression=2.0)
    rows = measure_costs(
        {"a": original, "b": model},
        (3, 64, 64),
        batch_size=2,
        repeats={torch.float32: 3, torch.bfloat16: 2},
        warmup=0,
    )
    assert [row["network"] for row in rows] == ["a", "b"]
    assert rows[1]["macs"] < rows[0]["macs"]
    assert all(row["cpu_q1_ms"] <= row["cpu_ms"] <= row["cpu_q3_ms"] for row in rows)
    assert all((row["cuda_ms"] is None) != torch.cuda.is_available() for row in rows)


def test_layers_that_are_not_there_are_named():
    with pytest.raises(ConvpressError, match=r"has no layer 'features\.66'"):
        freeze_all_but(narrow(), ["features.66"])
    with pytest.raises(ConvpressError, match=r"has no layer 'features\.66'"):
        output_distances(narrow(), {"one": narrow()}, toy_data(4), ["features.66"])


def test_the_compression_gives_the_rank():
    for compression in (2.0, 4.0):
        model = narrow()
        before = find_conv(model, "features.3").weight.numel()
        expand(model, ["features.3"], expansion("separable"), compression=compression)
        layer = model.get_submodule("features.3")
        after = layer.vertical.weight.numel() + layer.horizontal.weight.numel()
        assert 0.7 * before / compression < after <= before / compression


def test_distances_are_those_of_single_images():
    original, other, data = narrow(), narrow(), toy_data(3)
    find_conv(other, "features.3").weight.data.mul_(1.5)
    images = data.normalise(data.images)
    with captured(original.eval(), ["features.3"]) as theirs, torch.no_grad():
        original(images)
    with captured(other.eval(), ["features.3"]) as ours, torch.no_grad():
        other(images)
    (row,) = output_distances(original, {"other": other}, data, ["features.3"])
    difference = ours["features.3"] - theirs["features.3"]
    assert row["distance"] == pytest.approx(float(sum(image.norm() for image in difference)) / 3, rel=1e-4)
    assert row["relative"] == pytest.approx(float(difference.norm() / theirs["features.3"].norm()), rel=1e-4)


def test_distances_of_networks_in_float64_are_those_in_float32():
    original, other = narrow(), narrow()
    expand(other, LAYERS, expansion("grouped"), bases=[2] * 4, compression=2.0)
    single = output_distances(original, {"other": other}, toy_data(8), LAYERS)
    double = output_distances(original.double(), {"other": other.double()}, toy_data(8), LAYERS)
    assert [row["relative"] for row in single] == pytest.approx([row["relative"] for row in double], rel=1e-3)
    assert min(row["relative"] for row in single) > 0.01


def test_bases_that_are_not_one_for_each_layer_are_said_before_anything_changes():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    with pytest.raises(ConvpressError, match="1 bases for 2 layers"):
        expand(model, ["0", "1"], ExpansionConfig(scheme="grouped"), bases=[2])


@pytest.mark.parametrize(("scheme", "options"), [("grouped", {"bases": [2, 10]}), ("separable", {"compression": 13.0})])
def test_nothing_is_expanded_where_one_layer_cannot_be(scheme, options):
    model = nn.Sequential(nn.Conv2d(12, 16, 5), nn.Conv2d(16, 4, 3))
    before = dict(model.named_modules())
    with pytest.raises(ConvpressError, match="layer '1': "):
        expand(model, ["0", "1"], ExpansionConfig(scheme=scheme), **options)
    assert dict(model.named_modules()) == before
    assert type(model[0]) is nn.Conv2d


def test_layers_whose_names_begin_alike_stay_frozen():
    model = nn.Sequential(*[nn.Conv2d(1, 1, 1) for _ in range(11)])
    freeze_all_but(model, ["1"])
    assert [name for name, value in model.named_parameters() if value.requires_grad] == ["1.weight", "1.bias"]


def test_the_original_answers_in_eval_mode():
    assert not OutputMatching(narrow().train(), LAYERS).original.training


def test_distances_are_those_in_eval_mode_whatever_the_mode():
    torch.manual_seed(0)
    original, layers = create_model("resnet8", width=4), ["layer2.0.conv2"]
    other = copy.deepcopy(original)
    find_conv(other, "layer2.0.conv2").weight.data.mul_(1.5)
    (wanted,) = output_distances(original.eval(), {"x": other.eval()}, toy_data(8), layers)
    for ours, theirs in ((True, False), (False, True)):
        (row,) = output_distances(original.train(theirs), {"x": other.train(ours)}, toy_data(8), layers)
        assert row == wanted


@pytest.mark.parametrize("choice", ["shared", "per_channel"])
def test_basis_filters_are_for_what_the_expansion_says(choice):
    model, conv = narrow(), find_conv(narrow(), "features.3")
    expand(model, ["features.3"], ExpansionConfig(scheme="grouped", bases=choice), bases=[2])
    wanted = LowRankConv2d.from_conv(conv, 2, choice=choice).kernel()
    assert torch.equal(model.get_submodule("features.3").kernel(), wanted)
