"""The configuration of the study sensitivity: variants, grids and mistakes."""

import copy
import math

import pytest
import yaml
from made_config import PARAMS, ROOT, changed
from pydantic import ValidationError
from snakemake.utils import update_config

from convpress.config.schema import load_config
from convpress.config.sensitivity import STARTS, SensitivityConfig
from convpress.errors import ConvpressError
from convpress.sensitivity import FAMILIES
from convpress.workflow.preflight import check_layers

STUDY = PARAMS["sensitivity"]


def test_variants_are_every_combination_once():
    variants = SensitivityConfig(**STUDY).variants()
    expected = sum(
        math.prod(len(grid[key]) for key in ("models", "decompositions", "compressions", "treatments"))
        * len(grid.get("replicates", [0]))
        for grid in STUDY["grids"].values()
    )
    assert len(variants) == expected
    twin = variants["resnet20-cp-2x-corrected-s1"]
    assert (twin.model, twin.decomposition, twin.compression, twin.replicate) == ("resnet20", "cp", 2, 1)
    assert twin.recipe == variants["resnet20-cp-2x-plain"].recipe
    assert {v.treatment for v in variants.values()} == set(STARTS)


GRIDS = STUDY["grids"]
FIRST, LONG = GRIDS["treatments"], GRIDS["long"]


def test_allocated_ranks_have_factors_of_their_own():
    grids = GRIDS | {"mine": {**LONG, "allocate": True, "suffix": "allocated"}}
    variants = SensitivityConfig(**{**STUDY, "grids": grids}).variants()
    assert variants["resnet32-tucker-3x-corrected-allocated"].factors == "resnet32-tucker-3x-allocated"
    assert variants["resnet32-tucker-4x-corrected"].factors == "resnet32-tucker-4x"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decompositions": ["tucker", "cp"]}, "allocate: only the ranks of tucker can be, not of tucker and cp"),
        ({"suffix": ""}, "allocate: give the grid a suffix"),
    ],
)
def test_what_cannot_be_allocated_is_refused(changes, words):
    grids = {"first": FIRST, "mine": {**LONG, "allocate": True} | changes}
    with pytest.raises(ValidationError, match=words):
        SensitivityConfig(**{**STUDY, "grids": grids})


def test_an_impossible_allocation_is_found_before_any_job():
    grids = GRIDS | {"mine": {**LONG, "allocate": True, "suffix": "few", "compressions": [500]}}
    words = r"sensitivity\.grids\.mine\.compressions: resnet32: compression 500 is too much for Tucker"
    with pytest.raises(ConvpressError, match=words):
        check_layers(load_config(changed("sensitivity.grids", grids)).model_dump(mode="json"))


def test_grids_are_left_out_by_null_and_changed_by_one_key():
    """As overlays do; the seeds' schedules give the long grid the recipe of the others."""
    study = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())["sensitivity"]
    params = copy.deepcopy({"sensitivity": STUDY})
    update_config(params, {"sensitivity": study})
    variants = SensitivityConfig(**params["sensitivity"]).variants()
    assert not any(variant.suffix == "slow" for variant in variants.values())
    assert variants["resnet32-tucker-3x-corrected-long"].recipe == variants["resnet20-cp-2x-plain"].recipe
    assert len(variants) == len(SensitivityConfig(**STUDY | {"grids": GRIDS | {"slow": None}}).variants())
    with pytest.raises(ValidationError, match="grids: all are left out; keep one"):
        SensitivityConfig(**STUDY | {"grids": dict.fromkeys(GRIDS)})


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_answer_rests_on_three_seeds_of_one_network_at_one_compression(kind):
    seeds = {}
    for v in SensitivityConfig(**STUDY).variants().values():
        if v.decomposition == kind and not v.suffix:
            seeds.setdefault((v.model, v.compression), {}).setdefault(v.treatment, set()).add(v.replicate)
    assert max(len(found.get("plain", set()) & found.get("corrected", set())) for found in seeds.values()) >= 3


def test_the_quickstart_has_every_family_and_treatment():
    grids = yaml.safe_load((ROOT / "config" / "quickstart.yaml").read_text())["sensitivity"]["grids"]
    grids = [grid for grid in grids.values() if grid]
    assert {name for grid in grids for name in grid["treatments"]} == set(STARTS)
    assert {name for grid in grids for name in grid["decompositions"]} == set(FAMILIES)


def test_two_grids_with_the_same_variant_are_refused():
    grids = {"first": FIRST, "again": FIRST}
    with pytest.raises(ValidationError, match="grids: resnet20-cp-2x-plain is there twice; name each entry"):
        SensitivityConfig(**{**STUDY, "grids": grids})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("sensitivity.probe.compressions", [3], r"sensitivity: probe: cp of resnet20 at 3x is in none of the grids"),
        ("sensitivity.grids.treatments", None, r"sensitivity: probe: cp of resnet\d+ at \dx is in none of the grids"),
        ("sensitivity.grids.seeds.replicates", [], r"sensitivity\.grids\.seeds\.replicates is \[\]; give one or more"),
        ("sensitivity.grids.slow.replicates", [1], r"slow-s1 repeats resnet20-cp-2x-plain-slow, .*; add 0 to its"),
        (
            "sensitivity.grids.slow.replicates",
            [0, 2**31],
            r"slow\.replicates is .*; give one or more, of 0",
        ),
        ("sensitivity.probe.models", ["resnet20"] * 2, r"sensitivity\.probe\.models: 'resnet20' stands there twice"),
        (
            "sensitivity.probe.decompositions",
            ["cp"] * 2,
            r"probe\.decompositions: 'cp' stands there twice",
        ),
        ("sensitivity.probe.compressions", [2, 2], r"sensitivity\.probe\.compressions: 2 stands there twice"),
        ("sensitivity.probe.noise", [0.1, 0.1], r"sensitivity\.probe\.noise: 0\.1 stands there twice; name it once"),
        ("sensitivity.probe.slacks", [0, 0], r"sensitivity\.probe\.slacks: 0\.0 stands there twice"),
        (
            "sensitivity.probe.rates",
            [0.1, 0.01],
            r"probe\.rates is \[0\.1, 0\.01\]; the numbers must rise",
        ),
        ("sensitivity.penalty", 0, r"sensitivity\.penalty: .*greater than 0"),
        ("sensitivity.grids", {"mine": {**FIRST, "models": ["resnet9"]}}, r"no model 'resnet9'|is in none of"),
        ("sensitivity.grids", {"mine": {**FIRST, "treatments": ["best"]}}, r"treatments\.0: .*'plain'"),
        ("sensitivity.grids", {"mine": {**FIRST, "compressions": [1]}}, r"compressions\.0: .*equal to 2"),
    ],
)
def test_mistakes_name_the_key(key, value, words):
    with pytest.raises(ConvpressError, match=words):
        load_config(changed(key, value))


def test_an_impossible_compression_is_found_before_any_job():
    params = changed("sensitivity.grids", GRIDS | {"mine": {**FIRST, "compressions": [500]}})
    words = r"sensitivity\.grids\.mine\.compressions: resnet20: layer 'layer1\.0\.conv1': compression 500"
    with pytest.raises(ConvpressError, match=words):
        check_layers(load_config(params).model_dump(mode="json"))
