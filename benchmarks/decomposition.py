"""CP decomposition of the fifteen `conv2` kernels of ResNet-32, rank = channels / 2: our solver and its peers.

With `--every`, of all 31 kernels. With `--families`, instead: order-3 CP, Tucker and tensor chain of all 3x3 kernels
after the first at a compression, beside tensorly's parafac (same starts), partial_tucker (same start) and
tensor_ring_als (as many starts as ours, of its own).

One row a kernel: our error, seconds and iterations with default arguments, which let 64 starts (small kernels) to 8
(large ones) compete and drop the worse half again and again; tensorly's parafac from the same starts, each to its end;
pyTensorlab's cpd from as many random starts as our argument `starts`, when it is installed (academic licence); the
errors of Tensorlab (Matlab) as the documents of the study print them, in four digits. One thread each. A row that says
NO in `reached` has a peer in the lead, which is a result.
`python benchmarks/decomposition.py --help` for options.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch
import yaml
from tabulate import tabulate
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from convpress.decompose.cp import cp_decompose, cp_reconstruct, random_start
from convpress.decompose.reference import Reference, chain_reference, parafac_reference, tucker_reference
from convpress.decompose.tensors import kernel_to_order3, relative_error
from convpress.errors import ConvpressError
from convpress.layers.surgery import find_conv
from convpress.sensitivity import FAMILIES, factorised_layers, ranks_for
from record import pretrained, record

CHECKPOINT = "resnet32-d509ac18.th"
STARTS = 4
ITERATIONS = 600
EQUAL = 1.0001
"""Errors within this factor are taken for the same optimum."""
ROOT = Path(__file__).resolve().parents[1]
TENSORLAB = ROOT / "report" / "reference" / "tensorlab_cp_error.csv"


def load_kernels(checkpoint: Path | None, choose: Callable[[nn.Module], list[str]]) -> dict[str, Tensor]:
    """The kernels that `choose` names, by layer name, from a file, the mirror or a download."""
    model = pretrained("resnet32", CHECKPOINT, checkpoint)
    return {name: find_conv(model, name).weight.detach().double() for name in choose(model)}


def every_conv(model: nn.Module) -> list[str]:
    """All convolutions, which are 3x3."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]


def second_convs(model: nn.Module) -> list[str]:
    """Of every block the second convolution: the fifteen that the study decomposes."""
    return [name for name in every_conv(model) if name.endswith(".conv2")]


def is_importable(module: str) -> bool:
    """Whether the module and all that it needs are installed."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def pytensorlab(kernel: Tensor, rank: int) -> tuple[float, float]:
    """Best relative error of pyTensorlab's cpd (nonlinear least squares) over the starts, and their seconds."""
    import pytensorlab as tl

    begin, best = time.perf_counter(), float("inf")
    for seed in range(STARTS):
        start = tl.PolyadicTensor([factor.numpy() for factor in random_start(kernel.shape, rank, seed)])
        with threadpool_limits(1):
            result, _ = tl.cpd(kernel.numpy(), rank, initialization=start, print_steps=False)
        factors = [torch.as_tensor(factor) for factor in result.factors]
        best = min(best, relative_error(kernel, cp_reconstruct(factors)))
    return best, time.perf_counter() - begin


def measure(name: str, kernel: Tensor, tensorlab: float, with_pytensorlab: bool) -> dict[str, object]:
    """One row of the table."""
    rank = kernel.shape[1] // 2
    ours = cp_decompose(kernel, rank)
    peer = parafac_reference(kernel, rank, starts=STARTS, seed=0, iterations=ITERATIONS)
    row: dict[str, object] = {
        "kernel": name,
        "rank": rank,
        "Tensorlab": tensorlab,
        "error": ours.relative_error,
        "seconds": ours.seconds,
        "iterations": ours.iterations,
        "parafac error": peer.relative_error,
        "parafac seconds": peer.seconds,
    }
    if with_pytensorlab:
        row["pyTensorlab error"], row["pyTensorlab seconds"] = pytensorlab(kernel, rank)
    return judged(row)


def judged(row: dict[str, object]) -> dict[str, object]:
    """The row with `reached`: whether no peer has a lower error, Tensorlab's as it is printed."""
    bounds = [float(str(row[key])) * EQUAL for key in row if key.endswith(" error")]
    bounds += [row["Tensorlab"] + 0.00005] if pd.notna(row.get("Tensorlab")) else []
    return row | {"reached": "yes" if all(row["error"] <= bound for bound in bounds) else "NO"}


