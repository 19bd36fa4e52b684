"""The training loop: exact resuming, seeds, losses, schedules."""

import math

import pytest
import torch
import torch.nn.functional as F
from made_training import CPU, network, random_images, recipe, trainer, weights
from torch import nn

from convpress.config.sections import TrainingConfig
from convpress.data import Dataset
from convpress.errors import ConvpressError
from convpress.objectives import Batch, classification
from convpress.optimizers import freeze, schedule_factor
from convpress.predict import predict
from convpress.teachers import Teacher, teacher_logits
from convpress.train import Trainer, _generator, fit, run_key


@pytest.fixture
def data():
    return random_images()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resumed_equals_unbroken(data, tmp_path, optimizer):
    training = recipe(optimizer=optimizer)
    whole = trainer(data, training)
    history = fit(whole, validation=data, state_path=tmp_path / "a.pt", key="k")

    class Killed(Exception):
        pass

    broken = trainer(data, training)
    original = broken.run_epoch

    def run_epoch(progress):
        if broken.epoch == 2:
            raise Killed
        return original(progress)

    broken.run_epoch = run_epoch
    with pytest.raises(Killed):
        fit(broken, validation=data, state_path=tmp_path / "b.pt", key="k")
    resumed = trainer(data, training)
    resumed_history = fit(resumed, validation=data, state_path=tmp_path / "b.pt", key="k")
    assert torch.equal(weights(resumed), weights(whole))
    timeless = [[row[k] for k in row if k != "seconds"] for row in history]
    assert timeless == [[row[k] for k in row if k != "seconds"] for row in resumed_history]


def noisy():
    return nn.Sequential(*network()[:5], nn.Dropout(0.5), nn.Linear(8, 4))


def test_networks_that_draw_noise_resume_with_the_same_bits_and_leave_the_generator_alone(data, tmp_path):
    before = torch.get_rng_state()
    torch.manual_seed(3)
    whole = trainer(data, recipe(), noisy())
    torch.manual_seed(4)
    state = torch.get_rng_state()
    fit(whole)
    assert torch.equal(torch.get_rng_state(), state)
    first = trainer(data, recipe(), noisy())
    for _ in range(2):
        first.run_epoch()
    resumed = trainer(data, recipe(), noisy())
    resumed.restore(first.state())
    fit(resumed)
    assert torch.equal(weights(resumed), weights(whole))
    torch.set_rng_state(before)


def test_a_state_without_a_key_would_be_taken_for_anothers(data, tmp_path):
    with pytest.raises(ConvpressError, match="state_path= needs key="):
        fit(trainer(data, recipe()), state_path=tmp_path / "s.pt")


def test_state_of_another_run_is_not_taken_up(data, tmp_path):
    first = trainer(data, recipe(epochs=1))
    fit(first, state_path=tmp_path / "s.pt", key="one")
    second = trainer(data, recipe(epochs=2))
    history = fit(second, state_path=tmp_path / "s.pt", key="two")
    assert [row["epoch"] for row in history] == [0, 1, 2]
    alone = trainer(data, recipe(epochs=2))
    fit(alone)
    assert torch.equal(weights(second), weights(alone)), "from its own start, not from the other's end"


def test_same_seed_same_bits_other_seed_other_weights(data):
    runs = [trainer(data, recipe()), trainer(data, recipe())]
    for run in runs:
        fit(run)
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    other = Trainer(network(), data, recipe(), CPU, seed=5, view_seed=2)
    fit(other)
    assert not torch.equal(weights(other), weights(runs[0]))


@pytest.fixture
def by_colour(data):
    """Images that are as bright as their class says."""
    pixels = (data.labels * 60).to(torch.uint8)[:, None, None, None].expand(96, 3, 8, 8).contiguous()
    return Dataset(pixels, data.labels, data.mean, data.std, 4)


def test_training_learns(by_colour):
    run = trainer(by_colour, recipe(epochs=30, crop_padding=0))
    history = fit(run, validation=by_colour)
    assert history[-1]["validation_accuracy"] > 0.9
    assert history[-1]["loss"] < history[1]["loss"]


