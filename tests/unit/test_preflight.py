"""What is checked against the networks and the checkpoints themselves, before any job starts."""

import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from made_config import PARAMS, changed
from torch import nn

from convpress.config.schema import load_config
from convpress.errors import ConvpressError
from convpress.files import sha256_file
from convpress.inputs import mirror_folders
from convpress.models.registry import MODELS, create_model
from convpress.workflow.places import checkpoint_places
from convpress.workflow.preflight import check_layers


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("kernel_search.decompose", None, "field required"),
        ("kernel_search.cp.rank", 0, r"kernel_search\.cp\.rank: 0 gives rank 0.*ranks from 1 to 144"),
        ("kernel_search.cp.rank", 10_000, r"kernel_search\.cp\.rank: 10000 .*ranks from 1 to 144"),
        ("kernel_search.cp.rank_divisor", 17, r"kernel_search\.cp\.rank_divisor: 17 gives rank 0 for layer1.0.conv2"),
        (
            "low_rank.compression",
            1e6,
            r"low_rank\.compression: compression is 1e\+06; up to 240 a rank of 1 is left",
        ),
        ("low_rank.bases", [8, 8, 6, 10], r"low_rank\.bases\.3: .*is 10; .*from 1 to 9"),
        ("low_rank.layers", ["features.3", "features.6", "features.8", "features.9"], r"low_rank\.layers\.3: .*ReLU"),
        (
            "clustering.model",
            "alexnet",
            r"clustering\.model: AlexNet cannot .* \(Proxy [^.]*\); its filters can be clustered, but not swept\.$",
        ),
        ("clustering.layers", ["conv1", "layer1.0.conv3"], r"clustering\.layers\.1: .*'layer1.0.conv3'.*layer1.0.conv"),
        (
            "clustering.plans.columns",
            [{"name": "a", "layers": ["nowhere"]}, *PARAMS["clustering"]["plans"]["columns"][1:]],
            r"clustering\.plans\.columns\.0\.layers\.0: .*'nowhere'",
        ),
        ("clustering.groups", [{"name": "a", "layers": ["nowhere"]}], r"clustering\.groups\.0\.layers\.0: .*'nowhere'"),
        (
            "clustering.groups",
            [{"name": "a", "layers": ["conv1", "layer2.0.conv1"]}],
            r"clustering\.groups\.0: its layers have \[16, 32\] filters; they must have equally many",
        ),
        (
            "clustering.plans.rows",
            [[17] + [1] * 7] * 23,
            r"clustering\.plans\.rows\.0: 17 clusters for column layer1; 1 to 16 are possible",
        ),
        ("clustering.ratios", [0.5, 0.001], r"clustering\.ratios\.1: a ratio of 0.001 is below one filter a layer"),
        (
            "merging.variants.resnet56-allocated.macs_divisor",
            40,
            r"variants\.resnet56-allocated\.macs_divisor: 40 is too much for resnet56; .* it has 1\d\.\d+ times",
        ),
        (
            "peers.models",
            ["resnet20", "alexnet"],
            r"peers\.models\.1: magnitude prunes channels inside residual blocks, and alexnet has none; leave",
        ),
        ("models.resnet20.checkpoint", "/nowhere/my.th", r"models\.resnet20\.checkpoint: there is no file /nowhere/my"),
        ("models.alexnet.arguments.hidden", [64], r"models\.alexnet: .*hidden is \[64\]; AlexNet has two hidden"),
        ("models.alexnet.arguments.hidden", {}, r"models\.alexnet: .*hidden is \{\}; AlexNet has two hidden"),
        ("models.alexnet.arguments.dropout", -1, r"models\.alexnet: .*dropout is -1; 0 or more and less than 1"),
        ("models.alexnet.arguments.dropout", "x", r"models\.alexnet: model alexnet: cannot be built with .*'x'"),
        ("models.alexnet.arguments.width", "8", r"models\.alexnet\.arguments\.width: '8' is a text; write the number"),
        ("models.alexnet.arguments.width", 0, r"models\.alexnet\.arguments: .*'width': 0.* leave features\.0\.weight"),
        (
            "compute.threads",
            100_000_000,
            r"^compute\.threads: 100000000 is more than any machine .*; give 1024 at most",
        ),
        ("compute_for", {"alexnet": {"threads": 1025}}, r"^compute_for\.alexnet\.threads: 1025 is more than"),
        (
            "models.resnet20.architecture",
            "resnet21",
            r"^models\.resnet20\.architecture: there is no 'resnet21'; alexnet, .*resnet20, .* of your own when src/.*",
        ),
        (
            "models.alexnet.arguments.num_classes",
            100,
            r"^models\.alexnet: the network answers .* \(100,\), but the images are of 10 classes; give it",
        ),
    ],
)
def test_impossible_layers_and_ranks_name_what_is_possible(path, value, words):
    with pytest.raises(ConvpressError, match=words):
        check_layers(load_config(changed(path, value)).model_dump(mode="json"))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Linear(5, 10), r"^models\.mine: the network cannot answer an image of 3 x 32 x 32 \(mat1 and mat2 shapes"),
        (nn.LazyLinear(10), None),
    ],
)
def test_a_network_takes_the_images_of_the_data_sets(monkeypatch, layer, words):
    monkeypatch.setitem(MODELS, "mine", lambda: nn.Sequential(nn.Flatten(), layer))
    mine = {"architecture": "mine", "training": PARAMS["models"]["alexnet"]["training"]}
    config = load_config(PARAMS | {"models": {"mine": mine} | PARAMS["models"]}).model_dump(mode="json")
    with pytest.raises(ConvpressError, match=words) if words else nullcontext():
        check_layers(config)


