"""Layer after layer: what is clustered stays, what follows goes on learning, and a stopped training goes on."""

from unittest.mock import Mock

import pytest
import torch
from torch import nn

from convpress.checkpoints import load
from convpress.clustering.progressive import Leg, Progress, fit_progressive
from convpress.clustering.remedies import cluster_filters, freeze_shared, plan_for, shared_layers
from convpress.compute import Compute
from convpress.config.clustering import RemedyConfig
from convpress.config.sections import TrainingConfig
from convpress.errors import ConvpressError
from convpress.layers.surgery import find_conv
from convpress.train import Trainer
from convpress.train import fit as fit_plain
from small_network import LAYERS, images, network

REMEDY = RemedyConfig(filters="frozen", progressive=True)
COMPUTE = Compute("cpu", "fp32", compile=False, channels_last=True, threads=1)
RECIPE = TrainingConfig(epochs=2, batch_size=10, lr=0.05)
DATA = images(100)


def leg(model, number, count=6, recipe=RECIPE):
    return Leg(model, DATA, recipe, COMPUTE, number=number, count=count, seed=0, view_seed=0)


def fit(folder, *, seen=lambda model, layer: None, key="k"):
    """The whole training; `seen` is called before each surgery."""
    plan = plan_for(network(), LAYERS, 0.5, REMEDY, {})

    def cluster(model, layer):
        seen(model, layer)
        cluster_filters(model, {layer: plan[layer]}, REMEDY, seed=0)
        freeze_shared(model, REMEDY)

    return fit_progressive(
        network(),
        LAYERS,
        epochs=RECIPE.epochs,
        cluster=cluster,
        leg=leg,
        observe=lambda model: {"shared": len(shared_layers(model))},
        progress=Progress(folder / "state.pt", key),
        start=folder / "start.safetensors",
    )


def test_each_layer_is_clustered_once_all_before_it_are_and_then_never_moves(tmp_path):
    kernels, later = {}, {}

    def seen(model, layer):
        assert list(shared_layers(model)) == LAYERS[: LAYERS.index(layer)]
        for name, shared in shared_layers(model).items():
            assert torch.equal(kernels.setdefault(name, shared.kernel().detach().clone()), shared.kernel())
        weight = find_conv(model, LAYERS[-1]).weight.detach().clone()
        assert not any(torch.equal(weight, old) for old in later.values())
        later[layer] = weight

    model, rows = fit(tmp_path, seen=seen)
    assert list(shared_layers(model)) == LAYERS
    assert [row["layers"] for row in rows] == [row["shared"] for row in rows] == list(range(len(LAYERS) + 1))
    assert rows[-1]["epoch"] == RECIPE.epochs
    assert rows[3]["epoch"] == 1.0
    assert all(row["seconds"] > 0 for row in rows[1:])


@pytest.mark.parametrize(("epochs", "count"), [(1, 1), (2, 1), (5, 2), (2, 6), (2, 7), (1, 10)])
def test_the_parts_are_as_long_as_the_training_together(epochs, count):
    recipe = RECIPE.model_copy(update={"epochs": epochs})
    legs = [leg(network(), number, count, recipe) for number in range(count)]
    steps = [one.passes * one.steps_per_epoch for one in legs]
    assert abs(sum(steps) - 10 * epochs) < count * legs[0].passes
    assert max(steps) - min(steps) <= max(1, legs[0].passes)
    assert all(1 <= one.steps_per_epoch <= 10 for one in legs)
    orders = [next(iter(one.batches())).labels.tolist() for one in legs]
    assert len({tuple(order) for order in orders}) == count


@pytest.mark.parametrize("filters", ["frozen", "tied"])
def test_with_one_layer_it_is_the_plain_training_of_that_layer(tmp_path, filters):
    remedy, recipe = REMEDY.model_copy(update={"filters": filters}), RECIPE.model_copy(update={"ema": 0.9})
    layer = LAYERS[2]

    def cluster(model, layer):
        cluster_filters(model, plan_for(model, [layer], 0.5, remedy, {}), remedy, seed=0)
        freeze_shared(model, remedy)

    def part(model, number):
        return leg(model, number, 1, recipe)

    options = {"epochs": 2, "observe": lambda model: {}, "start": tmp_path / "start.safetensors"}
    progress = Progress(tmp_path / "state.pt", "k")
    model, _ = fit_progressive(network(), [layer], cluster=cluster, leg=part, progress=progress, **options)
    plain = network()
    cluster(plain, layer)
    trainer = Trainer(plain, DATA, recipe, COMPUTE, seed=0, view_seed=0)
    fit_plain(trainer)
    assert trainer.average is not None
    expected = trainer.result.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_several_parts_keep_no_average_of_their_few_steps():
    recipe = RECIPE.model_copy(update={"ema": 0.9})
    assert leg(network(), 0, 2, recipe).average is None
    assert leg(network(), 0, 1, recipe).average is not None


