"""Networks as ONNX files, checked against PyTorch by ONNX Runtime."""

from __future__ import annotations

import copy
import importlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convpress.checkpoints import load
from convpress.decompose.tensors import as_tensor, plain
from convpress.errors import ConvpressError
from convpress.files import atomic_path
from convpress.layers.surgery import uncompiled
from convpress.measure import file_bytes
from convpress.models.registry import MODELS, TORCHVISION
from convpress.predict import logits_of
from convpress.tolerances import TOLERANCE

CHECKED_IMAGES = 100

CIFAR_SIZE, IMAGENET_SIZE = 32, 224


@dataclass(frozen=True)
class Export:
    """What came of an export: the file, its size, and the largest difference of a logit on `images` images."""

    path: Path
    bytes: int
    difference: float
    images: int


def input_shape_of(model: nn.Module) -> tuple[int, int, int]:
    """The images (C, H, W) a network is made for: what its arguments say, 224 pixels for torchvision's, 32 for ours.

    Raises:
        ConvpressError: the network is somebody's own, or was not made by ``create_model``.
    """
    noted = getattr(uncompiled(model), "convpress_architecture", {"name": ""})
    if noted["name"].startswith(TORCHVISION):
        size = noted["arguments"].get("image_size", IMAGENET_SIZE)
        return (3, size, size)
    if not getattr(MODELS.get(noted["name"]), "__module__", "").startswith("convpress."):
        raise ConvpressError(
            f"{type(model).__name__}: the size of its images is not known; give images or their shape "
            "(input_shape=(3, 32, 32), --input-shape of the command)."
        )
    size = noted["arguments"].get("input_size", CIFAR_SIZE)
    return (3, size, size)


def export(
    model: nn.Module | Path | str,
    path: Path | str,
    *,
    input_shape: Sequence[int] | None = None,
    images: Tensor | None = None,
    tolerance: float = TOLERANCE,
) -> Export:
    """Write a network, or the one in a model file, as ONNX and check the file in ONNX Runtime.

    Input ``images`` is float32 (batch, C, H, W), normalised as in training; output ``logits`` is
    (batch, classes); the batch is free. The check takes `images` (n, C, H, W), or 100 of noise.

    Raises:
        ConvpressError: onnxruntime or onnxscript is missing, the network cannot be exported, the images or their shape
            cannot be, or a logit of the file differs by more than `tolerance`; no file is left then.
        OSError: the file cannot be written.
    """
    if not tolerance >= 0:
        raise ConvpressError(f"tolerance is {tolerance!r}; 0 or more is allowed.")
    if not isinstance(model, nn.Module | Path | str):
        raise ConvpressError(f"the network to export is {model!r}; give a module or the path of a model file.")
    network = uncompiled(model if isinstance(model, nn.Module) else load(model))
    images = None if images is None else as_tensor(images)
    shape = _shape(input_shape, images, network)
    if images is not None and (images.shape[1:] != shape or not len(images)):
        raise ConvpressError(f"images are {tuple(images.shape)}; at least one of the input's shape {shape} is needed.")
    if images is None:
        images = torch.randn(CHECKED_IMAGES, *shape, generator=torch.Generator().manual_seed(0), device="cpu")
    with atomic_path(path) as temporary:
        write_onnx(network, temporary, shape)
        difference = largest_difference(network, OnnxModel(temporary), images)
        if not difference <= tolerance:  # so that NaN is refused as well
            raise ConvpressError(
                f"{path}: the exported network's answers differ by up to {difference:.2g}, {tolerance:g} is allowed, "
                f"so no file is written; PyTorch's own rounding to float32 changes them by {_rounding(network, images)}"
                ", and tolerance= (--tolerance of the command) allows more."
            )
    return Export(Path(path), file_bytes(path), difference, len(images))


def _shape(given: Sequence[int] | None, images: Tensor | None, network: nn.Module) -> tuple[int, ...]:
    if given is None:
        return tuple(images.shape[1:]) if images is not None else input_shape_of(network)
    sizes = plain(given)
    if not isinstance(sizes, Sequence) or not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
        raise ConvpressError(f"input_shape is {given!r}; positive integers (C, H, W) such as (3, 32, 32) are allowed.")
    return tuple(int(size) for size in sizes)


