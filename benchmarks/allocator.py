"""Memory that stays with the process, as the workflow's jobs have it, against the C library's defaults."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from tabulate import tabulate

from convpress.models import create_model
from convpress.workflow.startup import ALLOCATOR, keep_freed_memory
from record import record

TURNS, PASSES = 5, 12


def answer(name: str, batch: int, size: int) -> Callable[[], object]:
    """One pass forward in float32."""
    model = create_model(name).eval().to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    return torch.no_grad()(partial(model, x))


def step(name: str, batch: int, **arguments: int) -> Callable[[], object]:
    """One pass forward and back under bfloat16."""
    model = create_model(name, **arguments).train().to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,))

    def train() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), labels)
        model.zero_grad()
        loss.backward()

    return train


CASES = {
    "ResNet-20, inference, batch 64": partial(answer, "resnet20", 64, 32),
    "AlexNet, inference at 224 pixels, batch 64": partial(answer, "alexnet", 64, 224),
    "ResNet-20, training, batch 128": partial(step, "resnet20", 128),
    "AlexNet, training at 96 pixels, batch 128": partial(step, "alexnet", 128, input_size=96),
}


def median_ms(case: str) -> float:
    """Median of some passes of this process, after a third of them."""
    torch.set_num_threads(1)
    run, times = CASES[case](), []
    for _ in range(PASSES + PASSES // 3):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[PASSES // 3 :])


def in_a_process(case: str, kept: bool) -> float:
    """`median_ms` in a process of its own, with or without the settings."""
    environment = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    if kept:
        keep_freed_memory(environment)
    done = subprocess.run([sys.executable, __file__, case], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print and keep a row for each case: medians of alternating processes."""
    rows = []
    for case in CASES:
        times = [(in_a_process(case, True), in_a_process(case, False)) for _ in range(TURNS)]
        ours, reference = (statistics.median(column) for column in zip(*times, strict=True))
        about = {"case": case, "group": "one thread", "quantity": "a batch"}
        rows.append(about | {"unit": "ms", "ours": ours, "reference": reference, "ratio": reference / ours})
    print(tabulate([list(row.values()) for row in rows], headers=list(rows[0]), floatfmt=".2f"))
    record("allocator", rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(median_ms(sys.argv[1]))
    else:
        main()
