"""Where input files are looked for: in place, in mirrors, in the network."""

import hashlib
import os

import pytest
import torch

from convpress.config.sections import DataConfig
from convpress.data import load_dataset
from convpress.errors import ConvpressError
from convpress.files import md5_file
from convpress.inputs import CIFAR_FILE, fetch_checkpoint, fetch_cifar10, fetch_dataset, mirror_folders
from local_server import Server, nowhere
from made_cifar import RECORDS, binary_archive, binary_folder, made_batches, python_archive, spoilt
from mirror import mirrored

pytestmark = pytest.mark.usefixtures("_no_mirror_no_proxy")


def checkpoint():
    content = os.urandom(300_000)
    return f"net-{hashlib.sha256(content).hexdigest()[:8]}.th", content


def fetch(folder, *mirrors, url=None, archives=None, **options):
    return fetch_cifar10(
        folder,
        mirrors,
        base_url=url or nowhere(),
        archives=archives or {},
        records=RECORDS,
        pause=0.01,
        **options,
    )


def test_mirror_folder_is_taken_unverified_and_found_present_the_next_time(tmp_path):
    binary_folder(tmp_path / "mirror" / "cifar-10-batches-bin", made_batches())
    first = fetch(tmp_path / "data", tmp_path / "none", tmp_path / "mirror")
    assert (first["source"], first["verified"], first["md5"]) == ("mirror", False, None)
    again = fetch(tmp_path / "data")
    assert again == first | {"source": "present"}
    train, validation, test = load_dataset(tmp_path / "data" / CIFAR_FILE, DataConfig(name="cifar10", validation=1))
    assert (len(train), len(validation), len(test)) == (5 * RECORDS - 1, 1, RECORDS)


def test_the_folder_itself_may_be_a_mirror(tmp_path):
    binary_folder(tmp_path / "cifar-10-batches-bin", made_batches())
    assert fetch(tmp_path, tmp_path)["source"] == "mirror"


def test_official_archive_goes_before_the_folder_and_is_verified(tmp_path):
    archive = python_archive(tmp_path / "mirror" / "p.tar.gz", made_batches())
    binary_folder(tmp_path / "mirror" / "cifar-10-batches-bin", made_batches())
    md5 = md5_file(archive)
    result = fetch(tmp_path / "data", tmp_path / "mirror", archives={"p.tar.gz": md5})
    assert (result["source"], result["verified"], result["md5"]) == ("mirror", True, md5)
    result = fetch(tmp_path / "mirror", archives={"p.tar.gz": md5})
    assert (result["source"], result["verified"]) == ("present", True)


def test_altered_archive_is_not_taken(tmp_path):
    binary_archive(tmp_path / "mirror" / "b.tar.gz", made_batches())
    with pytest.raises(ConvpressError, match=r"b\.tar\.gz \(wrong md5\)"):
        fetch(tmp_path / "data", tmp_path / "mirror", archives={"b.tar.gz": "0" * 32})


def test_damaged_target_is_made_again(tmp_path):
    binary_folder(tmp_path / "mirror" / "cifar-10-batches-bin", made_batches())
    good = fetch(tmp_path / "data", tmp_path / "mirror")
    target = tmp_path / "data" / CIFAR_FILE
    content = bytearray(target.read_bytes())
    content[-1000] ^= 1
    target.write_bytes(content)
    assert fetch(tmp_path / "data", tmp_path / "mirror") == good
    target.write_bytes(content[:500])
    with pytest.raises(ConvpressError, match="damaged or foreign"):
        fetch(tmp_path / "data")


def test_a_spoilt_mirror_is_named_and_leaves_nothing_behind(tmp_path):
    binary_folder(tmp_path / "mirror" / "cifar-10-batches-bin", spoilt("label"))
    with pytest.raises(ConvpressError, match=r"data_batch_3\.bin: record 4 has the label 10"):
        fetch(tmp_path / "data", tmp_path / "mirror")
    assert not (tmp_path / "data" / CIFAR_FILE).exists()


