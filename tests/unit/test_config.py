"""The schema: clear errors, and a reference that does not drift."""

import copy
from pathlib import Path

import pytest
import yaml

from convpress.config.reference import markdown, rows
from convpress.config.schema import Config, load_config
from convpress.errors import ConvpressError
from convpress.preflight import check_layers
from convpress.startup import check_writable

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


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            "kernel_search.layerz",
            ["x"],
            r"kernel_search\.layerz: unknown key; did you mean 'layers'\? allowed here: .*cp",
        ),
        ("epochs", 3, r"^epochs: unknown key; allowed here: baselines, compute"),
        ("kernel_search.search.seed.extent", 20, r"kernel_search\.search\.seed\.extent: 20 is even"),
        ("kernel_search.search.seed.training.epocs", 1, r"seed\.training\.epocs: unknown key; did you mean 'epochs'"),
        ("kernel_search.cp.starts", 0, r"kernel_search\.cp\.starts: .*greater than or equal to 1, found 0"),
        ("kernel_search.cp.starts", "four", r"kernel_search\.cp\.starts: .*integer.*'four'"),
        ("compute.precision", "fp16", r"compute\.precision: .*'auto', 'fp32' or 'bf16', found 'fp16'"),
        ("kernel_search.model", "resnet33", r"kernel_search\.model: no model 'resnet33'; models has \['resnet20'"),
        ("kernel_search.layers", ["layer9"], r"\['layer9'\] are searched but not decomposed"),
        ("models.resnet20.checkpoint", None, r"models\.resnet20: give either a checkpoint or a training recipe"),
        ("data", None, r"^data: field required"),
        ("run", "My Run", r"^run: string should match pattern"),
    ],
)
def test_mistakes_name_the_key_and_what_is_allowed(path, value, words):
    with pytest.raises(ConvpressError, match=words):
        load_config(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("kernel_search.decompose", None, "field required"),
        ("kernel_search.cp.rank", 0, r"kernel_search\.cp\.rank: 0 gives rank 0.*ranks from 1 to 144"),
        ("kernel_search.cp.rank", 10_000, r"kernel_search\.cp\.rank: 10000 .*ranks from 1 to 144"),
        ("kernel_search.cp.rank_divisor", 17, r"kernel_search\.cp\.rank_divisor: 17 gives rank 0 for layer1.0.conv2"),
        ("models.resnet20.architecture", "resnet21", r"models\.resnet20: there is no model 'resnet21'.*resnet20"),
    ],
)
def test_impossible_layers_and_ranks_name_what_is_possible(path, value, words):
    with pytest.raises(ConvpressError, match=words):
        check_layers(load_config(changed(path, value)).model_dump(mode="json"))


def test_unknown_layer_names_near_ones():
    params = changed("kernel_search.decompose", ["layer1.1.conv3"])
    params["kernel_search"]["layers"] = ["layer1.1.conv3"]
    with pytest.raises(ConvpressError, match=r"kernel_search\.decompose\.0: .*'layer1.1.conv3'.*layer1.1.conv"):
        check_layers(load_config(params).model_dump(mode="json"))


def test_every_key_is_described():
    assert not [key for key, _, _, text in rows() if not text.endswith(".")]


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
    assert yaml.safe_load(path.read_text()) == expected


def test_dvc_knows_every_section():
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["workflow"]
    assert sorted(stage["params"]) == sorted(Config.model_fields)
