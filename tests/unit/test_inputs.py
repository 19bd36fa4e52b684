"""Reading the official files, mirrors, and downloads against a local server."""

import hashlib
import io
import os
import pickle
import socket
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from convpress.cifar import BATCHES, read_archive, read_binary_folder
from convpress.data import load_cifar10
from convpress.download import CHUNK, DownloadError, Unreachable, download
from convpress.errors import ConvpressError
from convpress.files import md5_file
from convpress.inputs import CIFAR_FILE, fetch_checkpoint, fetch_cifar10, fetch_dataset, mirror_folders

RECORDS = 7


@pytest.fixture(autouse=True)
def _no_mirror_no_proxy(monkeypatch):
    monkeypatch.delenv("CONVPRESS_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


# --- small copies of the official files


class Python2Pickler(pickle._Pickler):
    """Writes texts and bytes as Python 2 wrote its strings, which is how the official batches are."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value):
        content = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)

    dispatch[bytes] = save_string
    dispatch[str] = save_string


class Python2Array:
    """An array as numpy 1 pickled it under Python 2: old module names, numbers in place of flags."""

    def __init__(self, array):
        self.array = array

    def __reduce__(self):
        raise AssertionError("written by hand below")


def save_array(pickler, value):
    array = value.array
    pickler.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n")
    pickler.save((0,))
    pickler.save(b"b")
    pickler.write(pickle.TUPLE3 + pickle.REDUCE + pickle.MARK)
    pickler.save(1)
    pickler.save(array.shape)
    pickler.write(b"cnumpy\ndtype\n")
    pickler.save(("u1", 0, 1))
    pickler.write(pickle.REDUCE)
    pickler.save((3, b"|", None, None, None, -1, -1, 0))
    pickler.write(pickle.BUILD)
    pickler.save(False)
    pickler.save(array.tobytes())
    pickler.write(pickle.TUPLE + pickle.BUILD)


Python2Pickler.dispatch[Python2Array] = save_array


def python2(value):
    buffer = io.BytesIO()
    pickler = Python2Pickler(buffer, protocol=2)
    pickler.dump(value)
    return buffer.getvalue()


def made_batches(records=RECORDS):
    rng = np.random.default_rng(0)
    return {
        name: (
            rng.integers(0, 256, (records, 3072), dtype=np.uint8),
            rng.integers(0, 10, records, dtype=np.uint8),
        )
        for name in BATCHES
    }


def binary(pixels, labels):
    return np.concatenate([labels[:, None], pixels], axis=1).tobytes()


def python_batch(pixels, labels):
    return python2({"batch_label": "made", "labels": labels.tolist(), "data": Python2Array(pixels), "filenames": ["a"]})


def write_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def python_archive(path, batches):
    return write_tar(path, {f"cifar-10-batches-py/{name}": python_batch(*batch) for name, batch in batches.items()})


def binary_archive(path, batches):
    return write_tar(path, {f"cifar-10-batches-bin/{name}.bin": binary(*batch) for name, batch in batches.items()})


def binary_folder(path, batches):
    path.mkdir(parents=True)
    for name, batch in batches.items():
        (path / f"{name}.bin").write_bytes(binary(*batch))
    return path


# --- reading


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


def spoilt(change):
    batches = made_batches()
    pixels, labels = batches["data_batch_3"]
    if change == "label":
        labels[4] = 10
    else:
        batches["data_batch_3"] = (pixels[:-1], labels[:-1])
    return batches


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


# --- where files are looked for


def nowhere():
    """An address on this computer at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


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
    train, test = load_cifar10(tmp_path / "data" / CIFAR_FILE)
    assert (len(train), len(test)) == (5 * RECORDS, RECORDS)


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
    start = time.monotonic()
    with pytest.raises(ConvpressError) as caught:
        fetch(tmp_path, archives={"a.tar.gz": "0" * 32, "b.tar.gz": "0" * 32})
    assert time.monotonic() - start < 2
    message = str(caught.value)
    for word in ("cifar10.safetensors", "127.0.0.1", "CONVPRESS_MIRROR", "`dvc pull`", "`make quickstart`"):
        assert word in message
    assert "b.tar.gz" not in message  # the same host is not knocked at twice
    assert "\n" not in message


def checkpoint():
    content = os.urandom(300_000)
    return f"net-{hashlib.sha256(content).hexdigest()[:8]}.th", content


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


@pytest.mark.skipif(not os.environ.get("CONVPRESS_MIRROR"), reason="CONVPRESS_MIRROR is not set")
def test_the_real_mirror(tmp_path):
    mirror = Path(REAL_MIRROR.split(os.pathsep)[0])
    result = fetch_cifar10(tmp_path, [mirror])
    assert (result["source"], result["verified"]) == ("mirror", False)
    train, test = load_cifar10(tmp_path / CIFAR_FILE)
    assert torch.bincount(train.labels).tolist() == [5000] * 10
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    means = train.images.double().mean((0, 2, 3)) / 255
    torch.testing.assert_close(means, torch.tensor([0.4914, 0.4822, 0.4465]).double(), atol=1e-4, rtol=0)


REAL_MIRROR = os.environ.get("CONVPRESS_MIRROR", "")


# --- downloads


class Server(ThreadingHTTPServer):
    """Serves one content; `plan` has a word for each request: ok, 503, 404, break, reset, noresume."""

    daemon_threads = True

    def __init__(self, content, *plan):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.plan = content, list(plan)
        self.starts, self.broken_at = [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *details):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Say nothing about broken connections; they are the point."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *details):
        """Stay quiet."""

    def do_GET(self):
        server = self.server
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        server.starts.append(start)
        word = server.plan.pop(0) if server.plan else "ok"
        if word in ("503", "404"):
            self.send_error(int(word))
            return
        if word == "reset":
            self.close_connection = True
            return
        content = server.content
        start = 0 if word == "noresume" else start
        if start:
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content)
        if word == "break":
            end = (start + end) // 2
            server.broken_at.append(end)
        self.wfile.write(content[start:end])


