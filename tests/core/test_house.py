"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for root in ("aelyst_async", "providers") for path in (ROOT / root).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 500
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_a_test_module_says_what_it_tests(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_dependencies_point_one_way(path: Path) -> None:
    """The core never imports a provider. `open_gateway` names the published ones to type checkers alone."""
    if "providers" in path.parts:
        return
    tree = ast.parse(path.read_text("utf-8"))
    if path.name == "registry.py":
        tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and _is_type_checking(node.test))]
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        allowed = "pytest_plugin" in path.name
        assert allowed or not any(imported.startswith("aelyst_providers") for imported in names), ast.unparse(node)


VENDORS = re.compile(r"dm ?champ|callab(?!le|ility)|aelyst_providers|aelyst\.ai", re.IGNORECASE)
NAMES_VENDORS = {
    "registry.py": "open_gateway has one overload for each published provider, for type checkers",
    "pytest_plugin.py": "the fixture has one typed gateway for each published provider",
    "sandbox/vendors.py": "sorts the sandboxes of this distribution before those of third parties",
}
"""Files of the core that name a vendor, each with the reason. Column layouts in tables/ name tools, not providers."""


def test_core_names_no_vendor() -> None:
    core = ROOT / "aelyst_async"
    files = (path for path in core.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    found = {str(path.relative_to(core)) for path in files if VENDORS.search(path.read_text("utf-8"))}
    assert found == set(NAMES_VENDORS)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("path", [path for path in MODULES if "providers" in path.parts], ids=name)
def test_a_provider_does_not_know_another(path: Path) -> None:
    vendor = path.relative_to(ROOT / "providers" / "aelyst_providers").parts[0]
    others = {"aelyst", "dmchamp", "callab"} - {vendor}
    assert not re.search(rf"aelyst_providers\.({'|'.join(others)})", path.read_text("utf-8"))


def test_version_and_changelog_agree() -> None:
    changelog = ROOT / "CHANGELOG.md"
    version = re.search(r'"([0-9.]+[a-z0-9.]*)"', (ROOT / "aelyst_async" / "version.py").read_text())
    assert version is not None
    if not changelog.exists():
        pytest.skip("CHANGELOG.md is not part of what is tested here")
    sections = re.findall(r"^## \[?([^\]\s]+)", changelog.read_text("utf-8"), re.MULTILINE)
    assert sections
    released = [section for section in sections if section != "Unreleased"]
    # Before the first release there is nothing but "Unreleased"; later, the newest one is this version.
    assert released[:1] in ([], [version[1]])


@pytest.mark.parametrize("vendor", ["aelyst", "dmchamp", "callab"])
def test_each_vendor_has_its_readme(vendor: str) -> None:
    readme = ROOT / "providers" / "aelyst_providers" / vendor / "README.md"
    assert len(readme.read_text("utf-8").splitlines()) > 10