def test_distillation_is_the_formula():
    logits, teacher = torch.randn(6, 4), torch.randn(6, 4)
    labels = torch.arange(6) % 4
    training = recipe(distillation=0.3, temperature=2.5, label_smoothing=0.1)
    loss, _ = classification(training)(lambda x: x, Batch(logits, labels, teacher))
    p, q = F.softmax(teacher / 2.5, 1), F.softmax(logits / 2.5, 1)
    soft = (p * (p / q).log()).sum(1).mean()
    hard = F.cross_entropy(logits, labels, label_smoothing=0.1)
    assert torch.isclose(loss, 0.7 * hard + 0.3 * 2.5**2 * soft, rtol=1e-5)


def test_the_teacher_has_answered_the_views_that_a_training_sees(data):
    teacher = network().eval()
    views = [teacher_logits(teacher, data, CPU, view=view, view_seed=2, padding=2, flip=True) for view in (0, 1)]
    cached = torch.stack(views)
    training = recipe(distillation=0.5, epochs=2)
    run = trainer(data, training, teacher=Teacher(cached))
    for epoch in range(2):
        run.epoch = epoch
        batch = next(run.batches())
        assert torch.allclose(batch.teacher_logits, teacher(batch.images), atol=2e-3)


def shown(run):
    """All batches of an epoch, as one row a picture."""
    return torch.cat([batch.images.flatten(1) for batch in run.batches()])


def test_views_of_the_teacher_repeat_in_another_order(data):
    cached = Teacher(torch.randn(2, 96, 4))
    run = trainer(data, recipe(distillation=0.5), teacher=cached)
    epochs = []
    for run.epoch in range(4):
        epochs.append(shown(run))
    assert not torch.equal(epochs[3], epochs[1])
    same, other = (torch.cdist(epochs[3], epochs[epoch]).min(1).values for epoch in (1, 2))
    assert same.max() < 0.1  # cdist is rough
    assert other.max() > 1


def test_a_chain_sees_what_one_training_of_its_length_sees(data):
    whole, second = trainer(data, recipe(epochs=4)), trainer(data, recipe(epochs=2), first_epoch=2)
    for epoch in (0, 1):
        whole.epoch, second.epoch = 2 + epoch, epoch
        assert torch.equal(shown(second), shown(whole))
    cached = Teacher(torch.randn(3, 96, 4))
    after = trainer(data, recipe(distillation=0.5), teacher=cached, first_epoch=4)
    pairs = zip(after.batches(), order_of(after), strict=True)
    assert all(torch.equal(batch.teacher_logits, cached(indices, 1)) for batch, indices in pairs)


def order_of(run):
    """The indices of each batch of an epoch."""
    permutation = torch.randperm(len(run.data), generator=_generator(run.seed, run.first_epoch + run.epoch))
    return permutation[: run.steps_per_epoch * run.recipe.batch_size].split(run.recipe.batch_size)


@pytest.mark.parametrize("options", [{"penalties": [lambda model: torch.tensor(math.nan) * model[0].weight.sum()]}, {}])
def test_weights_that_are_no_numbers_are_no_success(data, options):
    run = trainer(data, recipe(epochs=1, batch_size=96, clip_norm=0.0), **options)
    if not options:  # the last step spoils them, after its loss is known
        run.optimizer.register_step_post_hook(lambda *_: run.model[0].weight.data.fill_(math.inf))
    with pytest.raises(ConvpressError, match="diverged in epoch 1"):
        fit(run)


def test_schedules():
    one_cycle = recipe(schedule="one_cycle", warmup=0.25)
    factors = [schedule_factor(one_cycle, step, 100) for step in range(101)]
    assert max(factors) == pytest.approx(1.0)
    assert factors.index(max(factors)) == 25
    assert factors[-1] == pytest.approx(0.0, abs=1e-12)
    assert schedule_factor(recipe(schedule="cosine"), 50, 100) == pytest.approx(0.5)
    steps = recipe(schedule="steps", milestones=[0.5, 0.75])
    assert [schedule_factor(steps, s, 100) for s in (0, 50, 75)] == pytest.approx([1, 0.1, 0.01])
    assert schedule_factor(recipe(schedule="constant"), 99, 100) == 1.0


def test_own_rates_and_frozen_parts(data):
    model = network()
    freeze(model, ["0.*"])
    before = model[0].weight.clone()
    run = trainer(data, recipe(ema=0.0), model, rates={"5.bias": 1e-9})
    bias = model[5].bias.clone()
    fit(run)
    assert torch.equal(model[0].weight, before)
    assert torch.allclose(model[5].bias, bias, atol=1e-6)
    with pytest.raises(ConvpressError, match="no parameter matches"):
        freeze(model, ["nothing*"])


