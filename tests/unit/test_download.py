"""Downloads from a local server that breaks, resets and lies."""

import socket
import time

import pytest

from convpress.download import CHUNK, DownloadError, Unreachable, download
from local_server import Server, accepts, nowhere

pytestmark = pytest.mark.usefixtures("_no_mirror_no_proxy")


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
    assert time.monotonic() - start < 9  # it would have paused for 10


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
