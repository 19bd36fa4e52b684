"""Final networks as they would be used: times in PyTorch and ONNX Runtime, and the check that both say the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from convpress.config.sections import MeasureConfig
from convpress.data import Dataset
from convpress.measure import file_bytes, interleaved_latency
from convpress.onnx_export import (
    CHECKED_IMAGES,
    OnnxModel,
    largest_difference,
    rounding_difference,
    write_onnx,
)
from convpress.predict import accuracy_of
from convpress.tolerances import ACCURACY_TOLERANCE, TOLERANCE

log = logging.getLogger(__name__)


SHORT = 5
"""Passes of a single image are short and scatter more: so many times more of them are timed."""


def time_networks(
    models: Mapping[str, nn.Module],
    measure: MeasureConfig,
    *,
    input_shape: tuple[int, ...] = (3, 32, 32),
    bf16: bool = False,
    device: str = "cpu",
    backend: str = "torch",
) -> pd.DataFrame:
    """Rows (name, backend, dtype, batch_size, median_ms, q1_ms, q3_ms, repeats, threads, layout, device).

    All networks of one setting are timed in turns: float32 at `measure.batch_size` and at batch 1, then bfloat16
    where `bf16`; channels-last in PyTorch, as its files want it in ONNX Runtime. No copies are made: the networks end
    in the last of these types, with the numbers it rounds, on `device`, in this layout and in eval mode.
    """
    rows, layout = [], "channels_last" if backend == "torch" else "channels_first"
    for dtype in [torch.float32] + [torch.bfloat16] * bf16:
        for batch_size in dict.fromkeys((measure.batch_size, 1)):
            found = interleaved_latency(
                dict(models),
                input_shape,
                batch_size=batch_size,
                repeats=measure.repeats * (SHORT if batch_size == 1 else 1),
                warmup=measure.warmup,
                dtype=dtype,
                device=device,
                in_place=True,
                layout=torch.channels_last if backend == "torch" else torch.contiguous_format,
            )
            setting = {"backend": backend, "dtype": str(dtype).removeprefix("torch."), "batch_size": batch_size}
            rows += [{"name": name} | setting | vars(latency) for name, latency in found.items()]
    return pd.DataFrame(rows).assign(threads=torch.get_num_threads(), layout=layout, device=device)


def check_export(model: nn.Module, correct: np.ndarray, test: Dataset, path: Path) -> tuple[dict[str, Any], OnnxModel]:
    """Export `model` to `path` and set the file's answers beside PyTorch's, `correct` (n,) bool for each test image.

    `onnx_equal` says that no logit differs by more than 1e-4 on the first 100 test images and the accuracies by
    no more than 0.1 points. `float32_difference` tells how far PyTorch's own float32 is from float64 on these images.
    """
    write_onnx(model, path, tuple(test.images.shape[1:]))
    exported = OnnxModel(path)
    images = test.normalise(test.images[:CHECKED_IMAGES])
    difference = largest_difference(model, exported, images)
    accuracy = accuracy_of(exported, test)
    gap = accuracy - float(correct.mean())
    equal = difference <= TOLERANCE and abs(gap) <= ACCURACY_TOLERANCE
    if not equal:
        log.warning("%s: ONNX Runtime differs: logits by %.2g, accuracy by %+.4f", path.stem, difference, gap)
    record = {
        "onnx_bytes": file_bytes(path),
        "onnx_difference": difference,
        "float32_difference": rounding_difference(model, images),
        "onnx_images": len(images),
        "onnx_accuracy": accuracy,
        "onnx_equal": bool(equal),
    }
    return record, exported