def test_the_rate_of_each_part_ends_at_nothing():
    one = leg(network(), 1)
    rates = []
    one.run_epoch(lambda: rates.append(one.scheduler.get_last_lr()[0]))
    assert len(rates) == 3
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_fewer_steps_than_layers_are_refused():
    with pytest.raises(ConvpressError, match="20 steps for 21 layers one after another; raise its epochs"):
        leg(network(), 0, 21)


@pytest.mark.parametrize(("epochs", "count"), [(3, 2), (5, 3), (8, 5)])
def test_a_part_of_few_steps_makes_as_many_passes_as_it_has_steps(epochs, count):
    recipe = RECIPE.model_copy(update={"epochs": epochs, "batch_size": len(DATA)})
    most = -(-epochs // count)
    legs = [leg(network(), number, count, recipe) for number in range(count)]
    assert sum(part.total_steps for part in legs) == epochs
    assert all(part.steps_per_epoch == 1 and part.passes == part.total_steps <= most for part in legs)
    views = [part.epoch + done for part in legs for done in range(part.passes)]
    assert len(set(views)) == len(views)
    legs[0].run()


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_stopped_training_goes_on_to_the_same_network(tmp_path, at):
    def stop(model, layer):
        if layer == LAYERS[at]:
            raise Stopped

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(Stopped):
        fit(tmp_path / "a", seen=stop)
    visited = []
    model, rows = fit(tmp_path / "a", seen=lambda model, layer: visited.append(layer))
    assert visited == LAYERS[at:]
    whole, all_rows = fit(tmp_path / "b")
    assert [row | {"seconds": 0} for row in rows] == [row | {"seconds": 0} for row in all_rows]
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in model.state_dict().items())
    assert (tmp_path / "a/start.safetensors").read_bytes() == (tmp_path / "b/start.safetensors").read_bytes()


def test_what_another_training_left_is_not_taken_up(tmp_path):
    fit(tmp_path)
    visited = []
    fit(tmp_path, seen=lambda model, layer: visited.append(layer), key="another")
    assert visited == LAYERS
    progress = Progress(tmp_path / "state.pt", "another")
    progress.clear()
    assert progress.take_up(nn.Identity())[1] == []
    assert [path.name for path in tmp_path.iterdir()] == ["start.safetensors"]


def test_a_save_that_fails_loses_nothing_that_was_noted(tmp_path, monkeypatch):
    model, progress = network(), Progress(tmp_path / "state.pt", "k")
    progress.save(model, [{"epoch": 0.0}, {"epoch": 1.0}])
    for failing in ("save_model", "save_state"):
        with monkeypatch.context() as patch:
            patch.setattr(f"convpress.clustering.progressive.{failing}", Mock(side_effect=OSError("disk full")))
            with pytest.raises(OSError, match="full"):
                progress.save(model, [{"epoch": 0.0}, {"epoch": 1.0}, {"epoch": 2.0}])
        assert progress.take_up(network())[1] == [{"epoch": 0.0}, {"epoch": 1.0}]
    progress.save(model, [{"epoch": 0.0}, {"epoch": 1.0}, {"epoch": 2.0}])
    assert len(progress.take_up(network())[1]) == 3
    assert len(list(tmp_path.iterdir())) == 2, "the network of the part before is gone"
    progress.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_part_answers_with_its_last_pass():
    recipe = RECIPE.model_copy(update={"epochs": 4})
    one, other = leg(network(), 0, 2, recipe), leg(network(), 0, 2, recipe)
    passes = [other.run_epoch() for _ in range(other.passes)]
    assert one.run() == passes[-1] != passes[0]


def test_the_start_is_the_network_before_its_last_training(tmp_path):
    model, _ = fit(tmp_path)
    start = load(tmp_path / "start.safetensors")
    assert list(shared_layers(start)) == list(shared_layers(model)) == LAYERS
    assert torch.equal(*(each.get_submodule(LAYERS[-1]).kernel() for each in (start, model)))  # frozen
    assert not torch.equal(start.linear.weight, model.linear.weight)
