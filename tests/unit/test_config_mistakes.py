"""Mistakes in the configuration: the key and what is allowed there."""

import pytest
from made_config import PARAMS, changed

from convpress.config.schema import load_config
from convpress.errors import ConvpressError


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
        ("data.split_seed", 2**64, r"data\.split_seed: .*less than or equal to 2147483647, found 18446744073709551616"),
        (
            "merging.variants.shared-50.rule",
            "fitted",
            r"variants\.shared-50: rule fitted is for the method merged, not for shared; leave it away",
        ),
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
            "sensitivity.grids.long.models",
            ["resnet20", "resnet33"],
            r"sensitivity\.grids\.long\.models\.1: no model 'resnet33'; models has \['alexnet'",
        ),
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
        (
            "low_rank.expansions.a-b",
            {"scheme": "grouped"},
            r"low_rank\.expansions\.a-b: a name is of small .*, found 'a-b'$",
        ),
        ("low_rank.compression", 1.0, r"low_rank\.compression: .*greater than 1, found 1"),
        ("low_rank.cost_size", 64, r"low_rank: cost_size is 64, but .* below input_size 96"),
        ("low_rank.epochs_scale", float("inf"), r"low_rank\.epochs_scale: .*finite"),
        (
            "merging.sweep",
            {"a/b": {"method": "shared"}},
            r"merging\.sweep\.a/b: a name is of small letters",
        ),
        ("merging.variants.A", {}, r"merging\.variants\.A: a name is of small letters, digits, _ and -, found 'A'"),
        ("compute_for", {"alexnot": {"threads": 2}}, r"compute_for\.alexnot: no model 'alexnot'"),
        ("compute_for", {"alexnet": {"threads": 0}}, r"compute_for\.alexnet\.threads: .*greater than or equal to 1"),
        ("low_rank.l2.distillation", 0.5, r"low_rank\.l2\.distillation is 0\.5; no teacher is heard there"),
        ("models.alexnet.training.distillation", 0.5, r"models\.alexnet\.training\.distillation is 0\.5"),
        ("control.epochs", 0, r"^params: control\.epochs is 0; .* give it 1 or more$"),
        (
            "kernel_search.finetune_cp.epochs",
            0,
            r"finetune_cp\.epochs is 0, but a teacher .*; give it 1 or more, or kernel_search\.finetune_cp\.dist",
        ),
        ("low_rank.model", "alexnot", r"low_rank\.model: no model 'alexnot'; models has \['alexnet'"),
        ("data", None, r"^data: field required"),
        ("baselines", ["resnet20", "resnet32", "resnet56"], r"baselines: lacks \['alexnet'\], which studies compress"),
        (
            "kernel_search.finetune_cp.flip",
            False,
            r"kernel_search\.finetune_cp\.flip is False, but the teacher was asked about .* control, which has True",
        ),
        ("kernel_search.search.Big", {}, r"^kernel_search\.search\.Big: a name is of small letters"),
        ("models.Res-20", {"architecture": "resnet20"}, r"^models\.Res-20: a name is of small letters"),
        (
            "control.warmup",
            1.0,
            r"^params: control\.warmup is 1, so that nothing would be learned; it must be below 1$",
        ),
        ("kernel_search.finetune_cp.ema", 1.0, r"^params: kernel_search\.finetune_cp\.ema is 1, .* below 1$"),
        ("run", "My Run", r"^run: a name is of small letters, digits and _, found 'My Run'"),
        (
            "kernel_search.decompose",
            [*PARAMS["kernel_search"]["decompose"], "layer1.0.conv2"],
            r"kernel_search\.decompose: 'layer1\.0\.conv2' stands .* twice",
        ),
        ("kernel_search.layers", ["layer1.1.conv2"] * 2, r"kernel_search\.layers: 'layer1\.1\.conv2' stands .* twice"),
        ("low_rank.layers", ["features.3"] * 4, r"low_rank\.layers: 'features\.3' stands there twice; name it once"),
        ("low_rank.comparison.penalties", [0.0, 0.1, 0.0], r"low_rank\.comparison\.penalties: 0\.0 stands there twice"),
        (
            "sensitivity.grids.long.decompositions",
            ["tucker", "tucker"],
            r"sensitivity: grids: resnet32-tucker-3x-corrected-long is there twice; name each entry of a list once",
        ),
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
        ("models.resnet20.checkpoint", "mine/{a}.th", r"checkpoint: 'mine/\{a\}\.th' has braces in it; give a path"),
        ("seed", 2**31, r"^seed: .*less than or equal to 2147483647, found 2147483648"),
        (
            "models.alexnet.arguments.input_size",
            "96",
            r"low_rank\.input_size is 96, but .* is '96'; give both",
        ),
        (
            "merging.variants.shared-50.replicates",
            [1],
            r"variants\.shared-50\.replicates is \[1\]; add 0",
        ),
        (
            "merging.variants.shared-50.replicates",
            [0, 2**31],
            r"shared-50\.replicates is .*; give one or more",
        ),
        ("merging.variants.shared-50.replicates", [0, 0], r"shared-50\.replicates: 0 stands there twice; name it once"),
        (
            "clustering.compare",
            ["elementwise", "tied_adaptive", "tied", "tied"],
            r"clustering\.compare: 'tied' stands there twice; name it once",
        ),
        ("clustering.replicated", ["elementwise"] * 2, r"clustering\.replicated: 'elementwise' stands there twice"),
        ("clustering.plans.finetune", [0, 0], r"clustering\.plans\.finetune: 0 stands there twice; name it once"),
        (
            "clustering.plans",
            {
                "columns": [{"name": "a", "layers": [layer]} for layer in ("conv1", "layer1.0.conv1")],
                "rows": [[2, 2]],
                "remedy": "tied",
            },
            r"clustering\.plans\.columns: 'a' stands there twice",
        ),
        ("control.milestones", [0.9, 0.1], r"control\.milestones is \[0\.9, 0\.1\]; the numbers must rise"),
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


@pytest.mark.parametrize("section", ["compute", "low_rank", "models"])
@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "an empty section; give its keys or leave it out"), (3, "not a section, found 3")],
)
def test_what_is_no_section_is_said_in_plain_words(section, value, said):
    with pytest.raises(ConvpressError, match=f"^{section}: {said}"):
        load_config(PARAMS | {section: value})


def test_a_network_that_enlarges_no_images_is_not_for_low_rank():
    """Also where it has further controls, which that study has none of."""
    params = changed("low_rank.model", "resnet20") | {"control_lengths": {"resnet20": [1]}}
    with pytest.raises(ConvpressError, match=r"low_rank\.model: models\.resnet20\.arguments has no input_size, .* 96"):
        load_config(params)


@pytest.mark.parametrize("word", [None, "null", ""])
def test_peers_are_left_out_by_a_word_on_the_command_line_too(word):
    assert load_config(PARAMS | {"peers": word}).peers is None


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
