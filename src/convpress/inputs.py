"""Fetching the external files: from where they already lie, from mirrors, or from the net; always checked.

Every function gives back a provenance record: ``file`` (name), ``sha256`` of it, ``md5`` of the official
archive it comes from (or None), ``source`` ("present", "mirror", "download" or "embedded": how it was got
this time), ``origin`` (what it was first made from) and ``verified`` (whether an official checksum vouches
for it).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from convpress.cifar import BINARY_FOLDER, RECORDS, read_archive, read_binary_folder
from convpress.data import load_digits
from convpress.download import DownloadError, Unreachable, download
from convpress.errors import ConvpressError
from convpress.files import atomic_path, md5_file, sha256_file

log = logging.getLogger(__name__)

MIRROR_VARIABLE = "CONVPRESS_MIRROR"
CIFAR_FILE = "cifar10.safetensors"
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
CIFAR_MD5 = {
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
}
"""Official archives and their checksums; the first is preferred, because no pickle is in it."""
CHECKPOINT_URL = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/"

Provenance = dict[str, Any]


def mirror_folders() -> list[Path]:
    """The folders in the environment variable CONVPRESS_MIRROR, which is a path list."""
    return [Path(text) for text in os.environ.get(MIRROR_VARIABLE, "").split(os.pathsep) if text]


def fetch_dataset(name: str, target: Path | str) -> Provenance:
    """Put the data set `name`, ``cifar10`` or ``digits``, into `target`, a file ``<name>.safetensors``.

    Both have the layout of :func:`fetch_cifar10`. The digits need no download; their source is "embedded".

    Raises:
        ConvpressError: another name, or nothing usable is reachable.
    """
    target = Path(target)
    if name not in ("cifar10", "digits") or target.name != f"{name}.safetensors":
        raise ConvpressError(
            f"{target}: cannot hold the data set {name!r}; cifar10.safetensors or digits.safetensors can."
        )
    if name == "cifar10":
        return fetch_cifar10(target.parent)
    tensors: dict[str, Tensor] = {}
    for part, data in zip(("train", "test"), load_digits(), strict=True):
        tensors |= {f"{part}_images": data.images, f"{part}_labels": data.labels}
    with atomic_path(target) as temporary:
        save_file(tensors, temporary)
    origin = f"scikit-learn {version('scikit-learn')}"
    return _provenance(target, "embedded", {"origin": origin, "md5": None, "verified": True})


def fetch_cifar10(
    target_folder: Path | str,
    mirrors: Sequence[Path | str] | None = None,
    *,
    base_url: str = CIFAR_URL,
    archives: Mapping[str, str] = CIFAR_MD5,
    records: int = RECORDS,
    **options: Any,
) -> Provenance:
    """Put CIFAR-10 into `target_folder` as ``cifar10.safetensors`` and return its provenance.

    The file holds ``train_images`` (50000, 3, 32, 32) uint8, ``train_labels`` (50000,) int64, ``test_images``
    and ``test_labels`` with 10,000. Looked for in this order: that file; an official archive in the folder;
    in each mirror an archive, then ``cifar-10-batches-bin/`` (for which there is no official checksum:
    ``verified`` is False); a download, whose archive stays in the folder.

    Args:
        target_folder: Made when missing.
        mirrors: None means those of CONVPRESS_MIRROR.
        base_url: Where the archives are, with a slash at the end.
        archives: Archive name to md5.
        records: Images a file.
        options: For :func:`convpress.download.download`.

    Raises:
        ConvpressError: nothing usable is reachable; the message names the places tried and the way out.
    """
    folder = Path(target_folder)
    target = folder / CIFAR_FILE
    search = _Search(CIFAR_FILE, mirrors)
    if target.exists():
        recorded = _recorded_cifar(target)
        if recorded:
            return _provenance(target, "present", recorded)
        search.failed(target, "damaged or foreign")
    for found in _find_cifar(search, folder, base_url, archives, options):
        try:
            tensors = (read_archive if found.md5 else read_binary_folder)(found.path, records)
        except ConvpressError as error:
            search.failed(found.path, str(error).rstrip("."))
            continue
        recorded = {
            "origin": f"{found.source} {found.path.name}",
            "md5": found.md5,
            "verified": found.md5 is not None,
            "content": _content_sha256(tensors),
        }
        with atomic_path(target) as temporary:
            # One key only: safetensors writes several in random order, and equal data shall be equal bytes.
            save_file(tensors, temporary, {"provenance": json.dumps(recorded, sort_keys=True)})
        return _provenance(target, found.source, recorded)
    raise search.nothing()


@dataclass(frozen=True)
class _Found:
    path: Path
    source: str
    md5: str | None


def _find_cifar(
    search: _Search, folder: Path, base_url: str, archives: Mapping[str, str], options: Mapping[str, Any]
) -> Iterator[_Found]:
    """Yield what might do, the next one only when the one before was no good."""
    for source, place in (("present", folder), *(("mirror", mirror) for mirror in search.mirrors)):
        for name, md5 in archives.items():
            path = place / name
            if path.is_file() and search.accept(path, md5_file(path) == md5, "wrong md5"):
                yield _Found(path, source, md5)
        batches = place / BINARY_FOLDER
        if source == "mirror" and search.accept(batches, batches.is_dir(), "not there"):
            yield _Found(batches, source, None)
    for name, md5 in archives.items():
        path = folder / name
        if search.download(base_url + name, path, _has_digest(md5_file, md5), options):
            yield _Found(path, "download", md5)


def _recorded_cifar(path: Path) -> Provenance | None:
    """What the file says of itself, when its content is what was once written."""
    try:
        with safe_open(path, "pt") as file:
            recorded = json.loads((file.metadata() or {})["provenance"])
            content = _content_sha256({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return recorded if recorded.get("content") == content else None


def _content_sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype} {tuple(tensors[key].shape)}".encode())
        digest.update(tensors[key].numpy().data)
    return digest.hexdigest()


def fetch_checkpoint(
    name: str,
    target: Path | str,
    mirrors: Sequence[Path | str] | None = None,
    *,
    base_url: str = CHECKPOINT_URL,
    **options: Any,
) -> Provenance:
    """Put the checkpoint `name` (``resnet20-12fca82f.th``) at the path `target` and return its provenance.

    Its sha256 must start with the hex digits in the name. Looked for in this order: `target` itself; the
    folder ``checkpoints/`` of each mirror; a download. Arguments as in :func:`fetch_cifar10`.

    Raises:
        ConvpressError: no digits in the name, or nothing usable within reach; it says what was tried.
    """
    target = Path(target)
    digits = re.search(r"-([0-9a-f]{8,64})\.", name)
    if digits is None:
        raise ConvpressError(f"{name}: no checksum in the name, which must look like resnet20-12fca82f.th.")
    is_right = _has_digest(sha256_file, digits[1])
    search = _Search(name, mirrors)
    if target.exists() and search.accept(target, is_right(target), "wrong sha256"):
        return _provenance(target, "present", {"origin": name, "md5": None, "verified": True})
    for mirror in search.mirrors:
        path = mirror / "checkpoints" / name
        if search.accept(path, path.is_file(), "not there") and search.accept(path, is_right(path), "wrong sha256"):
            with atomic_path(target) as temporary:
                shutil.copyfile(path, temporary)
            return _provenance(target, "mirror", {"origin": name, "md5": None, "verified": True})
    if search.download(base_url + name, target, is_right, options):
        return _provenance(target, "download", {"origin": name, "md5": None, "verified": True})
    raise search.nothing()


def _has_digest(digest: Callable[[Path], str], start: str) -> Callable[[Path], bool]:
    return lambda path: digest(path).startswith(start)


def _provenance(path: Path, source: str, recorded: Mapping[str, Any]) -> Provenance:
    about = {key: recorded[key] for key in ("origin", "md5", "verified")}
    result = {"file": path.name, "sha256": sha256_file(path), "source": source} | about
    log.info("%s: %s, %s", path.name, source, "verified" if result["verified"] else "unverified")
    return result


class _Search:
    """Remembers where one file was looked for, and why it was not taken."""

    def __init__(self, name: str, mirrors: Sequence[Path | str] | None) -> None:
        self.name = name
        self.mirrors = mirror_folders() if mirrors is None else [Path(mirror) for mirror in mirrors]
        self.tried: list[str] = [] if self.mirrors else [f"{MIRROR_VARIABLE} (not set)"]
        self.dead_hosts: set[str | None] = set()

    def failed(self, place: Path | str, reason: str) -> None:
        """Note why the file was not taken from `place`."""
        log.warning("%s: not taken from %s: %s", self.name, place, reason)
        self.tried.append(f"{place} ({reason})")

    def accept(self, place: Path | str, good: bool, reason: str) -> bool:
        """Hand `good` on, and note the reason when it is False."""
        if not good:
            self.failed(place, reason)
        return good

    def download(self, url: str, path: Path, is_right: Callable[[Path], bool], options: Mapping[str, Any]) -> bool:
        """Try one address, unless its host has already turned out to be unreachable."""
        host = urlsplit(url).hostname
        if host in self.dead_hosts:
            return False
        try:
            download(url, path, is_right, **options)
        except DownloadError as error:
            if isinstance(error, Unreachable):
                self.dead_hosts.add(host)
            self.failed(url, str(error))
            return False
        return True

    def nothing(self) -> ConvpressError:
        """The one sentence for the user when the file is nowhere."""
        return ConvpressError(
            f"{self.name} cannot be had; tried {', '.join(self.tried)}: connect to the net, "
            f"set {MIRROR_VARIABLE} to a folder with it, run `dvc pull`, or start with `make quickstart`, "
            "which needs no download."
        )
