"""The configuration: overlays, controls, the views and epochs that follow from it."""

import copy

import pytest
import yaml
from made_config import PARAMS, ROOT, changed
from snakemake.utils import update_config
from torch.nn import Conv2d

from convpress.cifar import RECORDS
from convpress.clustering.budget import unique_ratio
from convpress.clustering.remedies import sizes_of
from convpress.config.clustering import variants
from convpress.config.schema import TRAINING_IMAGES, load_config
from convpress.data import load_digits
from convpress.errors import ConvpressError
from convpress.models.registry import create_model
from convpress.workflow.preflight import check_layers
from convpress.workflow.startup import check_writable


def merged(base, overlay):
    return {
        **base,
        **{
            key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
            for key, value in overlay.items()
        },
    }


def overlays():
    return sorted((ROOT / "config").glob("*.yaml"))


@pytest.mark.parametrize("overlay", overlays(), ids=lambda path: path.stem)
def test_overlays_are_valid(overlay):
    config = load_config(merged(PARAMS, yaml.safe_load(overlay.read_text()))).model_dump(mode="json")
    check_layers(config)


def test_params_are_valid():
    check_layers(load_config(PARAMS).model_dump(mode="json"))


def test_studied_networks_have_controls_and_that_of_low_rank_its_own_epochs():
    config = load_config(PARAMS)
    controls = config.controls()
    assert list(controls) == ["alexnet", "resnet20", "resnet32", "resnet56"]
    assert controls["alexnet"]["alexnet"].epochs == config.low_rank.control().epochs != config.control.epochs
    assert all(controls[name][name] == config.control for name in ("resnet20", "resnet32", "resnet56"))


def test_further_controls_differ_from_the_first_in_their_epochs_alone():
    config = load_config(PARAMS | {"control_lengths": {"resnet20": [3, 1], "resnet32": [], "unknown": []}})
    controls = config.controls()["resnet20"]
    assert {name: recipe.epochs for name, recipe in controls.items()} == {
        "resnet20": config.control.epochs,
        "resnet20-1e": 1,
        "resnet20-3e": 3,
    }
    assert controls["resnet20-3e"].model_copy(update={"epochs": config.control.epochs}) == config.control


def test_the_teacher_is_asked_about_the_views_that_are_seen():
    longest = max(variant["training"]["epochs"] for variant in PARAMS["merging"]["variants"].values())
    assert load_config(changed("teacher.views", 3)).teacher_views() == 3
    assert load_config(changed("teacher.views", 10 * longest)).teacher_views() == longest
    short = changed("merging.train", [PARAMS["merging"]["train"][0]])
    short["teacher"]["views"] = 10 * longest
    assert load_config(short).teacher_views() < longest


def test_the_views_of_chains_are_those_that_their_trainings_see():
    """Epochs of low_rank count as they are scaled, those of a search with what came before it."""
    params = changed("teacher.views", 1000)
    params["low_rank"] |= {"epochs_scale": 0.01, "ce": params["low_rank"]["ce"] | {"epochs": 900, "distillation": 0.5}}
    rows = load_config(params)
    assert rows.teacher_views() < 100
    params["kernel_search"]["finetune_recomposed"] |= {"distillation": 0.0}
    search = params["kernel_search"]["search"]["seed"]["training"]
    search |= {"distillation": 0.5, "epochs": 200}
    assert load_config(params).teacher_views() == 200 + params["kernel_search"]["finetune_cp"]["epochs"]


def test_chains_of_trainings_count_together():
    config = load_config(changed("teacher.views", 100))
    search = config.kernel_search
    first, last = search.finetune_cp.epochs, search.finetune_recomposed.epochs
    assert search.before("finetune_cp-plain") == search.before("search_kernels-branch") == 0
    assert search.before("search_kernels-seed") == first
    own = search.search["seed"].training.epochs
    assert search.before("finetune_recomposed-seed") == search.spent("search_kernels-seed") == first + own
    assert search.spent("finetune_recomposed-seed") == first + own + last
    rows = config.low_rank
    l2, ce = (rows.recipe(kind, 1).epochs for kind in ("l2", "ce"))
    assert [rows.spent(name) for name in ("replaced", "replaced-l2", "replaced-l2-ce")] == [0, l2, l2 + ce]


def test_the_numbers_of_training_images_are_those_of_the_data_sets():
    assert len(load_digits()[0]) == TRAINING_IMAGES["digits"]
    assert TRAINING_IMAGES["cifar10"] == 5 * RECORDS


