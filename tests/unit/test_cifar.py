"""Reading the official files: all forms give the same arrays, spoilt ones are named."""

import pytest
import torch

from convpress.cifar import BATCHES, read_archive, read_binary_folder
from convpress.errors import ConvpressError
from made_cifar import RECORDS, binary_archive, binary_folder, made_batches, python_archive, spoilt, write_tar


def test_all_three_forms_give_the_same_arrays(tmp_path):
    batches = made_batches()
    forms = [
        read_archive(python_archive(tmp_path / "p.tar.gz", batches), RECORDS),
        read_archive(binary_archive(tmp_path / "b.tar.gz", batches), RECORDS),
        read_binary_folder(binary_folder(tmp_path / "bin", batches), RECORDS),
    ]
    for tensors in forms:
        assert tensors["train_images"].shape == (5 * RECORDS, 3, 32, 32)
        assert tensors["test_labels"].dtype == torch.int64
        assert all(torch.equal(tensors[key], forms[0][key]) for key in forms[0])
    pixels, labels = batches["data_batch_2"]
    record = 3
    assert forms[0]["train_labels"][RECORDS + record] == labels[record]
    # Row-major planes, red first: pixel (row 2, column 5) of green stands at 1024 + 2 * 32 + 5.
    assert forms[0]["train_images"][RECORDS + record, 1, 2, 5] == pixels[record, 1024 + 69]


@pytest.mark.parametrize("form", ["python", "binary", "folder"])
@pytest.mark.parametrize(("change", "words"), [("label", "record 4 has the label 10"), ("size", "belong")])
def test_a_wrong_label_or_size_names_the_file(tmp_path, form, change, words):
    batches = spoilt(change)
    if form == "folder":
        place, read = binary_folder(tmp_path / "bin", batches), read_binary_folder
    else:
        make = python_archive if form == "python" else binary_archive
        place, read = make(tmp_path / "a.tar.gz", batches), read_archive
    with pytest.raises(ConvpressError, match=rf"data_batch_3(\.bin)?: .*{words}"):
        read(place, RECORDS)


def test_missing_pieces_and_broken_archives(tmp_path):
    batches = made_batches()
    folder = binary_folder(tmp_path / "bin", batches)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(ConvpressError, match=r"test_batch\.bin: cannot be read"):
        read_binary_folder(folder, RECORDS)
    archive = binary_archive(tmp_path / "b.tar.gz", batches)
    content = archive.read_bytes()
    for part in (b"", b"no archive", content[: len(content) // 2]):
        archive.write_bytes(part)
        with pytest.raises(ConvpressError, match=r"b\.tar\.gz: (damaged|.* missing)"):
            read_archive(archive, RECORDS)
    del batches["data_batch_5"]
    with pytest.raises(ConvpressError, match=r"data_batch_5\.bin is missing"):
        read_archive(binary_archive(tmp_path / "c.tar.gz", batches), RECORDS)


@pytest.mark.parametrize("name", ["os\nsystem", "builtins\neval", "numpy\nload", "numpy.core.multiarray\nfromfile"])
def test_a_batch_that_wants_to_run_code_is_refused(tmp_path, name):
    attack = b"\x80\x02c" + name.encode() + b"\nU\x0btouch owned\x85R."
    files = {f"cifar-10-batches-py/{batch}": attack for batch in BATCHES}
    with pytest.raises(ConvpressError, match=r"data_batch_1: refused, its pickle wants to use"):
        read_archive(write_tar(tmp_path / "p.tar.gz", files), RECORDS)
