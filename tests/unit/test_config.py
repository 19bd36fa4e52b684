"""The schema: clear errors, and a reference that does not drift."""

import copy
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field
from snakemake.utils import update_config
from torch.nn import Conv2d

from convpress.cifar import RECORDS
from convpress.config.reference import markdown, rows, type_name
from convpress.config.schema import TRAINING_IMAGES, load_config
from convpress.data import load_digits
from convpress.errors import ConvpressError
from convpress.models.registry import create_model
from convpress.workflow.preflight import check_layers
from convpress.workflow.startup import check_writable

ROOT = Path(__file__).resolve().parents[2]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def changed(path, value):
    params = copy.deepcopy(PARAMS)
    section = params
    *parents, last = path.split(".")
    for key in parents:
        section = section[key]
    if value is None:
        del section[last]
    else:
        section[last] = value
    return params


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


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ({"resnet20": [2, 2]}, "name each number once"),
        ({"resnet20": [PARAMS["control"]["epochs"]]}, "which the control has anyway"),
        ({"alexnet": [2]}, "no study but low_rank"),
        ({"resnet21": [2]}, r"'resnet21'.*'resnet20', 'resnet32', 'resnet56'"),
        ({"resnet20": [0]}, "control_lengths.resnet20.0"),
    ],
)
def test_further_controls_that_cannot_be(lengths, said):
    with pytest.raises(ConvpressError, match=said):
        load_config(PARAMS | {"control_lengths": lengths})


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


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            "kernel_search.layerz",
            ["x"],
            r"kernel_search\.layerz: unknown key; did you mean 'layers'\? allowed here: .*cp",
        ),
        ("epochs", 3, r"^epochs: unknown key; allowed here: baselines, .*compute"),
        ("kernel_search.search.seed.extent", 20, r"kernel_search\.search\.seed\.extent: 20 is even"),
        ("kernel_search.search.seed.training.epocs", 1, r"seed\.training\.epocs: unknown key; did you mean 'epochs'"),
        ("kernel_search.cp.starts", 0, r"kernel_search\.cp\.starts: .*greater than or equal to 1, found 0"),
        ("kernel_search.cp.starts", "four", r"kernel_search\.cp\.starts: .*integer.*'four'"),
        ("compute.precision", "fp16", r"compute\.precision: .*'auto', 'fp32' or 'bf16', found 'fp16'"),
        ("kernel_search.model", "resnet33", r"kernel_search\.model: no model 'resnet33'; models has \['alexnet'"),
        ("kernel_search.layers", ["layer9"], r"\['layer9'\] are searched but not decomposed"),
        ("clustering.model", "resnet33", r"clustering\.model: no model 'resnet33'"),
        ("clustering.layers", [], r"^clustering\.layers: list should have at least 1 item"),
        ("clustering.plans.rows", [[]], r"^clustering\.plans\.rows\.0: list should have at least 1 item"),
        ("clustering.plans.rows", [], r"^clustering\.plans\.rows: list should have at least 1 item"),
        ("clustering.plans.rows", [[0] * 8], r"rows\.0\.0: .*greater than or equal to 1, found 0"),
        (
            "clustering.plans.rows",
            [[1, 2]] * 23,
            r"clustering\.plans: rows\.0 has 2 numbers; the 8 columns want one each",
        ),
        ("clustering.plans.finetune", [23], r"finetune names plan 23; plans 0 to 22 are there"),
        ("clustering.ratios", [0.0], r"clustering\.ratios\.0: .*greater than 0"),
        ("clustering.ratios", [0.5, 0.501], r"not different in whole percent"),
        ("clustering.compare", ["tide"], r"compare\.0: no remedy 'tide'; remedies has \['adaptive_k', 'elementwise'"),
        ("clustering.replicated", ["tide"], r"replicated: 'tide' is not in compare"),
        ("clustering.layers", ["conv1", "conv1"], r"layers: 'conv1' stands there twice"),
        ("clustering.training.epochs", 1, r"training\.epochs is 1; unit_norm pulls norms first and needs 2"),
        ("clustering.remedies.elementwise.threshold", 0.5, r"elementwise clusters single numbers"),
        ("clustering.remedies.tied.filters", "loose", r"tied\.filters: .*'frozen' or 'tied', found 'loose'"),
        ("models.resnet20.checkpoint", None, r"models\.resnet20: give either a checkpoint or a training recipe"),
        ("peers.models", ["resnet33"], r"peers\.models\.0: no model 'resnet33'; models has \['alexnet'"),
        (
            "peers.methods",
            ["magic"],
            r"peers\.methods\.0: .*'cp' or 'tucker', found 'magic'",
        ),
        ("peers.methods", ["cp", "cp"], r"peers: methods: \['cp'\] stands there more than once"),
        ("peers.targets", [{"cost": "params", "fraction": 1}], r"peers\.targets\.0\.fraction: .*less than 1, found 1"),
        ("low_rank.input_size", 64, r"low_rank\.input_size is 64, but models\.alexnet\.arguments\.input_size is 96"),
        ("low_rank.bases", [8, 8], r"low_rank: bases has 2 numbers for 4 layers"),
        ("low_rank.rows", [{"row": 2, "expansion": "x"}], r"rows\.0\.expansion: no expansion 'x'; .*'decomposed'"),
        ("low_rank.rows", [{"row": 1, "expansion": "replaced"}], r"low_rank\.rows\.0\.row: .*equal to 2, found 1"),
        ("low_rank.rows", [{"row": n, "expansion": "replaced"} for n in (2, 3)], r"two rows are replaced"),
        ("low_rank.expansions.control", {"scheme": "grouped"}, r"expansions\.control: this name is taken"),
        ("low_rank.expansions.a-b", {"scheme": "grouped"}, r"low_rank\.expansions\..*match pattern"),
        ("low_rank.compression", 1.0, r"low_rank\.compression: .*greater than 1, found 1"),
        ("compute_for", {"alexnot": {"threads": 2}}, r"compute_for\.alexnot: no model 'alexnot'"),
        ("compute_for", {"alexnet": {"threads": 0}}, r"compute_for\.alexnet\.threads: .*greater than or equal to 1"),
        ("low_rank.l2.distillation", 0.5, r"low_rank\.l2\.distillation is 0\.5; no teacher is heard there"),
        ("models.alexnet.training.distillation", 0.5, r"models\.alexnet\.training\.distillation is 0\.5"),
        ("low_rank.model", "alexnot", r"low_rank\.model: no model 'alexnot'; models has \['alexnet'"),
        ("data", None, r"^data: field required"),
        ("baselines", ["resnet20", "resnet32", "resnet56"], r"baselines: lacks \['alexnet'\], which studies compress"),
        (
            "kernel_search.finetune_cp.flip",
            False,
            r"kernel_search\.finetune_cp\.flip is False, but the teacher was asked about .* control, which has True",
        ),
        ("kernel_search.search.Big", {}, r"^kernel_search\.search\.Big.*match pattern"),
        ("models.Res-20", {"architecture": "resnet20"}, r"^models\.Res-20.*match pattern"),
        (
            "control.warmup",
            1.0,
            r"^params: control\.warmup is 1, so that nothing would be learned; it must be below 1$",
        ),
        ("kernel_search.finetune_cp.ema", 1.0, r"^params: kernel_search\.finetune_cp\.ema is 1, .* below 1$"),
        ("run", "My Run", r"^run: string should match pattern"),
        (
            "kernel_search.decompose",
            [*PARAMS["kernel_search"]["decompose"], "layer1.0.conv2"],
            r"kernel_search\.decompose: 'layer1\.0\.conv2' stands .* twice",
        ),
        ("kernel_search.layers", ["layer1.1.conv2"] * 2, r"kernel_search\.layers: 'layer1\.1\.conv2' stands .* twice"),
        ("low_rank.layers", ["features.3"] * 4, r"low_rank\.layers: 'features\.3' stands there twice; name it once"),
        (
            "clustering.groups",
            [{"name": "a", "layers": ["conv1"] * 2}],
            r"groups\.0\.layers: 'conv1' stands there twice",
        ),
        ("baselines", [*PARAMS["baselines"], "resnet20"], r"baselines: 'resnet20' stands there twice; name it once"),
        ("merging.ratios", [0.5, 0.501], r"merging: .*ratios\.1: 0\.501 is called 50 as one before it"),
        ("merging.train", ["shared-50"] * 2, r"merging\.train: 'shared-50' stands there twice"),
        (
            "models.resnet20.checkpoint",
            "resnet20.th",
            r"models\.resnet20\.checkpoint: 'resnet20\.th' .* checksum .*mine/",
        ),
        (
            "models.resnet20.checkpoint",
            "resnet20-12fca82f.pt",
            r"models\.resnet20\.checkpoint: 'resnet20-12fca82f\.pt'",
        ),
        ("models.resnet20.checkpoint", "", r"models\.resnet20\.checkpoint: '' cannot be fetched"),
        ("data.validation", 60_000, r"data\.validation is 60000, but cifar10 has 50000 .*; 1 to 49999 are possible"),
        ("data.validation", 50_000, r"data\.validation is 50000"),
        ("control.batch_size", 45_001, r"control\.batch_size is 45001, but 45000 training images of cifar10 are left"),
        ("low_rank.ce.batch_size", 50_000, r"low_rank\.ce\.batch_size is 50000, .*; 1 to 45000 is possible"),
        (
            "data.validation",
            49_900,
            r"\.batch_size is 128, but 100 training images .* are left beside data\.validation",
        ),
        (
            "sensitivity.probe.steps",
            352,
            r"probe\.steps: 352 steps of 128 .*need 45056, but 45000 .*; 1 to 351 are possible",
        ),
    ],
)
def test_mistakes_name_the_key_and_what_is_allowed(path, value, words):
    with pytest.raises(ConvpressError, match=words):
        load_config(changed(path, value))


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


def test_every_key_is_described():
    assert not [key for key, _, _, text in rows() if not text.endswith(".")]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[int, Field(ge=1)] | None, "int or None"),
        (Literal["raw", "pca"] | None, "one of ['raw', 'pca'] or None"),
        (list[Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]], "list[list[int]]"),
        (dict[str, Any], "dict[str, Any]"),
    ],
)
def test_types_are_readable(annotation, words):
    assert type_name(annotation) == words


def test_no_type_of_the_page_shows_the_checking_library():
    assert not [key for key, kind, _, _ in rows() if "Annotated" in kind or "Optional" in kind or "Info" in kind]


def test_reference_page_is_up_to_date():
    assert (ROOT / "docs" / "parameters.md").read_text() == markdown() + "\n", "call `make docs`"


def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ConvpressError, match=r"results is a file, not a folder; move it away"):
        check_writable(tmp_path / "results" / "run")
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
