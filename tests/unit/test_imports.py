"""Who may import whom: no module in a circle, and no method another method."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
METHODS = ("kernel_search", "sensitivity", "clustering", "merging", "low_rank", "peers")


def _modules() -> dict[str, Path]:
    files = (SOURCE / "convpress").rglob("*.py")
    return {".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def _imported(tree: ast.Module) -> Iterator[str]:
    """What is imported while the module is: not in functions, nor for the type checker alone."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    modules = _modules()
    found: dict[str, set[str]] = {}
    for module, file in modules.items():
        names = _imported(ast.parse(file.read_text()))
        homes = {name if name in modules else name.rpartition(".")[0] for name in names}
        found[module] = (homes & set(modules)) - {module}
    return found


def test_no_module_waits_for_itself(graph: dict[str, set[str]]) -> None:
    assert len(graph) > 150
    list(TopologicalSorter(graph).static_order())
    with pytest.raises(CycleError):
        list(TopologicalSorter(graph | {"convpress.errors": {"convpress.train"}}).static_order())


@pytest.mark.parametrize("method", METHODS)
def test_a_method_knows_no_other_method(graph: dict[str, set[str]], method: str) -> None:
    own = f"convpress.{method}"
    others = tuple(f"convpress.{other}" for other in METHODS if other != method)
    modules = {module for module in graph if module == own or module.startswith(f"{own}.")}
    assert modules
    for module in modules:
        known = {name for name in graph[module] if name in others or name.startswith(tuple(f"{o}." for o in others))}
        assert not known, f"{module} imports {known}"
