"""Tests run in two processes (`make test`); what shares an expensive fixture stays together."""

from __future__ import annotations

import pytest

SHARED = ("quickstart", "unbroken")
"""Session fixtures that run the workflow: each is made once, by the process that has all of its tests."""


def group(item: pytest.Item) -> str:
    """The name of the tests that one process runs."""
    return next((name for name in SHARED if name in getattr(item, "fixturenames", ())), str(item.path))


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in its own hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests into groups, the longest first."""

    def rank(item: pytest.Item) -> int:
        return SHARED.index(group(item)) if group(item) in SHARED else len(SHARED) + ("unit" in item.path.parts)

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=rank)