def write_onnx(model: nn.Module, path: Path | str, input_shape: Sequence[int]) -> None:
    """Write `model` in eval mode and float32 to one ONNX file; `model` itself stays as it is.

    Raises:
        ConvpressError: onnxscript is missing, or the network does something ONNX cannot say.
        OSError: the file cannot be written.
    """
    _need("onnxscript")
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    noise = torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(0), device="cpu")
    try:
        network = copy.deepcopy(uncompiled(model)).cpu().float().eval()
        with torch.no_grad():
            if not isinstance(network(noise), Tensor):
                network = _LogitsAlone(network)
        with warnings.catch_warnings(), torch.no_grad(), _Quiet("torch.onnx", "onnxscript", "onnx_ir"):
            warnings.simplefilter("ignore")  # the exporter's thoughts on its own deprecations
            program = torch.onnx.export(
                network,
                (noise,),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: "batch"},),
                verbose=False,
            )
            assert program is not None
            # The exporter notes the code it went through, with paths of this machine.
            ClearMetadataAndDocStringPass()(program.model)
            program.save(path, external_data=False)
    except OSError:  # of the file, not of the network
        raise
    except Exception as error:  # a network may refuse the images in words of its own
        cause: BaseException = error  # the exporter's own words are a guide to its steps
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = str(cause).strip().split("\n")[0][:200] or type(cause).__name__
        raise ConvpressError(
            f"{type(model).__name__} with input {tuple(input_shape)} cannot be exported to ONNX ({reason})."
        ) from error


class _LogitsAlone(nn.Module):
    """A network that answers with more than logits, without the rest."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return logits_of(self.network(x))


class OnnxModel(nn.Module):
    """An ONNX file as a module, so that prediction and timing treat it as any other network.

    It runs in float32 on the CPU with as many threads as torch has. Input (N, C, H, W), output as the file says.

    Raises:
        ConvpressError: onnxruntime is missing, or it cannot read the file.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        runtime = _need("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = 3
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            raise ConvpressError(
                f"{path}: ONNX Runtime cannot read it ({str(error)[:200]}); export it again."
            ) from error
        self.input_name = self.session.get_inputs()[0].name

    def __deepcopy__(self, memo: dict) -> OnnxModel:
        """Itself: a session holds the file's weights, and nothing changes them."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Answers of the file to `x`."""
        array = np.ascontiguousarray(x.detach().float().cpu().numpy())
        return torch.from_numpy(self.session.run(None, {self.input_name: array})[0])


@torch.inference_mode()
def rounding_difference(model: nn.Module, images: Tensor) -> float:
    """Largest absolute difference of a logit between float32 and float64 in PyTorch: what rounding alone does."""
    near, exact = copy.deepcopy(model).cpu().float().eval(), copy.deepcopy(model).cpu().double().eval()
    images = images.cpu().float()
    return float((logits_of(near(images)) - logits_of(exact(images.double()))).abs().max())


@torch.inference_mode()
def largest_difference(model: nn.Module, exported: nn.Module, images: Tensor) -> float:
    """Largest absolute difference of a logit between two networks, in float32 on the CPU; NaN when one has NaN."""
    reference, images = copy.deepcopy(model).cpu().float().eval(), images.cpu().float()
    return float((logits_of(reference(images)) - exported(images)).abs().max())


def _rounding(model: nn.Module, images: Tensor) -> str:
    try:
        return f"up to {rounding_difference(model, images):.2g}"
    except RuntimeError:  # some networks hold tensors that do not follow to float64
        return "an unknown amount"


def _need(name: str) -> Any:
    """The optional package `name`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConvpressError(f"{name} is not installed; exporting needs `pip install 'convpress[onnx]'`.") from error


class _Quiet:
    """Errors alone from these loggers."""

    def __init__(self, *names: str) -> None:
        self.loggers = [logging.getLogger(name) for name in names]

    def __enter__(self) -> None:
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)
