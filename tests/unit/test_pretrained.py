"""Importing checkpoints of other trainers: what fits, what does not, and what is refused."""

import hashlib
import os
import pickle

import pytest
import torch
from made_model import same_answers, small_model

from convpress.checkpoints import import_pretrained
from convpress.errors import ConvpressError
from convpress.files import sha256_file
from convpress.models import MODELS, create_model
from mirror import mirrored


class Evil:
    def __reduce__(self):
        return os.system, ("echo attacked > attacked",)


def reference_checkpoint(model, path, prefix="module."):
    """A file as the reference trainer writes it: old container, no batch counters, prefix of DataParallel."""
    state = {prefix + key: value for key, value in model.state_dict().items() if "num_batches" not in key}
    torch.save({"state_dict": state, "best_prec1": 91.7}, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("prefix", ["module.", "", "net.module."])
def test_import_strips_the_prefix(tmp_path, prefix):
    source = small_model()
    source(torch.rand(8, 3, 32, 32))
    path = reference_checkpoint(source, tmp_path / "a.th", prefix)
    model = import_pretrained(path, create_model("resnet8", width=4), prefix=prefix)
    assert same_answers(source, model)


def test_import_of_a_bare_state_dict(tmp_path):
    source = small_model()
    torch.save(source.state_dict(), tmp_path / "a.pt")
    assert same_answers(source, import_pretrained(tmp_path / "a.pt", create_model("resnet8", width=4)))


def test_another_network_is_recognised(tmp_path):
    path = reference_checkpoint(create_model("resnet20"), tmp_path / "a.th")
    model = create_model("resnet32")
    before = model.conv1.weight.clone()
    words = r"a\.th: does not fit resnet32, it looks like resnet20: layer1\.3\.conv1\.weight is missing.* and \d+ more"
    with pytest.raises(ConvpressError, match=words):
        import_pretrained(path, model)
    assert torch.equal(model.conv1.weight, before)


def test_networks_that_cannot_be_built_are_no_candidates(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "a_with_a_size", lambda size: torch.nn.Linear(size, size))
    monkeypatch.setitem(MODELS, "a_that_fails", lambda: {}["missing"])
    path = reference_checkpoint(create_model("resnet20"), tmp_path / "a.th")
    with pytest.raises(ConvpressError, match=r"does not fit resnet32, it looks like resnet20"):
        import_pretrained(path, create_model("resnet32"))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            "conv1.weight",
            torch.zeros(4, 3, 5, 5),
            r"conv1\.weight has shape \(4, 3, 5, 5\), not \(4, 3, 3, 3\)",
        ),
        (
            "conv1.weight",
            torch.zeros(4, 3, 3, 3).double(),
            r"conv1\.weight is torch\.float64, not torch\.float32",
        ),
        ("conv7.weight", torch.zeros(1), r"conv7\.weight is not expected"),
        ("conv1.weight", None, r"conv1\.weight is missing"),
    ],
)
def test_first_mismatch_is_named(tmp_path, key, value, words):
    state = dict(small_model().state_dict())
    state.pop(key, None)
    if value is not None:
        state[key] = value
    torch.save(state, tmp_path / "a.th")
    with pytest.raises(ConvpressError, match=words):
        import_pretrained(tmp_path / "a.th", small_model())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0, 0.001, 0.02, 0.3, 0.999])
def test_truncated_checkpoint(tmp_path, zipped, part):
    path = tmp_path / "a.th"
    torch.save({"state_dict": small_model().state_dict()}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ConvpressError, match=r"a\.th: damaged"):
        import_pretrained(path, small_model())


def test_altered_checkpoint_is_known_by_the_checksum_in_its_name(tmp_path):
    path = reference_checkpoint(small_model(), tmp_path / "a.th")
    content = bytearray(path.read_bytes())
    good = tmp_path / f"a-{hashlib.sha256(content).hexdigest()[:8]}.th"
    good.write_bytes(content)
    import_pretrained(good, small_model())
    content[-10] ^= 1
    good.write_bytes(content)
    with pytest.raises(ConvpressError, match="altered, its sha256 does not start with"):
        import_pretrained(good, small_model())


@pytest.mark.parametrize("style", ["pickle", "zip", "legacy"])
def test_a_pickle_that_runs_code_is_refused(tmp_path, monkeypatch, style):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.th"
    if style == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))
    else:
        torch.save({"state_dict": Evil()}, path, _use_new_zipfile_serialization=style == "zip")
    with pytest.raises(ConvpressError, match=r"refused, its pickle wants to run posix\.system"):
        import_pretrained(path, small_model())
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"epoch": 3}])
def test_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "a.th")
    with pytest.raises(ConvpressError, match="holds no state dict"):
        import_pretrained(tmp_path / "a.th", small_model())


def test_the_real_checkpoints_fit_only_their_networks():
    folder = mirrored("checkpoints")
    files = {
        "resnet20": "resnet20-12fca82f.th",
        "resnet32": "resnet32-d509ac18.th",
        "resnet56": "resnet56-4bfd9763.th",
    }
    for name, file in files.items():
        import_pretrained(folder / file, create_model(name))
        other = "resnet20" if name != "resnet20" else "resnet56"
        with pytest.raises(ConvpressError, match=f"does not fit {other}, it looks like {name}"):
            import_pretrained(folder / file, create_model(other))


def test_the_checksum_begins_with_the_digits_in_the_name(tmp_path):
    torch.save(small_model().state_dict(), tmp_path / "net.th")
    digest = sha256_file(tmp_path / "net.th")
    for digits, fits in ((digest[:8], True), (digest[8:16], False)):
        path = tmp_path / f"net-{digits}.th"
        path.write_bytes((tmp_path / "net.th").read_bytes())
        if fits:
            import_pretrained(path, small_model())
        else:
            with pytest.raises(ConvpressError, match="damaged or altered"):
                import_pretrained(path, small_model())
