"""What a result was computed with: packages, processor, inputs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convpress.files import sha256_file

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "safetensors",
    "tensorly",
    "snakemake",
    "dvc",
)
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
"""What decides how fast an x86 processor multiplies matrices, the best first."""


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except ImportError:
            versions[name] = "not installed"
    return versions


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as the system calls it, and its best matrix or vector instructions: "AMD EPYC (avx2)".

    Virtual machines give one name to processors of ten years, between which training differs by a factor of ten.
    """
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    name, flags = facts.get("model name", platform.machine()), facts.get("flags", "").split()
    best = next((instructions for instructions in INSTRUCTIONS if instructions in flags), "")
    return f"{name} ({best})" if best else name


def checksums(paths: Iterable[str | Path]) -> dict[str, str]:
    """Path to sha256 of each file."""
    return {str(path): sha256_file(Path(path)) for path in paths}


def run_record(config: dict[str, Any], inputs: list[dict[str, Any]], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """What a run's provenance.json says of inputs and machine, which is the one that made the last metrics."""
    last = metrics[-1]["provenance"]
    # Evaluations are in float32 and never compiled; trainings say so for themselves.
    compute = {key: value for key, value in last["compute"].items() if key not in ("precision", "compile")}
    return {
        "run": config["run"],
        "seed": config["seed"],
        "processor": last["processor"],
        "cores": os.cpu_count(),
        "packages": last["packages"],
        "inputs": inputs,
        **compute,
    }


def result_record(
    inputs: Iterable[str | Path], *, seed: int | None, code: str, compute: dict[str, Any]
) -> dict[str, Any]:
    """What stands in every metrics file; `seed` is None where nothing is drawn."""
    return {
        "seed": seed,
        "code": code,
        "compute": compute,
        "packages": package_versions(),
        "processor": processor(),
        "inputs": checksums(inputs),
    }
