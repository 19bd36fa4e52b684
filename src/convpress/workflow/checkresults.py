"""Do the results in this folder match dvc.lock? `python -m convpress.workflow.checkresults` says what differs."""

from __future__ import annotations

import configparser
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from convpress.errors import ConvpressError
from convpress.files import md5_file
from convpress.workflow.startup import TEMPORARY

STAGE = "workflow"


def differences(root: Path) -> Iterator[str]:
    """One sentence for each output of dvc.lock that is missing here or has other contents.

    Outputs that are in git must be there; those that DVC fetches are looked at when they are. The checksums are
    DVC's: the MD5 of a file, and of a folder the MD5 of its sorted list of files as JSON.

    Raises `ConvpressError` when there is no usable dvc.lock.
    """
    for entry, tracked in _outputs(root):
        path = root / entry["path"]
        if not _is_there(path):
            if not tracked:
                yield f"{entry['path']}: is missing"
        elif (found := _checksum(path)) != entry["md5"]:
            yield f"{entry['path']}: its checksum is {found}, dvc.lock has {entry['md5']}"


def compared(root: Path) -> int:
    """Number of outputs that are here to be compared."""
    return sum(_is_there(root / entry["path"]) for entry, _ in _outputs(root))


def _outputs(root: Path) -> Iterator[tuple[dict[str, str], bool]]:
    """Outputs of the stage in dvc.lock, and whether each is fetched by DVC (true) or in git (false)."""
    lock = root / "dvc.lock"
    if not lock.exists():
        raise ConvpressError(f"{lock.name} is not there yet: call `dvc repro`")
    try:
        outputs = yaml.safe_load(lock.read_text())["stages"][STAGE]["outs"]
        declared = yaml.safe_load((root / "dvc.yaml").read_text())["stages"][STAGE]["outs"]
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        raise ConvpressError(
            f"{lock.name} and dvc.yaml hold no stage {STAGE!r} together; take them from git again"
        ) from None
    # DVC writes an output without options as its path alone.
    described = [out for out in declared if isinstance(out, dict)]
    in_git = {path for out in described for path, options in out.items() if (options or {}).get("cache") is False}
    return ((entry, entry["path"] not in in_git) for entry in outputs)


def unverified_remotes(root: Path) -> list[str]:
    """Names of the DVC remotes of this folder whose objects are taken unchecked; .dvc/config.local has the last word.

    Raises `ConvpressError` when DVC's configuration cannot be read.
    """
    verified: dict[str, bool] = {}
    for path in (root / ".dvc" / "config", root / ".dvc" / "config.local"):
        config = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
        try:
            config.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise ConvpressError(f"{path}: cannot be read ({type(error).__name__}); take it from git again") from None
        for section in config.sections():
            if remote := re.fullmatch(r"'?remote \"(.+?)\"'?", section):
                verify = config.get(section, "verify", fallback=str(verified.get(remote[1], False)))
                verified[remote[1]] = verify.strip("'\"").lower() in ("true", "yes", "on", "1")
    return [name for name, is_verified in verified.items() if not is_verified]


def _is_there(path: Path) -> bool:
    """Whether there is a file, or a folder with one; a dry run of Snakemake makes empty folders."""
    return path.is_file() or any(_files(path))


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder but unfinished ones, which .dvcignore leaves out as well."""
    return (file for file in folder.rglob("*") if file.is_file() and not TEMPORARY.fullmatch(file.name))


def _checksum(path: Path) -> str:
    if path.is_file():
        return md5_file(path)
    listing = [{"md5": md5_file(file), "relpath": file.relative_to(path).as_posix()} for file in _files(path)]
    listing.sort(key=lambda item: item["relpath"])
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def main(root: Path) -> int:
    """Print what differs, and remotes to be wary of; 0 when nothing differs."""
    try:
        found = list(differences(root))
        number = compared(root)
        unverified = unverified_remotes(root)
    except ConvpressError as error:
        print(f"convpress: {error}", file=sys.stderr)
        return 1
    for sentence in found:
        print(sentence)
    for name in unverified:
        print(
            f"convpress: warning: damaged objects of the remote {name} would go unnoticed; "
            f"call `dvc remote modify {name} verify true`",
            file=sys.stderr,
        )
    print(f"{number} outputs compared with dvc.lock, {len(found)} differ or are missing")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
