"""How long a dry run of the finished cifar10 workflow takes, and how that grows with ten times the grid.

`python benchmarks/dag_build.py` copies the project into a temporary folder; nothing is computed there. It ends with 1
when the finished workflow of params.yaml takes longer than `LIMIT` seconds. Ten times the grid takes minutes to
prepare; `--growth 1` measures the workflow as it is and keeps no rows.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from safetensors import serialize

from record import record

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "params.yaml", "profiles", "report", "rules", "scripts", "src")
GROWTH = (1, 10)
BETWEEN = "_x"
LIMIT = 8.0
"""Seconds on 2 cores."""
REPEATS = 3
"""Dry runs of which the fastest counts: what else the machine does comes on top."""


def larger(config: dict, times: int) -> dict:
    """The configuration with the grid of every study about `times` times, each entry under a name of its own."""
    config = copy.deepcopy(config)
    search, merging, clustering = config["kernel_search"], config["merging"], config["clustering"]
    search["search"] = _repeated(search["search"], times)
    merging["variants"], merging["sweep"] = (_repeated(merging[key], times) for key in ("variants", "sweep"))
    merging["train"] = list(_repeated(dict.fromkeys(merging["train"]), times))
    clustering["remedies"] = _repeated(clustering["remedies"], times)
    clustering["compare"] = list(_repeated(dict.fromkeys(clustering["compare"]), times))
    plans, groups = clustering["plans"], clustering["groups"]
    plans["finetune"] = [plan + n * len(plans["rows"]) for n in range(times) for plan in plans["finetune"]]
    plans["rows"] = plans["rows"] * times
    clustering["groups"] = [group | {"name": _name(group["name"], n)} for group in groups for n in range(times)]
    grids = config["sensitivity"]["grids"]
    config["sensitivity"]["grids"] = {
        _name(name, n): grid | {"suffix": grid.get("suffix", "") + (f"x{n}" if n else "")}
        for name, grid in grids.items()
        for n in range(times)
    }
    targets = config["peers"]["targets"]
    config["peers"]["targets"] = [
        target | {"fraction": target["fraction"] - 0.01 * n} for target in targets for n in range(times)
    ]
    low_rank = config["low_rank"]
    low_rank["expansions"] = _repeated(low_rank["expansions"], times)
    low_rank["rows"] = [
        row | {"row": row["row"] + 1000 * n, "expansion": _name(row["expansion"], n)}
        for row in low_rank["rows"]
        for n in range(times)
    ]
    return config


def _repeated(entries: dict, times: int) -> dict:
    return {_name(name, n): entry for name, entry in entries.items() for n in range(times)}


def _name(name: str, n: int) -> str:
    return f"{name}{BETWEEN}{n}" if n else name


def snakemake(folder: Path, *arguments: str) -> str:
    """What Snakemake says in `folder`; its failure ends the benchmark."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr[-3000:])
    return result.stdout + result.stderr


def finish(folder: Path) -> int:
    """Put an empty file in the place of every output, let Snakemake note it as made, and return the number of jobs."""
    outputs = snakemake(folder, "--summary").partition("output_file\t")[2].splitlines()[1:]
    for line in outputs:
        path = folder / line.partition("\t")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(serialize({}, {"made": "by nothing"}) if path.suffix == ".safetensors" else b"")
    said = snakemake(folder, "--touch", "--forceall", "--cores", "2")
    return int(re.findall(r"^total +(\d+)", said, flags=re.MULTILINE)[0])


def dry_run(folder: Path) -> tuple[float, float]:
    """Seconds of `snakemake -n` on the clock and on the processor; it must find nothing to do."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    said = snakemake(folder, "-n")
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if "Nothing to be done" not in said or "missing provenance" in said:
        sys.exit(f"the run should be finished, but Snakemake says:\n{said[-3000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print one line a size of the grid; 1 when the grid as it is takes too long."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--growth", type=int, nargs="+", default=GROWTH, help="times the grid; default: 1 10")
    growth = tuple(parser.parse_args().growth)
    config = yaml.safe_load((ROOT / "params.yaml").read_text())
    kept: list[dict[str, object]] = []
    fastest: list[float] = []
    print("grid  jobs  seconds  cpu_s")
    for times in growth:
        with tempfile.TemporaryDirectory() as name:
            folder = copied(Path(name))
            # JSON is YAML, and needs no anchors.
            (folder / "params.yaml").write_text(json.dumps(larger(config, times)))
            jobs = finish(folder)
            seconds, busy = min(dry_run(folder) for _ in range(REPEATS))
        print(f"{times:4d}  {jobs:4d}  {seconds:7.1f}  {busy:5.1f}", flush=True)
        fastest.append(seconds)
        row = {"case": f"{times} x the grid, {jobs} jobs, finished", "quantity": "dry run", "unit": "s"}
        # The grid as it is stands against the limit, a larger one against the grid as it is.
        against = {"against": f"{LIMIT:.0f} s"} if times == 1 else {}
        reference = LIMIT if times == 1 else fastest[0]
        kept.append(row | against | {"ours": seconds, "reference": reference, "ratio": reference / seconds})
    if growth == GROWTH:
        record("dag_build", kept)
    if fastest[0] > LIMIT:
        print(f"a dry run of the finished workflow takes {fastest[0]:.1f} s, more than {LIMIT:.0f} s", file=sys.stderr)
        return 1
    return 0


def copied(folder: Path) -> Path:
    """The project's parts that a dry run needs, in `folder`."""
    for part in PARTS:
        source = ROOT / part
        shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy2(source, folder / part)
    return folder


if __name__ == "__main__":
    sys.exit(main())
