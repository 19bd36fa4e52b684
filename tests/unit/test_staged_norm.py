"""Batch norm with staged sums is batch norm."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convpress.staged_norm import StagedNorms, staged_batch_norm


def norm(channels=5):
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(channels).double()
    for values in (layer.weight.data, layer.bias.data, layer.running_mean):
        values.normal_()
    layer.running_var.uniform_(0.5, 2)
    return layer


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_outputs_gradients_and_statistics_are_those_of_batch_norm(offset):
    theirs = norm()
    theirs.running_mean.add_(offset)
    ours = copy.deepcopy(theirs)
    x = (torch.randn(6, 5, 4, 3, dtype=torch.float64) + offset).requires_grad_()
    cotangent = torch.randn_like(x)
    results = []
    for layer in (theirs, ours):
        if layer is theirs:
            y = layer(x)
        else:
            with StagedNorms():
                y = layer(x)
        gradients = torch.autograd.grad(y, [x, layer.weight, layer.bias], cotangent)
        results.append([y, *gradients, layer.running_mean, layer.running_var])
    for ours_, theirs_ in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-7, atol=1e-7)
    assert ours.num_batches_tracked == theirs.num_batches_tracked == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bfloat16_keeps_its_type_and_sums_in_float32(dtype):
    torch.manual_seed(0)
    x = (torch.randn(8, 5, 16, 16) + 3).bfloat16()
    mean, var, weight, bias = (torch.full((5,), value, dtype=dtype) for value in (0.0, 1.0, 1.0, 0.0))
    y = staged_batch_norm(x, mean, var, weight, bias, True, 1.0)
    exact = x.double()
    assert y.dtype == torch.bfloat16
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), rtol=rounding, atol=1e-5)
    torch.testing.assert_close(var.double(), exact.var((0, 2, 3)), rtol=rounding, atol=1e-5)
    expected = F.batch_norm(exact, None, None, weight.double(), bias.double(), True)
    torch.testing.assert_close(y.double(), expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize(
    "layer",
    [
        norm().eval(),
        nn.BatchNorm2d(5, affine=False).double(),
        nn.BatchNorm2d(5, track_running_stats=False).double(),
    ],
    ids=["eval", "without weights", "without statistics"],
)
def test_all_other_norms_are_left_alone(layer):
    other = copy.deepcopy(layer)
    x = torch.randn(4, 5, 6, 6, dtype=torch.float64)
    with StagedNorms():
        assert torch.equal(layer(x), other(x))
    assert all(map(torch.equal, layer.buffers(), other.buffers()))


def test_cumulative_averages_are_those_of_batch_norm():
    theirs = nn.BatchNorm2d(5, momentum=None).double()
    ours = copy.deepcopy(theirs)
    for _ in range(3):
        x = torch.randn(4, 5, 6, 6, dtype=torch.float64)
        with StagedNorms():
            torch.testing.assert_close(ours(x), theirs(x))
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, other)


def test_only_norms_of_images_in_training_are_staged(monkeypatch):
    staged = []
    monkeypatch.setattr("convpress.staged_norm.staged_batch_norm", lambda x, *_, **__: staged.append(x) or x)
    layer = norm()
    with StagedNorms():
        layer(torch.randn(4, 5, 6, 6, dtype=torch.float64))
        layer.eval()(torch.randn(4, 5, 6, 6, dtype=torch.float64))
        nn.BatchNorm1d(5)(torch.randn(4, 5))
    assert len(staged) == 1


def test_one_odd_pixel_at_the_corner_does_not_spoil_the_variance():
    torch.manual_seed(0)
    x = torch.randn(64, 3, 56, 56).relu()
    x[0, :, 0, 0] = 1000.0
    mean, var = torch.zeros(3), torch.ones(3)
    staged_batch_norm(x, mean, var, torch.ones(3), torch.zeros(3), True, 1.0)
    torch.testing.assert_close(var.double(), x.double().var((0, 2, 3)), rtol=1e-5, atol=0)
