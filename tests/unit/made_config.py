"""The committed configuration, and copies of it with one value changed."""

import copy
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def changed(path, value):
    params = copy.deepcopy(PARAMS)
    section = params
    *parents, last = path.split(".")
    for key in parents:
        section = section[key]
    if value is None:
        del section[last]
    else:
        section[last] = value
    return params
