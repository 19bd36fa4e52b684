"""Saving networks in one safe file each, loading them back, importing pretrained ones, resuming trainings."""

from __future__ import annotations

import json
import logging
import pickle
import re
import struct
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.files import atomic_path, sha256_file
from convpress.rebuilding import check_comes_back, check_state, rebuild, take_type

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the metadata in a model file; a reader refuses files of a later one."""

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")
_REFUSED_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def save_model(model: nn.Module, path: Path | str, extra: Mapping[str, Any] | None = None) -> None:
    """Write `model` to one ``.safetensors`` file from which :func:`load` rebuilds it; atomic.

    Metadata: ``convpress`` (format version), ``architecture``, ``surgeries`` and ``extra`` (plain data of
    one's own, whose keys come back as text), the last three as JSON. The same model gives the same bytes.

    Raises:
        ConvpressError: the model was not made by :func:`convpress.models.create_model`, or was changed since in a
            way that is not noted, so that its file could not be loaded, or `extra` is no plain data; nothing is
            written then.
    """
    from convpress.layers.surgery import surgeries, uncompiled

    model = uncompiled(model)
    architecture = getattr(model, "convpress_architecture", None)
    if architecture is None:
        raise ConvpressError(
            f"{path}: a {type(model).__name__} without a noted architecture cannot be saved; "
            "build it with convpress.models.create_model."
        )
    metadata = {
        "convpress": str(FORMAT),
        "architecture": json.dumps(architecture, sort_keys=True),
        "surgeries": json.dumps([asdict(surgery) for surgery in surgeries(model)], sort_keys=True),
        "extra": _extra(path, extra or {}),
    }
    check_comes_back(path, model, {key: json.loads(metadata[key]) for key in ("architecture", "surgeries")})
    # Copies, because the format refuses tensors that share memory or are not laid out row by row.
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in model.state_dict().items()
    }
    content = _with_sorted_header(to_safetensors(state, metadata))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _extra(path: Path | str, extra: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(extra), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ConvpressError(
            f"{path}: not saved, extra must be numbers, texts, lists or dicts with keys of text ({error}); take "
            "numbers out of tensors and arrays with .item() or .tolist()."
        ) from error


def _with_sorted_header(content: bytes) -> bytes:
    """Sort the metadata, whose order safetensors (0.8) leaves to chance: equal models get equal checksums."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + memoryview(content)[8 + length :]


def read_metadata(path: Path | str) -> dict[str, Any]:
    """Return ``{"convpress": int, "architecture": dict, "surgeries": list, "extra": dict}`` of a model file.

    Raises:
        ConvpressError: the file is missing, damaged, foreign, or of a later format.
    """
    return _read(path, with_state=False)[0]


def load(path: Path | str) -> nn.Module:
    """Rebuild the network of a file that :func:`save_model` wrote, in eval mode.

    The random state of the process is left as it was.

    Raises:
        ConvpressError: the file is missing, damaged, foreign, of a later format, or its weights do not fit.
    """
    metadata, state = _read(path, with_state=True)
    try:
        with torch.random.fork_rng(devices=[]):
            model = rebuild(metadata)
    except ConvpressError as error:
        raise ConvpressError(f"{path}: {error}") from error
    take_type(model, state)
    check_state(path, state, model)
    # The same code wrote the file, so its layers find the versions that they have now and migrate nothing.
    current = _with_versions(state, model.state_dict()._metadata)  # type: ignore[attr-defined]
    return _fill(path, model, current)


def _read(path: Path | str, with_state: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if Path(path).is_dir():
        raise ConvpressError(f"{path}: this is a folder; give the model file in it.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            # Copies: a tensor of safe_open is a view of the file, which a later run may replace.
            state = {key: file.get_tensor(key).clone() for key in file.keys()} if with_state else {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ConvpressError(f"{path}: there is no such model file; make it first.") from error
    except (OSError, SafetensorError) as error:
        raise ConvpressError(
            f"{path}: damaged or not a safetensors file ({error}); delete it and make it again."
        ) from error
    return _parse_metadata(path, metadata), state


def _parse_metadata(path: Path | str, metadata: Mapping[str, str]) -> dict[str, Any]:
    if "convpress" not in metadata:
        raise ConvpressError(
            f"{path}: a safetensors file without an architecture in it, so not one of convpress; "
            "write it with convpress.checkpoints.save_model."
        )
    try:
        version = int(metadata["convpress"])
        if version > FORMAT:
            raise ConvpressError(
                f"{path}: written in format {version} by a later convpress; this one reads up to {FORMAT}, update it."
            )
        parsed = {key: json.loads(metadata[key]) for key in ("architecture", "surgeries", "extra")}
    except (KeyError, ValueError) as error:
        if isinstance(error, ConvpressError):
            raise
        raise ConvpressError(f"{path}: its metadata are damaged ({error!r}); delete it and make it again.") from error
    return {"convpress": version} | parsed


def import_pretrained(path: Path | str, model: nn.Module, prefix: str = "module.") -> nn.Module:
    """Load the weights of a PyTorch checkpoint (``.th``, ``.pt``) into `model` and return it, in eval mode.

    Reads a state dict, or a dict that has one under ``state_dict``; `prefix` is stripped from keys that start
    with it. Only tensors and plain values are read: a pickle that names code is refused. A file whose name
    has its own checksum in it (``name-<hex digits>.th``, as torch.hub has it) must match it.

    Raises:
        ConvpressError: the file is missing, damaged, altered, wants to run code, or is of another network.
    """
    path = Path(path)
    named = _HASH_IN_NAME.search(path.name)
    if named and path.is_file() and not sha256_file(path).startswith(named[1]):
        raise ConvpressError(
            f"{path}: damaged or altered, its sha256 does not start with {named[1]} as its name says; delete it "
            "and fetch it again, or rename it if these digits are no checksum."
        )
    state = _read_state_dict(path, prefix)
    check_state(path, state, model, counters_optional=True)
    return _fill(path, model, state, strict=False)  # the check above is the stricter one


def _fill(path: Path | str, model: nn.Module, state: Mapping[str, Tensor], strict: bool = True) -> nn.Module:
    try:
        model.load_state_dict(state, strict=strict)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConvpressError(f"{path}: {type(model).__name__} does not take these weights ({reason}).") from error
    return model.eval()


def _with_versions(state: Mapping[str, Tensor], versions: Mapping[str, Any] | None) -> Mapping[str, Tensor]:
    """A state dict that tells the layers of which version of them it is, as ``state_dict()`` makes it."""
    result = OrderedDict(state)
    if versions is not None:
        result._metadata = versions  # type: ignore[attr-defined]
    return result


def _read_state_dict(path: Path | str, prefix: str) -> Mapping[str, Tensor]:
    content = _torch_load(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ConvpressError(
            f"{path}: holds no state dict (names with tensors, alone or under 'state_dict'); use another checkpoint."
        )
    versions = getattr(state, "_metadata", None)
    if versions is not None:  # by the names of modules, which have no dot at their end
        versions = {f"{name}.".removeprefix(prefix).removesuffix("."): version for name, version in versions.items()}
    return _with_versions({str(key).removeprefix(prefix): value for key, value in state.items()}, versions)


def _torch_load(path: Path | str) -> Any:
    """``torch.load`` of plain values to the CPU; whatever is wrong becomes one sentence."""
    path = Path(path)
    if not path.is_file():
        raise ConvpressError(f"{path}: there is no such checkpoint; fetch it first.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's thoughts on old pickle protocols
            return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        refused = _REFUSED_GLOBAL.search(str(error))
        if refused:
            raise ConvpressError(
                f"{path}: refused, its pickle wants to run {refused[1]}; only checkpoints of plain tensors are read."
            ) from error
        raise _unreadable(path, error) from error
    except Exception as error:  # a cut file makes torch raise almost anything, from KeyError to struct.error
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ConvpressError:
    reason = str(error).split("\n")[0][:120] or type(error).__name__
    return ConvpressError(f"{path}: damaged or not a PyTorch checkpoint ({reason}); put a whole file in its place.")


def save_state(state: Mapping[str, Any], path: Path | str) -> None:
    """Write the state of a training (tensors, numbers, texts, and lists, tuples and dicts of them); atomic."""
    with atomic_path(path) as temporary:
        torch.save(_plain(dict(state)), temporary)


def _plain(value: Any) -> Any:
    """Turn numpy's numbers into Python's, for safe loading refuses them, and would do so only when resuming."""
    if type(value) is dict:  # a state dict is an OrderedDict, which stays what it is
        return {key: _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def load_state(path: Path | str) -> dict[str, Any] | None:
    """Return what :func:`save_state` wrote; None when there is no file, or (logged) when it is unreadable."""
    if not Path(path).is_file():
        return None
    try:
        state = _torch_load(path)
    except ConvpressError as error:
        log.warning("the training starts anew: %s", error)
        return None
    return state if isinstance(state, dict) else None
