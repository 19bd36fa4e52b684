"""The real inputs, where CONVPRESS_MIRROR has them."""

import os
from pathlib import Path

import pytest


def mirrored(name: str) -> Path:
    """The file or folder `name` (as in checkpoints/resnet32-d509ac18.th) of the first mirror that has it, or skip."""
    folders = [Path(part) for part in os.environ.get("CONVPRESS_MIRROR", "").split(os.pathsep) if part]
    found = next((folder / name for folder in folders if (folder / name).exists()), None)
    if found is None:
        pytest.skip(f"no folder of CONVPRESS_MIRROR has {name}")
    return found
