"""Answers of a network, and that asking leaves it fit to learn."""

import torch
import torch.nn.functional as F

from convpress.predict import predict
from small_network import images, network


def test_answers_do_not_depend_on_the_size_of_batches():
    data = images(30)
    torch.testing.assert_close(predict(network(), data), predict(network(), data, batch_size=7))


def test_a_network_learns_after_it_was_asked():
    model, data = network(), images(10)
    logits = predict(model, data)
    assert not any(value.is_inference() for value in (*model.parameters(), *model.buffers()))
    F.cross_entropy(model(data.normalise(data.images)), data.labels).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert logits.shape == (10, 10)
