"""What the rules and scripts say, read without the project's own hash of their code."""

from __future__ import annotations

import ast
from pathlib import Path


def scripts_importing(folder: Path, module: str) -> set[str]:
    """Names of the scripts that import a package module, found without the project's own hash."""
    roots = [folder / "src", folder / "scripts"]

    def reached(path: Path, seen: set[Path]) -> set[Path]:
        if path in seen:
            return seen
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            home = getattr(node, "module", None)
            for name in [f"{home}.{name}" for name in names] + [home] if home else names:
                for root in roots:
                    if (file := root.joinpath(*name.split(".")).with_suffix(".py")).is_file():
                        reached(file, seen)
        return seen

    wanted = (folder / "src").joinpath(*module.split(".")).with_suffix(".py")
    return {script.stem for script in folder.glob("scripts/*.py") if wanted in reached(script, set())}


def script_of(folder: Path) -> dict[str, str]:
    """The script of each rule as the rules say it; a rule that inherits has its parent's."""
    found: dict[str, str] = {}
    inherits: dict[str, str] = {}
    for path in sorted(folder.glob("rules/*.smk")):
        rule = ""
        for line in path.read_text().splitlines():
            words = line.replace(":", "").split()
            if words[:1] == ["rule"]:
                rule = words[1]
            elif words[:2] == ["use", "rule"]:
                rule = words[4]
                inherits[rule] = words[2]
            elif "../scripts/" in line:
                found[rule] = line.strip().strip('"').removeprefix("../scripts/").removesuffix(".py")
    while pending := [rule for rule in inherits if rule not in found and inherits[rule] in found]:
        found |= {rule: found[inherits[rule]] for rule in pending}
    return found
