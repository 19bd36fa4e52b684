"""Where files are looked for; without torch, so that a dry run stays quick."""

from __future__ import annotations

import os
from pathlib import Path


def checkpoint_places(checkpoint: str) -> list[Path]:
    """Where a checkpoint is looked for without a download: a path is its own place, a bare name may have several."""
    if "/" in checkpoint:
        return [Path(checkpoint)]
    # As in convpress.inputs, which imports torch.
    mirrors = [Path(text) for text in os.environ.get("CONVPRESS_MIRROR", "").split(os.pathsep) if text]
    return [Path("data", "checkpoints", checkpoint), *(mirror / "checkpoints" / checkpoint for mirror in mirrors)]
