"""Tests run in four processes (`make test`); what shares an expensive fixture stays together."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import hypothesis
import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

# The same examples and the same sums everywhere, however busy the machine is.
hypothesis.settings.register_profile("convpress", deadline=None, derandomize=True)
hypothesis.settings.load_profile("convpress")
torch.set_num_threads(1)

SHARED = {
    "quickstart": ("test_quickstart", "test_study_"),
    "unbroken": ("test_faults", "test_same_bits", "test_slurm"),
    "published": ("test_share_",),
}
"""Session fixtures that run the workflow, and the files that use them; longest first."""


def group(nodeid: str) -> str:
    """The name of the tests that one process runs, one after the other."""
    path = nodeid.partition("::")[0]
    return next((name for name, files in SHARED.items() if PurePath(path).stem.startswith(files)), path)


class GroupScheduling(LoadScopeScheduling):
    """Hands whole groups to the processes. (The package's own `loadgroup` does nothing under pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Schedule by `group` wherever tests run in several processes."""
    return GroupScheduling(config, log)


@pytest.fixture
def _no_mirror_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs come from where the test says, and the local server is asked itself."""
    monkeypatch.delenv("CONVPRESS_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest groups come first."""
    shared = list(SHARED)

    def rank(item: pytest.Item) -> int:
        name = group(item.nodeid)
        return shared.index(name) if name in shared else len(shared) + ("unit" in item.path.parts)

    items.sort(key=rank)
