"""Answers of a network, and that asking leaves it fit to learn."""

import pytest
import torch
import torch.nn.functional as F

from convpress.predict import predict
from small_network import images, network


def test_answers_do_not_depend_on_the_size_of_batches():
    data = images(30)
    torch.testing.assert_close(predict(network(), data), predict(network(), data, batch_size=7))


def test_asking_changes_nothing_and_the_network_learns_after_it():
    model, data = network().train(), images(10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert predict(model, data).shape == (10, 10)
    assert model.training
    assert model.conv1.weight.is_contiguous()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    F.cross_entropy(model(data.normalise(data.images)), data.labels).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-5), (torch.bfloat16, 0.2)])
def test_a_network_of_another_type_answers_in_its_own(dtype, close):
    data = images(10)
    answers = predict(network().to(dtype), data)
    assert answers.dtype == torch.float32
    torch.testing.assert_close(answers, predict(network(), data), rtol=0, atol=close)
