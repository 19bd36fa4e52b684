"""What a training is told reaches it: seeds, epochs, modes, precision."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from made_training import CPU, network, random_images, recipe, trainer

from convpress.teachers import teacher_logits
from convpress.train import Trainer, fit


@pytest.fixture
def data():
    return random_images()


def test_a_teacher_in_training_answers_as_in_eval_mode(data):
    found = teacher_logits(network().train(), data, CPU, view=0, view_seed=2, padding=0, flip=False)
    assert torch.allclose(found.float(), network().eval()(data.normalise(data.images)), atol=2e-3)
    assert found.dtype == torch.float16


def test_a_teacher_may_answer_with_more_than_logits(data):
    teacher = network().eval()
    given = {"view": 0, "view_seed": 2, "padding": 0, "flip": False}
    plain = teacher_logits(teacher, data, CPU, **given)
    teacher.register_forward_hook(lambda module, inputs, output: {"out": output, "aux": None})
    assert torch.equal(teacher_logits(teacher, data, CPU, **given), plain)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_teacher_answers_in_the_precision_of_the_run(data, precision, dtype):
    teacher, seen = network(), []
    teacher[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    teacher_logits(teacher, data, replace(CPU, precision=precision), view=0, view_seed=2, padding=0, flip=False)
    assert set(seen) == {dtype}


def test_training_accuracy_is_of_the_images_that_were_seen(data):
    """Of 96 images, two whole batches of 40 are."""

    def right(model, batch):
        return 0 * model(batch.images).sum(), F.one_hot(batch.labels, 4).float()

    assert trainer(data, recipe(batch_size=40), objective=right).run_epoch()["train_accuracy"] == 1


def test_noise_is_by_the_seed_and_by_the_epoch_of_the_chain(data):
    def drawn(seed, first_epoch=0):
        found = []

        def draw(model, batch):
            found.append(float(torch.rand(())))
            return 0 * model(batch.images).sum(), None

        training = recipe(epochs=2)
        run = Trainer(network(), data, training, CPU, seed=seed, view_seed=2, first_epoch=first_epoch, objective=draw)
        return [run.run_epoch() and found[-1] for _ in range(2)]

    one = drawn(1)
    assert drawn(1) == one
    assert one[0] != one[1]
    assert not set(drawn(2)) & set(one)
    assert drawn(1, first_epoch=1)[0] == one[1]


def test_what_is_recorded_is_of_the_average(data):
    run, seen = trainer(data, recipe(epochs=1, ema=0.9)), []
    fit(run, record=lambda model: seen.append(model) or {})
    assert len(seen) == 2
    assert all(model is run.average.module for model in seen)


def test_the_loss_of_a_row_is_the_mean_over_its_batches_without_the_penalties(data):
    terms = iter([1.0, 4.0])

    def objective(model, batch):
        return next(terms) + 0 * model(batch.images).sum(), None

    run = trainer(data, recipe(batch_size=48), objective=objective, penalties=[lambda model: torch.tensor(100.0)])
    assert run.run_epoch()["loss"] == pytest.approx(2.5)


def test_a_network_that_comes_in_eval_mode_learns_statistics(data):
    """As those do that a file holds."""
    run = trainer(data, recipe(epochs=1, ema=0.0), network().eval())
    assert not run.model[1].num_batches_tracked
    fit(run, validation=data)
    assert int(run.model[1].num_batches_tracked) == run.steps_per_epoch


def test_an_epoch_is_whole_batches_of_other_images_each(data):
    run = trainer(data, recipe(batch_size=40, crop_padding=0, flip=False))
    batches = [batch.images for batch in run.batches()]
    assert [len(images) for images in batches] == [40, 40]
    assert run.total_steps == 2 * run.recipe.epochs
    assert len(torch.cat(batches).flatten(1).unique(dim=0)) == 80
