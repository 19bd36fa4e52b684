"""The moving average of weights and statistics that a training ends with."""

import pytest
import torch
from made_training import network, random_images, recipe, trainer
from torch import nn
from torch.optim.swa_utils import AveragedModel

from convpress.train import fit, moving_average


@pytest.fixture
def data():
    return random_images()


def average_of(steps):
    """What an average at 0.9 makes of a value after each step: over few steps it forgets its start sooner."""
    average = steps[0]
    for number, step in enumerate(steps[1:], 1):
        decay = min(0.9, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * step
    return average


def test_weights_and_statistics_are_averaged_by_the_formula(data):
    run = trainer(data, recipe(ema=0.9, epochs=30, batch_size=24))
    weights, means = [], []
    run.optimizer.register_step_post_hook(lambda *_: weights.append(run.model[5].weight.detach().clone()))
    run.optimizer.register_step_post_hook(lambda *_: means.append(run.model[1].running_mean.clone()))
    fit(run)
    assert len(weights) == 120, "the decay reaches 0.9 after 80 steps"
    torch.testing.assert_close(run.result[5].weight.detach(), average_of(weights), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(run.result[1].running_mean, average_of(means), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(run.result[1].running_mean, means[-1], rtol=1e-4)


def test_statistics_that_were_wrong_by_orders_of_magnitude_are_forgotten_in_a_short_training(data):
    network_ = network()
    network_[1].running_var.fill_(1e4)
    run = trainer(data, recipe(ema=0.99, epochs=4, batch_size=1), network_)
    fit(run)
    assert torch.allclose(run.result[1].running_var, run.model[1].running_var, rtol=0.5)


def test_history_judges_the_average(data, monkeypatch):
    run = trainer(data, recipe(epochs=1))
    monkeypatch.setattr("convpress.train.accuracy_of", lambda model, *_: float(model is run.result))
    assert fit(run, validation=data)[-1]["validation_accuracy"] == 1.0
    assert run.result is not run.model


def test_an_average_of_weights_copies_integers():
    model = nn.Sequential(nn.Linear(1, 1))
    model.register_buffer("choice", torch.tensor([3, 7]))
    average = AveragedModel(model, multi_avg_fn=moving_average(0.9), use_buffers=True)
    average.update_parameters(model)
    with torch.no_grad():
        model[0].weight.add_(1)
    average.update_parameters(model)
    assert average.module.choice.tolist() == [3, 7]
    assert torch.allclose(average.module[0].weight, model[0].weight - 2 / 11)
