"""Content hash of a script and of every local module that it imports, directly or not."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

OWN_TEXT = Path(__file__).read_bytes()
"""What is remembered holds for these rules of hashing alone."""


def code_hash(script: Path, roots: Sequence[Path], extra: Sequence[str] = (), known: Path | None = None) -> str:
    """Hash of `script`, of the modules `extra` (dotted names), and of all local modules that these import.

    Local is what lies below one of `roots`. Syntax trees are hashed, not texts: comments, layout, docstrings,
    sentences below constants, descriptions of fields and what errors say change nothing, nor does the version of
    Python. A package's ``__init__`` counts only where names are imported from the package itself, because those of
    this project just re-export names. The folder `known` remembers what each text came to, which saves a second at
    every start.
    """
    seen: dict[Path, str] = {}
    places = tuple(roots)
    pending = [Path(script).resolve(), *(file for name in extra for file in _files_of(name, places))]
    while pending:
        path = pending.pop()
        if path not in seen:
            seen[path], modules = _digest(path, known)
            pending += [file for module in modules for file in _files_of(module, places)]
    lines = sorted(f"{path.parent.name}/{path.name} {digest}" for path, digest in seen.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@cache
def _digest(path: Path, known: Path | None = None) -> tuple[str, tuple[str, ...]]:
    """Hash and imported modules of one file."""
    text = path.read_bytes()
    if known is None:
        return _parsed(text)
    record = known / hashlib.sha256(OWN_TEXT + text).hexdigest()
    with contextlib.suppress(OSError, ValueError):  # not there, or written in part
        digest, modules = json.loads(record.read_text(encoding="utf-8"))
        return digest, tuple(modules)
    found = _parsed(text)
    with contextlib.suppress(OSError):  # a read-only folder remembers nothing
        known.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(found), encoding="utf-8")
    return found


def _parsed(text: bytes) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(text)
    modules = tuple(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [part for part in node.body if not _says(part)] or [ast.Pass()]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        if isinstance(node, ast.Raise):
            said = (part for part in ast.walk(node) if isinstance(part, ast.Constant))
            for part in said:
                part.value = "" if isinstance(part.value, str) else part.value
    return hashlib.sha256(_dump(tree).encode()).hexdigest(), modules


def _dump(node: object) -> str:
    """As `ast.dump` of Python 3.11: later versions leave out empty fields and have new ones, which are None here."""
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, getattr(node, name, None)) for name in node._fields if name != "type_params"]
    kept = [(name, value) for name, value in fields if value is not None or getattr(type(node), name, ...) is not None]
    return f"{type(node).__name__}({', '.join(f'{name}={_dump(value)}' for name, value in kept)})"


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


@cache
def _files_of(module: str, roots: tuple[Path, ...]) -> tuple[Path, ...]:
    found = []
    for root in roots:
        for name in (module, module.rpartition(".")[0]):
            base = root.joinpath(*name.split(".")) if name else root / "?"
            file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
            if file.is_file():
                found.append(file.resolve())
                break
    return tuple(found)
