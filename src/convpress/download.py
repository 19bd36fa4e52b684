"""One HTTP download: goes on where it was broken off, tries again, is taken only with the right checksum."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import MaxRetryError, ProtocolError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
CHUNK = 1 << 16
"""Bytes written at once; when a transfer breaks, at most this much of what came is lost."""


class DownloadError(Exception):
    """This address does not give the file; the message is a short reason."""


class Unreachable(DownloadError):
    """There is no way to this host at all: no network, no such name, a closed port."""


class _Broken(Exception):
    """It went wrong now and may go well the next time."""


def download(
    url: str,
    path: Path,
    is_right: Callable[[Path], bool],
    *,
    attempts: int = 4,
    pause: float = 1.0,
    connect_seconds: float = CONNECT_SECONDS,
    read_seconds: float = READ_SECONDS,
) -> None:
    """Fetch `url` to `path`, which appears only whole and accepted by `is_right`.

    Bytes go to ``<path>.part``; a broken transfer, also one of an earlier process, goes on from there when
    the server allows it. Broken transfers and server errors are tried again after 1, 2, 4, ... times `pause`
    seconds. A host that cannot be reached at all is not tried again.

    Raises:
        Unreachable: no connection could be made.
        DownloadError: the server refuses, the transfer breaks every time, or the checksum is wrong.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            _transfer(url, part, (connect_seconds, read_seconds))
            if is_right(part):
                part.replace(path)
                return
            # Appending to a stale beginning gives such a file too, so the next attempt starts from nothing.
            part.unlink()
            raise _Broken("wrong checksum")
        except _Broken as error:
            reason = str(error)
            log.warning("%s: %s (attempt %d of %d)", url, reason, attempt + 1, attempts)
    raise DownloadError(f"{reason}, {attempts} attempts")


def _transfer(url: str, part: Path, timeout: tuple[float, float]) -> None:
    have = part.stat().st_size if part.exists() else 0
    # Without "identity" a server may compress, and then offsets into the file mean something else.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with (
        _plain_errors(url),
        requests.get(url, headers=headers, stream=True, timeout=timeout) as response,
    ):
        if response.status_code == 416:  # nothing after what is there: complete, or of another file
            return
        if response.status_code >= 500 or response.status_code == 429:
            raise _Broken(f"server error {response.status_code}")
        if response.status_code not in (200, 206):
            raise DownloadError(f"HTTP {response.status_code}")
        resumed = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status_code == 206 and not resumed:
            part.unlink(missing_ok=True)
            raise _Broken("the server sent another part than was asked for")
        length = response.headers.get("Content-Length")
        total = int(length) + (have if resumed else 0) if length else None
        with part.open("ab" if resumed else "wb") as file, _progress(part, have * resumed, total) as advance:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                advance(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise _Broken(f"broken off after {part.stat().st_size} of {total} bytes")


@contextlib.contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    """Sort what requests raises into "no way there" and "try again"."""
    host = urlsplit(url).hostname
    try:
        yield
    except (requests.exceptions.ProxyError, requests.exceptions.SSLError) as error:
        raise Unreachable(f"no connection to {host}, {type(error).__name__}") from error
    except requests.exceptions.ConnectTimeout as error:
        raise Unreachable(f"no answer from {host}") from error
    except requests.exceptions.ConnectionError as error:
        inner = error.args[0] if error.args else None
        reason = inner.reason if isinstance(inner, MaxRetryError) else inner
        if isinstance(inner, MaxRetryError) and not isinstance(reason, ProtocolError):
            raise Unreachable(f"no connection to {host}") from error
        raise _Broken("the connection broke") from error
    except (requests.exceptions.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _Broken("the transfer broke") from error
    except requests.exceptions.RequestException as error:
        raise DownloadError(str(error)) from error


@contextlib.contextmanager
def _progress(part: Path, start: int, total: int | None) -> Iterator[Callable[[int], object]]:
    """Give a function to call with the number of new bytes: a bar on a terminal, lines in a log."""
    name = part.name.removesuffix(".part")
    if sys.stderr.isatty():
        with tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name, leave=False) as bar:
            yield bar.update
        return
    done = start
    step = max((total or 0) // 10, 1 << 22)
    next_line = done + step

    def advance(count: int) -> None:
        nonlocal done, next_line
        done += count
        if done >= next_line:
            log.info("%s: %.0f of %s MB", name, done / 1e6, f"{total / 1e6:.0f}" if total else "?")
            next_line += step

    log.info("downloading %s%s", name, f", going on at {start / 1e6:.1f} MB" if start else "")
    yield advance