def test_mirrors_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVPRESS_MIRROR", os.pathsep.join([str(tmp_path / "a"), "", str(tmp_path / "b")]))
    assert mirror_folders() == [tmp_path / "a", tmp_path / "b"]
    binary_folder(tmp_path / "b" / "cifar-10-batches-bin", made_batches())
    assert fetch_cifar10(tmp_path / "data", base_url=nowhere(), archives={}, records=RECORDS)["source"] == "mirror"


def test_without_network_one_sentence_at_once(tmp_path):
    with pytest.raises(ConvpressError) as caught:
        fetch(tmp_path, archives={"a.tar.gz": "0" * 32, "b.tar.gz": "0" * 32})
    message = str(caught.value)
    for word in ("cifar10.safetensors", "127.0.0.1", "CONVPRESS_MIRROR", "`dvc pull`", "`make quickstart`"):
        assert word in message
    assert "b.tar.gz" not in message  # the same host is not knocked at twice
    assert "\n" not in message


def test_checkpoint_from_mirror_then_present(tmp_path):
    name, content = checkpoint()
    mirror = tmp_path / "mirror" / "checkpoints" / name
    mirror.parent.mkdir(parents=True)
    mirror.write_bytes(content)
    target = tmp_path / "data" / name
    first = fetch_checkpoint(name, target, [tmp_path / "mirror"], base_url=nowhere())
    assert (first["source"], first["verified"]) == ("mirror", True)
    assert target.read_bytes() == content
    assert fetch_checkpoint(name, target, [], base_url=nowhere())["source"] == "present"
    mirror.write_bytes(content[:-1])
    target.write_bytes(content[1:])
    with pytest.raises(ConvpressError) as caught:
        fetch_checkpoint(name, target, [tmp_path / "mirror"], base_url=nowhere())
    assert str(caught.value).count("wrong sha256") == 2
    with pytest.raises(ConvpressError, match="no checksum in the name"):
        fetch_checkpoint("net.th", target)


def test_digits_need_nothing(tmp_path):
    result = fetch_dataset("digits", tmp_path / "digits.safetensors")
    assert (result["source"], result["verified"]) == ("embedded", True)
    assert fetch_dataset("digits", tmp_path / "digits.safetensors") == result
    with pytest.raises(ConvpressError, match=r"imagenet\.safetensors"):
        fetch_dataset("imagenet", tmp_path / "imagenet.safetensors")


def test_the_real_mirror(tmp_path, monkeypatch):
    monkeypatch.undo()  # here the environment's mirror is meant
    result = fetch_cifar10(tmp_path, [mirrored("cifar-10-batches-bin").parent])
    assert (result["source"], result["verified"]) == ("mirror", False)
    train, validation, test = load_dataset(tmp_path / CIFAR_FILE, DataConfig(name="cifar10", validation=5000))
    assert torch.bincount(train.labels).tolist() == [4500] * 10
    assert torch.bincount(validation.labels).tolist() == [500] * 10
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    means = torch.cat([train.images, validation.images]).double().mean((0, 2, 3)) / 255
    torch.testing.assert_close(means, torch.tensor([0.4914, 0.4822, 0.4465]).double(), atol=1e-4, rtol=0)


def test_cifar_and_checkpoint_by_download(tmp_path):
    archive = binary_archive(tmp_path / "b.tar.gz", made_batches())
    md5 = md5_file(archive)
    with Server(archive.read_bytes(), "break") as server:
        result = fetch(tmp_path / "data", url=server.url, archives={"b.tar.gz": md5})
    assert (result["source"], result["verified"], result["md5"]) == ("download", True, md5)
    (tmp_path / "data" / CIFAR_FILE).unlink()
    assert fetch(tmp_path / "data", archives={"b.tar.gz": md5})["source"] == "present"
    name, content = checkpoint()
    with Server(content) as server:
        result = fetch_checkpoint(name, tmp_path / name, [], base_url=server.url)
    assert (result["source"], result["verified"]) == ("download", True)
    assert (tmp_path / name).read_bytes() == content
