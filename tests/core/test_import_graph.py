"""No import cycles: in the module graph, and when each module is the first one imported in an interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {"aelyst_async": ROOT, "aelyst_providers": ROOT / "providers"}


def _name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _name(path, root): path for package, root in SOURCES.items() for path in sorted((root / package).rglob("*.py"))
}


def _dependencies(path: Path) -> set[str]:
    """Return the modules of this project that a module imports, also inside functions, except under TYPE_CHECKING."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in MODULES else node.module for name in names)
    return found & set(MODULES)


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one cycle, or an empty list."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph[module]):
            if found := visit(other, [*trail, module]):
                return found
        done.add(module)
        return []

    return next((found for module in graph if (found := visit(module, []))), [])


def test_find_cycle_finds_a_cycle() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_modules_have_no_import_cycle() -> None:
    assert find_cycle({name: _dependencies(path) for name, path in MODULES.items()}) == []


@pytest.mark.slow
@pytest.mark.parametrize("package", SOURCES)
def test_each_module_can_be_imported_first(package: str) -> None:
    """One interpreter drops our modules before each import: starting 130 interpreters takes minutes."""
    code = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [one for one in sys.modules if one.partition(".")[0] in {"aelyst_async", "aelyst_providers"}]:
        del sys.modules[loaded]
    importlib.import_module(name)
print(len(sys.argv) - 1)
"""
    names = [name for name in MODULES if name.partition(".")[0] == package and not name.endswith("__main__")]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *names], capture_output=True, text=True, timeout=120, check=False
    )
    assert (result.stderr, result.stdout.strip()) == ("", str(len(names)))