def test_peers_that_factorise_need_no_residual_blocks():
    params = changed("peers.models", ["alexnet"])
    params["peers"]["methods"] = ["cp", "tucker"]
    check_layers(load_config(params).model_dump(mode="json"))


def test_layers_whose_size_cannot_be_searched_are_refused():
    params = changed("kernel_search.model", "alexnet")
    params["kernel_search"] |= {"decompose": ["features.0"], "layers": ["features.0"]}
    with pytest.raises(ConvpressError, match=r"kernel_search\.layers\.0: .*no odd, square kernel with 'same' padding"):
        check_layers(load_config(params).model_dump(mode="json"))
    params["kernel_search"] |= {"decompose": ["features.3"], "layers": ["features.3"]}
    params["kernel_search"]["search"]["seed"]["extent"] = 3
    with pytest.raises(ConvpressError, match=r"search\.seed\.extent: 3 is less than the 5 of kernel_search\.layers\.0"):
        check_layers(load_config(params).model_dump(mode="json"))


def test_an_own_checkpoint_of_another_network_is_refused_at_once(tmp_path):
    path = tmp_path / "mine.th"
    torch.save({"state_dict": create_model("resnet8", width=8).state_dict()}, path)
    with pytest.raises(ConvpressError, match=rf"models\.resnet20\.checkpoint: {path}"):
        check_layers(load_config(changed("models.resnet20.checkpoint", str(path))).model_dump(mode="json"))


@pytest.mark.parametrize("prefix", ["net.", "module.net.", "conv1."])
def test_the_prefix_that_would_fit_is_named(tmp_path, prefix):
    path = tmp_path / "mine.th"
    state = create_model("resnet20").state_dict()
    torch.save({"state_dict": {prefix + key: value for key, value in state.items()}}, path)
    params = changed("models.resnet20.checkpoint", str(path))
    words = rf"models\.resnet20\.checkpoint: {path}: its keys begin with '{prefix}'; set models\.resnet20\.key_prefix"
    with pytest.raises(ConvpressError, match=words):
        check_layers(load_config(params).model_dump(mode="json"))
    params["models"]["resnet20"]["key_prefix"] = prefix
    check_layers(load_config(params).model_dump(mode="json"))


@pytest.mark.parametrize("prefix", ["module.", "net."])
def test_no_prefix_is_named_that_would_not_help(tmp_path, prefix):
    """Neither the one that is set, for weights of other shapes, nor one for another network that has all names."""
    network = create_model("resnet8", width=4) if prefix == "module." else create_model("resnet20")
    torch.save({prefix + key: value for key, value in network.state_dict().items()}, tmp_path / "mine.th")
    params = changed("models.resnet20", {"architecture": "resnet8", "checkpoint": str(tmp_path / "mine.th")})
    with pytest.raises(ConvpressError, match=r"mine\.th: does not fit resnet8"):
        check_layers(load_config(params).model_dump(mode="json"))