def chain_of_starts(tensor: Tensor, ranks: Sequence[int], iterations: int) -> Reference:
    """The best of tensorly's tensor_ring_als over the starts, and the seconds of all."""
    found = [chain_reference(tensor, ranks, seed=seed, iterations=iterations) for seed in range(STARTS)]
    return Reference(min(one.relative_error for one in found), sum(one.seconds for one in found))


def measure_families(name: str, kernel: Tensor, compression: float, with_pytensorlab: bool) -> list[dict[str, object]]:
    """A row a family: our plain factors as the study computes them, and tensorly's with as many iterations."""
    study = yaml.safe_load((ROOT / "params.yaml").read_text())["sensitivity"]
    starts, iterations = study["starts"], study["iterations"]
    tensor, rows = kernel_to_order3(kernel), []
    for kind, family in FAMILIES.items():
        ranks = ranks_for(kind, kernel.shape, compression)
        begin = time.perf_counter()
        factors = family.decompose(tensor, ranks, starts, iterations, 0)
        seconds = time.perf_counter() - begin
        if kind == "cp":
            peer = parafac_reference(tensor, int(str(ranks)), starts=starts, seed=0, iterations=iterations)
        else:
            run = tucker_reference if kind == "tucker" else chain_of_starts
            peer = run(tensor, tuple(ranks), iterations=iterations)  # type: ignore[arg-type]
        error = relative_error(tensor, family.rebuild(factors))
        row: dict[str, object] = {"kernel": name, "family": kind, "rank": str(ranks), "error": error}
        row |= {"seconds": seconds, "tensorly error": peer.relative_error, "tensorly seconds": peer.seconds}
        if with_pytensorlab and kind == "cp":
            row["pyTensorlab error"], row["pyTensorlab seconds"] = pytensorlab(tensor, int(str(ranks)))
        rows.append(judged(row))
    return rows


def kept_lines(row: dict[str, object]) -> list[dict[str, object]]:
    """What is kept of a row: error and seconds beside tensorly's; the families are groups of their own."""
    peer = "tensorly" if "tensorly error" in row else "parafac"
    case = " ".join(str(row[key]) for key in ("kernel", "family") if key in row)
    family = f"{row['family']}: " if "family" in row else ""
    lines = []
    for name in [peer] + ["pyTensorlab"] * ("pyTensorlab error" in row):
        for quantity, unit in (("error", ""), ("seconds", "s")):
            ours, theirs = float(str(row[quantity])), float(str(row[f"{name} {quantity}"]))
            line: dict[str, object] = {"case": f"{case} {name}", "group": f"{family}{quantity} against {name}"}
            line |= {"quantity": quantity, "unit": unit, "ours": ours, "reference": theirs}
            lines.append(line | {"ratio": theirs / ours})
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="only the first N layers")
    parser.add_argument("--every", action="store_true", help="all 31 kernels in place of fifteen")
    parser.add_argument("--families", type=float, metavar="C", help="all families at compression C")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help=f"{CHECKPOINT} (default: mirror or download)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    available = is_importable("pytensorlab")
    choose = factorised_layers if arguments.families else every_conv if arguments.every else second_convs
    try:
        kernels = list(load_kernels(arguments.checkpoint, choose).items())[: arguments.limit]
    except ConvpressError as error:
        sys.exit(str(error))
    rows = []
    errors = pd.read_csv(TENSORLAB, index_col="layer")["relative_error"]
    for name, kernel in kernels:
        if arguments.families:
            rows += measure_families(name, kernel, arguments.families, available)
        else:
            rows.append(measure(name, kernel, float(errors.get(name, math.nan)), available))
        print(name, file=sys.stderr)
    # 5 digits for errors, 2 for seconds; a column tells its kind by its name.
    formats = [".5f" if "error" in key else ".2f" if "seconds" in key else "g" for key in rows[0]] if rows else []
    print(tabulate(rows, headers="keys", floatfmt=formats))
    every = ", all kernels" if arguments.every else ""
    case = f", all families at {arguments.families:g}x" if arguments.families else every
    record(f"decomposition{case}", [line for row in rows for line in kept_lines(row)])


if __name__ == "__main__":
    main()
