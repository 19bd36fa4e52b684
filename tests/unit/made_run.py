"""A run folder made by hand: small tables, their pictures and the page, for the tests of the report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from convpress.report import figures
from convpress.report.kernel_search import figures as kernel_search_figures
from convpress.report.kernel_search import tradeoff as kernel_search_tradeoff
from convpress.report.page import render_page

REPORT = Path(__file__).parents[2] / "report"
LAYERS = ("layer1.1.conv2", "layer2.1.conv2")
VARIANTS = ("seed", "branch")


def history() -> pd.DataFrame:
    stages = [("control", np.nan), ("search_kernels", "seed"), ("search_kernels", "branch")]
    rows = [(*stage, epoch, 1 / epoch, 0.8, 0.9) for stage in stages for epoch in (1, 2)]
    return pd.DataFrame(rows, columns=["stage", "variant", "epoch", "loss", "train_accuracy", "validation_accuracy"])


def sizes() -> pd.DataFrame:
    rows = [(v, layer, epoch, -1.5 + epoch, 7 + 2 * epoch) for v in VARIANTS for layer in LAYERS for epoch in (0, 1)]
    return pd.DataFrame(rows, columns=["variant", "layer", "epoch", "sigma", "size"])


def masks() -> pd.DataFrame:
    rows = [(v, layer, tap, np.exp(-(tap**2) / 4)) for v in VARIANTS for layer in LAYERS for tap in range(-10, 11)]
    return pd.DataFrame(rows, columns=["variant", "layer", "tap", "mask"])


def cp_error() -> pd.DataFrame:
    frame = pd.DataFrame({"layer": LAYERS, "rank": 8, "relative_error": [0.67, 0.71], "seconds": [0.4, 1.2]})
    return frame.assign(corrected_error=[0.68, np.nan], parafac_error=0.69, iterations=90, start="hosvd")


def kernels() -> pd.DataFrame:
    images = [(np.nan, "before", 3), ("seed", "after", 5), ("branch", "after", 3)]
    rows = [
        (variant, layer, when, size, index, i, j, float(np.sin(i + 2 * j + index)))
        for variant, when, size in images
        for layer in LAYERS
        for index in (-1, 0)
        for i in range(size)
        for j in range(size)
    ]
    return pd.DataFrame(rows, columns=["variant", "layer", "when", "size", "filter", "i", "j", "value"])


def stages() -> pd.DataFrame:
    rows = [
        ("finetune_recomposed", "branch", 0.94, 0.004, 120e6, 20.0, "5 7", True),
        ("baseline", "", 0.92, 0.2, 69e6, 10.0, "", False),
        ("control", "", 0.93, 1.0, 69e6, 10.0, "", False),
        ("search_kernels", "branch", 0.91, 0.0001, 99e6, np.nan, "5 7", False),
        ("finetune_recomposed", "seed", 0.925, 0.4, 300e6, 40.0, "9 11", False),
    ]
    columns = ["stage", "variant", "test_accuracy", "mcnemar_p", "macs", "latency_ms", "kernel_sizes", "selected"]
    frame = pd.DataFrame(rows, columns=columns)
    accuracy = frame["test_accuracy"]
    frame = frame.assign(ci_low=accuracy - 0.005, ci_high=accuracy + 0.005, delta_control=accuracy - 0.93)
    frame = frame.assign(validation_accuracy=accuracy, params=1e5, bytes=4e5, test_n=10_000, epochs=[2, 0, 6, 4, 2])
    frame = frame.assign(total_epochs=[6, 0, 6, 4, 8], control_epochs=6)
    return frame.assign(accuracy_before=0.5, speedup=1.0, latency_q1_ms=frame["latency_ms"] - 1, latency_q3_ms=np.nan)


def baselines() -> pd.DataFrame:
    frame = pd.DataFrame({"model": "resnet32", "variant": ["baseline", "control"], "test_accuracy": [0.92, 0.93]})
    return frame.assign(test_n=100, ci_low=0.9, ci_high=0.95, params=466906, macs=68862592, epochs=[0, 6])


REFERENCE = pd.DataFrame({"layer": LAYERS, "relative_error": [0.6748, 0.7067]})

DRAWN: dict[str, tuple[Callable[..., None], list[Callable[[], pd.DataFrame]]]] = {
    "kernel_search_curves.svg": (figures.draw_curves, [history]),
    "kernel_search_tradeoff.svg": (kernel_search_tradeoff.draw_tradeoff, [stages]),
    "kernel_search_sizes.svg": (kernel_search_figures.draw_sizes, [sizes]),
    "kernel_search_masks.svg": (kernel_search_figures.draw_masks, [masks, sizes]),
    "cp_error.svg": (kernel_search_figures.draw_cp_error, [cp_error, lambda: REFERENCE]),
    "kernel_search_kernels.png": (kernel_search_figures.draw_kernels, [kernels]),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run folder with tables, figures and provenance."""
    folder = tmp_path_factory.mktemp("results") / "made"
    (folder / "tables").mkdir(parents=True)
    for name, frame in (("baselines", baselines()), ("kernel_search", stages()), ("cp_error", cp_error())):
        frame.to_csv(folder / "tables" / f"{name}.csv", index=False)
    for file, (draw, frames) in DRAWN.items():
        draw(*(frame() for frame in frames), folder / "figures" / file)
    provenance = {
        "run": "made",
        "seed": 0,
        "packages": {"torch": "2.14.1"},
        "inputs": [
            {"file": "data/checkpoints/resnet32-d509ac18.th", "sha256": "d5", "source": "mirror", "verified": True},
            {"file": "test_batch.bin", "sha256": "ab", "source": "mirror", "verified": False},
        ],
        "stage_seconds": {"finetune_cp": 75.0},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


def page_of(folder: Path, **options: Path) -> str:
    output = folder / "report.html"
    render_page(folder, output, **({"report_folder": REPORT} | options))
    return output.read_text(encoding="utf-8")


def text_of(html: str) -> str:
    """The page's words, blanks made equal."""
    html = re.sub(r"(?s)<(script|style)[^>]*>.*?</\1>", "", html)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", "", html)))