def accepts(content):
    return lambda path: path.read_bytes() == content


CONTENT = bytes(range(256)) * 4000


@pytest.mark.parametrize(
    "plan", [["ok"], ["503", "reset", "ok"], ["break", "break", "ok"], ["break", "503", "ok"], ["break", "noresume"]]
)
def test_download_survives_a_flaky_server(tmp_path, plan):
    with Server(CONTENT, *plan) as server:
        download(server.url + "f", tmp_path / "f", accepts(CONTENT), pause=0.01)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert len(server.starts) == len(plan)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_broken_transfer_goes_on_where_it_stopped(tmp_path):
    with Server(CONTENT, "break", "break", "ok") as server:
        download(server.url + "f", tmp_path / "f", accepts(CONTENT), pause=0.01)
    assert len(server.broken_at) == 2
    for start, broken in zip(server.starts[1:], server.broken_at, strict=True):
        assert broken - CHUNK < start <= broken


def test_a_part_of_an_earlier_process_is_gone_on_with(tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    with Server(CONTENT) as server:
        download(server.url + "f", tmp_path / "f", accepts(CONTENT), pause=0.01)
    assert server.starts == [1000]


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * len(CONTENT), CONTENT + b"more"])
def test_a_wrong_part_is_thrown_away(tmp_path, stale):
    (tmp_path / "f.part").write_bytes(stale)
    with Server(CONTENT) as server:
        download(server.url + "f", tmp_path / "f", accepts(CONTENT), pause=0.01)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.starts[-1] == 0


def test_a_whole_part_is_taken_as_it_is(tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT)
    with Server(CONTENT) as server:
        download(server.url + "f", tmp_path / "f", accepts(CONTENT), pause=0.01)
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("plan", "words", "requests"),
    [
        (["503"] * 9, "server error 503, 4 attempts", 4),
        (["404"], "HTTP 404", 1),
        (["reset"] * 9, "4 attempts", 4),
    ],
)
def test_it_gives_up_in_the_end(tmp_path, plan, words, requests):
    with Server(CONTENT, *plan) as server, pytest.raises(DownloadError, match=words):
        download(server.url + "f", tmp_path / "f", accepts(CONTENT), pause=0.01)
    assert len(server.starts) == requests


def test_a_wrong_checksum_is_never_delivered(tmp_path):
    with Server(CONTENT) as server, pytest.raises(DownloadError, match="wrong checksum"):
        download(server.url + "f", tmp_path / "f", accepts(b"other"), pause=0.01)
    assert not list(tmp_path.iterdir())


def test_a_closed_port_is_not_tried_again(tmp_path):
    start = time.monotonic()
    with pytest.raises(Unreachable, match=r"no connection to 127\.0\.0\.1"):
        download(nowhere() + "f", tmp_path / "f", accepts(b""), pause=10)
    assert time.monotonic() - start < 2


def test_a_silent_server_times_out(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/f"
        with pytest.raises(DownloadError, match="2 attempts"):
            download(url, tmp_path / "f", accepts(b""), attempts=2, pause=0.01, read_seconds=0.2)


def test_progress_in_a_log_is_plain_lines(tmp_path, caplog):
    caplog.set_level("INFO")
    content = bytes(20 << 20)
    with Server(content) as server:
        download(server.url + "big.bin", tmp_path / "big.bin", accepts(content))
    lines = [line for line in caplog.messages if line.startswith("big.bin: ")]
    assert 2 <= len(lines) <= 10
    assert lines[-1].endswith("of 21 MB")


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
