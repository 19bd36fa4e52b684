"""The lock of exact versions holds what builds the package as well, for `make install` isolates no build."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def test_the_lock_has_what_the_build_needs():
    locked = dict(line.split(" ;")[0].split("==") for line in (ROOT / "requirements.lock").read_text().splitlines()[1:])
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert build
    for requirement in map(Requirement, build):
        assert locked[requirement.name] in requirement.specifier
