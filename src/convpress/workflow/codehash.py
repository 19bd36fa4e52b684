"""Content hash of a script and of every local module that it imports, directly or not."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path


def code_hash(script: Path, roots: Sequence[Path], extra: Sequence[str] = ()) -> str:
    """Hash of `script`, of the modules `extra` (dotted names), and of all local modules that these import.

    Local is what lies below one of `roots`. Syntax trees are hashed, not texts: comments, layout, docstrings and
    sentences below constants change nothing. A package's ``__init__`` counts only where names are imported from the
    package itself, because those of this project just re-export names.
    """
    seen: dict[Path, str] = {}
    pending = [Path(script).resolve(), *(file for name in extra for file in _files_of(name, roots))]
    while pending:
        path = pending.pop()
        if path not in seen:
            seen[path], modules = _digest(path)
            pending += [file for module in modules for file in _files_of(module, roots)]
    lines = sorted(f"{path.parent.name}/{path.name} {digest}" for path, digest in seen.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@cache
def _digest(path: Path) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(path.read_bytes())
    modules = tuple(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [part for part in node.body if not _says(part)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), modules


def _says(statement: ast.stmt) -> bool:
    """Whether it is a bare text: a docstring, or the sentence below a constant."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _imports(tree: ast.AST) -> Iterator[str]:
    """Imported modules; of `from package import name` the submodule or, failing that, the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(module: str, roots: Sequence[Path]) -> Iterator[Path]:
    for root in roots:
        for name in (module, module.rpartition(".")[0]):
            base = root.joinpath(*name.split(".")) if name else root / "?"
            file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
            if file.is_file():
                yield file.resolve()
                break