def test_rows_of_the_low_rank_study_continue_each_other():
    study = load_config(PARAMS).low_rank
    assert study.chains() == {
        **{f"{name}-l2": (name, "l2", 1) for name in ("replaced", "decomposed", "separable")},
        **{f"{name}-l2-ce": (f"{name}-l2", "ce", 1) for name in ("replaced", "decomposed", "separable")},
        "replaced-ce": ("replaced", "ce", 1),
        "decomposed-ce2": ("decomposed", "ce", 2),
    }
    # 20 and 10 epochs, times 0.1; the control gets what the longest row gets.
    assert [study.recipe("l2", 1).epochs, study.recipe("ce", 1).epochs, study.recipe("ce", 2).epochs] == [2, 1, 2]
    assert study.control().epochs == 3


def test_no_training_of_the_seeds_schedules_listens_to_a_teacher():
    """So that no variant has one where its control has none."""
    raw = copy.deepcopy(PARAMS)
    assert load_config(raw).teacher_views() > 0
    update_config(raw, yaml.safe_load((ROOT / "config" / "paper.yaml").read_text()))
    config = load_config(raw)
    assert config.teacher_views() == 0
    assert {variant.training.ema for variant in config.merging.variants.values()} == {config.control.ema}


def test_rows_2_to_9_of_the_low_rank_study_are_those_of_the_seed():
    """Scheme, epochs of L2 and of CE, by the seed's own schedules."""
    raw = copy.deepcopy(PARAMS)
    update_config(raw, yaml.safe_load((ROOT / "config" / "paper.yaml").read_text()))
    study = load_config(raw).low_rank
    assert study.epochs_scale == 1
    scheme_1 = [row for row in study.rows if row.row < 10]
    table = {
        row.row: (study.expansions[row.expansion].scheme, row.l2 * study.l2.epochs, row.ce * study.ce.epochs)
        for row in scheme_1
    }
    assert table == {
        2: ("grouped", 0, 0),
        3: ("grouped", 20, 0),
        4: ("grouped", 20, 10),
        5: ("grouped", 0, 10),
        6: ("decomposed", 0, 0),
        7: ("decomposed", 20, 0),
        8: ("decomposed", 20, 10),
        9: ("decomposed", 0, 20),
    }
    assert {study.expansions[row.expansion].bases for row in scheme_1} == {"shared"}
    assert (study.layers, study.bases) == (["features.3", "features.6", "features.8", "features.10"], [8, 8, 6, 4])
    convolutions = [name for name, module in create_model("alexnet").named_modules() if isinstance(module, Conv2d)]
    assert study.layers == convolutions[1:], "layers 2 to 5"


def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ConvpressError, match=r"results is a file, not a folder; move it away"):
        check_writable(tmp_path / "results" / "run")
    with pytest.raises(ConvpressError, match=rf"^{tmp_path}/results: it is a file, not a folder; move it away"):
        check_writable(tmp_path / "results")
    check_writable(tmp_path / "new" / "deeper")


def test_an_override_of_an_experiment_changes_one_value(tmp_path, monkeypatch):
    """`dvc exp run -S` writes the file anew; anchors and merges must keep their meaning."""
    from dvc.utils.hydra import apply_overrides

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    apply_overrides(str(path), ["kernel_search.finetune_cp.epochs=1"])
    expected = copy.deepcopy(PARAMS)
    expected["kernel_search"]["finetune_cp"]["epochs"] = 1
    assert load_config(yaml.safe_load(path.read_text())) == load_config(expected)


@pytest.mark.parametrize(("written", "word"), [("off", "off"), ("on", "on"), ("auto", "auto")])
def test_switches_may_stand_without_quotes(written, word):
    """YAML 1.1 reads on and off as truth values, and DVC leaves the quotes away."""
    overlay = yaml.safe_load(f"compute: {{compile: {written}}}\ncompute_for: {{alexnet: {{compile: {written}}}}}")
    config = load_config(PARAMS | overlay)
    assert (config.compute.compile, config.compute_for["alexnet"].compile) == (word, word)


def test_dvc_knows_every_section():
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["workflow"]
    assert stage["params"] == [{"params.yaml": None}], "the whole file, so that no section can be forgotten"


def test_the_seeds_plan_17_keeps_87_percent():
    study = load_config(PARAMS).clustering
    sizes = sizes_of(create_model("resnet20"), study.layers)
    assert sum(size.filters * size.parameters for size in sizes.values()) == 267_696
    assert unique_ratio(sizes, study.plans.plan(17)) == pytest.approx(0.87, abs=0.001)
    assert set(study.plans.plan(17)) == set(study.layers)
    names = variants(study)
    assert names["elementwise-050-s2"].replicate == 2
    assert names["plan17-frozen"].plan == 17
    assert "frozen-050-s1" not in names