def test_nobody_is_told_to_delete_a_file_of_their_own(tmp_path):
    path = tmp_path / "mine.th"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ConvpressError, match=r"mine\.th: damaged or not .*; put a whole file in its place\.$"):
        check_layers(load_config(changed("models.resnet20.checkpoint", str(path))).model_dump(mode="json"))


def fetched(folder, architecture, **arguments):
    """A checkpoint in `folder`, named by its checksum as those that are fetched; gives back the name."""
    path = folder / "new.th"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": create_model(architecture, **arguments).state_dict()}, path)
    return path.rename(folder / f"{architecture}-{sha256_file(path)[:8]}.th").name


@pytest.mark.parametrize("folder", ["data/checkpoints", "mirror/checkpoints"])
def test_the_checkpoint_of_another_network_is_refused_as_soon_as_it_is_there(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVPRESS_MIRROR", f"nowhere{os.pathsep}mirror")
    name = fetched(Path(folder), "resnet32")
    check_layers(load_config(changed("models.resnet32.checkpoint", name)).model_dump(mode="json"))
    config = load_config(changed("models.resnet20.checkpoint", name)).model_dump(mode="json")
    with pytest.raises(ConvpressError, match=rf"models\.resnet20\.checkpoint: {folder}/{name}: .*looks like resnet32"):
        check_layers(config)


def test_a_file_without_its_checksum_is_left_to_the_fetch_step(tmp_path, monkeypatch):
    """It looks further: for a mirror, then for a download."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONVPRESS_MIRROR", raising=False)
    Path("data/checkpoints").mkdir(parents=True)
    Path("data/checkpoints/resnet20-12fca82f.th").write_bytes(b"damaged")
    check_layers(load_config(PARAMS).model_dump(mode="json"))


def test_checkpoints_are_looked_for_where_the_fetch_step_looks(monkeypatch):
    monkeypatch.setenv("CONVPRESS_MIRROR", f"{os.pathsep}a{os.pathsep}b/c")
    places = [folder / "checkpoints" / "x-12345678.th" for folder in mirror_folders()]
    assert checkpoint_places("x-12345678.th") == [Path("data/checkpoints/x-12345678.th"), *places]
    assert len(places) == 2
    assert checkpoint_places("mine/x.th") == [Path("mine/x.th")], "a path is its own place"


@pytest.mark.parametrize(
    ("clusters", "ratios", "words"),
    [
        (15, [0.5], None),
        (16, [0.5], r"clustering\.plans\.rows\.0: 16 clusters for conv1, .* 1 to 15 are possible"),
        (15, [0.5, 1.0], r"clustering\.ratios\.1: 16 clusters for conv1, .* 1 to 15 are possible"),
    ],
)
def test_more_clusters_than_distinct_filters_of_a_checkpoint_are_refused(tmp_path, clusters, ratios, words):
    model = create_model("resnet20")
    model.conv1.weight.data[3] = model.conv1.weight.data[8]
    torch.save({"state_dict": model.state_dict()}, tmp_path / "mine.th")
    params = changed("models.resnet20.checkpoint", str(tmp_path / "mine.th"))
    plans = {"columns": [{"name": "first", "layers": ["conv1"]}], "rows": [[clusters]], "remedy": "frozen"}
    params["clustering"] |= {"plans": plans, "ratios": ratios}
    config = load_config(params).model_dump(mode="json")
    with pytest.raises(ConvpressError, match=words) if words else nullcontext():
        check_layers(config)


def test_unknown_layer_names_near_ones():
    params = changed("kernel_search.decompose", ["layer1.1.conv3"])
    params["kernel_search"]["layers"] = ["layer1.1.conv3"]
    with pytest.raises(ConvpressError, match=r"kernel_search\.decompose\.0: .*'layer1.1.conv3'.*layer1.1.conv"):
        check_layers(load_config(params).model_dump(mode="json"))
