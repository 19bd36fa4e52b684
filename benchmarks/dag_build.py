"""How long a dry run of the cifar10 workflow takes, and how that grows with ten times the grid.

`python benchmarks/dag_build.py` copies the project into a temporary folder; nothing is computed there.
"""

from __future__ import annotations

import copy
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from record import record

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "params.yaml", "profiles", "report", "rules", "scripts", "src")
GROWTH = (1, 10)
BETWEEN = "_x"


def larger(config: dict, times: int) -> dict:
    """The configuration with the grid of every study about `times` times, each entry under a name of its own."""
    config = copy.deepcopy(config)
    search, merging, clustering = config["kernel_search"], config["merging"], config["clustering"]
    search["search"] = _repeated(search["search"], times)
    merging["variants"] = _repeated(merging["variants"], times)
    merging["train"] = list(_repeated(dict.fromkeys(merging["train"]), times))
    clustering["remedies"] = _repeated(clustering["remedies"], times)
    clustering["compare"] = list(_repeated(dict.fromkeys(clustering["compare"]), times))
    grids = config["sensitivity"]["grids"]
    config["sensitivity"]["grids"] = [
        grid | {"suffix": grid.get("suffix", "") + (f"x{n}" if n else "")} for grid in grids for n in range(times)
    ]
    targets = config["peers"]["targets"]
    config["peers"]["targets"] = [
        target | {"fraction": target["fraction"] - 0.01 * n} for target in targets for n in range(times)
    ]
    return config


def _repeated(entries: dict, times: int) -> dict:
    return {name if n == 0 else f"{name}{BETWEEN}{n}": entry for name, entry in entries.items() for n in range(times)}


def dry_run(folder: Path) -> tuple[float, float, int]:
    """Seconds of `snakemake -n` on the clock and on the processor, and the number of jobs it lists."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "snakemake", "-n"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if result.returncode:
        sys.exit(result.stderr[-3000:])
    said = result.stdout + result.stderr
    return seconds, busy, sum(line.startswith(("rule ", "localrule ")) for line in said.splitlines())


def main() -> None:
    """Print one line a size of the grid; the first run of each checks the networks, the second knows them."""
    config = yaml.safe_load((ROOT / "params.yaml").read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in PARTS:
            source = ROOT / part
            shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy2(source, folder / part)
        kept: list[dict[str, object]] = []
        print("grid  jobs  first_s  again_s  again_cpu_s")
        for times in GROWTH:
            # JSON is YAML, and needs no anchors.
            (folder / "params.yaml").write_text(json.dumps(larger(config, times)))
            first, _, jobs = dry_run(folder)
            again, busy, _ = dry_run(folder)
            print(f"{times:4d}  {jobs:4d}  {first:7.1f}  {again:7.1f}  {busy:11.1f}", flush=True)
            row: dict[str, object] = {
                "case": f"{times} x the grid, {jobs} jobs",
                "quantity": "dry run",
                "unit": "s",
            }
            base = kept[0]["ours"] if kept else again
            kept.append(row | {"ours": again, "reference": base, "ratio": base / again})  # type: ignore[operator]
        record("dag_build", kept)


if __name__ == "__main__":
    main()