def test_penalties_join_the_loss(data):
    heavy = trainer(data, recipe(ema=0.0), penalties=[lambda model: 5 * model[5].weight.square().sum()])
    light = trainer(data, recipe(ema=0.0))
    fit(heavy), fit(light)
    assert heavy.result[5].weight.norm() < 0.5 * light.result[5].weight.norm()


def test_history_tells_the_rate_that_an_epoch_began_with(data):
    training = recipe(epochs=2, batch_size=48, schedule="one_cycle")
    begun = [0.05 * schedule_factor(training, step, 4) for step in (0, 2)]
    for rates in ({}, {"0.*": 1.0}):  # the recipe's, also where the first parameters have their own
        history = fit(trainer(data, training, rates=rates))
        assert [row["lr"] for row in history[1:]] == pytest.approx(begun)
    assert begun[0] != begun[1]


def test_divergence_is_said(data):
    with pytest.raises(ConvpressError, match=r"diverged in epoch \d.*lower lr"):
        fit(trainer(data, recipe(lr=1e30, ema=0.0)))


def test_statistics_that_are_no_numbers_are_divergence_too(data):
    model = network()
    next(layer for layer in model if isinstance(layer, nn.BatchNorm2d)).running_var.fill_(torch.inf)
    with pytest.raises(ConvpressError, match=r"diverged in epoch 1 \(loss \d"):
        fit(trainer(data, recipe(ema=0.0), model))


def test_mistakes_are_said(data):
    with pytest.raises(ConvpressError, match="no teacher"):
        trainer(data, recipe(distillation=0.5))
    with pytest.raises(ConvpressError, match="larger than the 96"):
        trainer(data, recipe(batch_size=97))
    with pytest.raises(ConvpressError, match="Sequential has no parameter that learns"):
        trainer(data, recipe(), network().requires_grad_(False))
    with pytest.raises(ConvpressError, match=r"rates: no parameter that learns matches '\*\.sigmma'; .* '0\.weight'"):
        trainer(data, recipe(), rates={"*.sigmma": 0.1})


def test_key_depends_on_every_ingredient():
    keys = {
        run_key(recipe(), 0, "a"),
        run_key(recipe(), 1, "a"),
        run_key(recipe(lr=0.1), 0, "a"),
        run_key(recipe(), 0, "b"),
    }
    assert len(keys) == 4


def test_loss_is_finite_and_logged(data):
    history = fit(trainer(data, recipe(epochs=1)), record=lambda model: {"norm": model[5].weight.norm().item()})
    assert history[0]["epoch"] == 0
    assert "norm" in history[0]
    assert math.isfinite(history[1]["loss"])


@pytest.mark.parametrize("name", ["warmup", "ema"])
def test_a_recipe_that_would_learn_nothing_is_refused_by_itself(name):
    with pytest.raises(ValueError, match=f"{name} is 1, so that nothing would be learned; it must be below 1"):
        recipe(**{name: 1.0})


def test_gradients_are_clipped_to_the_norm(data):
    """Plain steps at a rate of one: the weights move by no more than the norm."""
    still = {"momentum": 0.0, "weight_decay": 0.0, "lr": 1.0, "ema": 0.0, "schedule": "constant", "epochs": 1}
    moved = []
    for norm in (1e-3, 0.0):
        run = trainer(data, recipe(**still, clip_norm=norm, batch_size=96))
        before = [parameter.detach().clone() for parameter in run.model.parameters()]
        run.run_epoch()
        steps = zip(run.model.parameters(), before, strict=True)
        moved.append(math.sqrt(sum(float((now.detach() - then).square().sum()) for now, then in steps)))
    assert moved[0] == pytest.approx(1e-3, rel=1e-3)
    assert moved[1] > 1e-2


def test_predictions_are_those_of_inference_whatever_the_mode(data):
    model = network()
    assert torch.equal(predict(model.train(), data), predict(model.eval(), data))


def test_losses_are_taken_in_float32():
    plain = TrainingConfig(epochs=1, lr=0.1)
    batch = Batch(torch.randn(4, 10), torch.arange(4), None)
    loss, logits = classification(plain)(lambda x: x.bfloat16(), batch)
    assert loss.dtype == logits.dtype == torch.float32
