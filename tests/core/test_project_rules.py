"""Project rules that can be checked automatically."""

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
def test_modules_are_short_and_have_a_docstring(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 500
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_test_modules_have_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_core_does_not_import_providers(path: Path) -> None:
    """The core never imports a provider. Only the overloads of `open_gateway` name them, for type checkers."""
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
def test_providers_do_not_import_each_other(path: Path) -> None:
    vendor = path.relative_to(ROOT / "providers" / "aelyst_providers").parts[0]
    others = {"aelyst", "dmchamp", "callab"} - {vendor}
    assert not re.search(rf"aelyst_providers\.({'|'.join(others)})", path.read_text("utf-8"))


def test_newest_changelog_version_is_the_package_version() -> None:
    changelog = ROOT / "CHANGELOG.md"
    version = re.search(r'"([0-9.]+[a-z0-9.]*)"', (ROOT / "aelyst_async" / "version.py").read_text())
    assert version is not None
    if not changelog.exists():
        pytest.skip("CHANGELOG.md is not installed here")
    sections = re.findall(r"^## \[?([^\]\s]+)", changelog.read_text("utf-8"), re.MULTILINE)
    assert sections
    released = [section for section in sections if section != "Unreleased"]
    # Before the first release the only section is "Unreleased"; afterwards the newest section is this version.
    assert released[:1] in ([], [version[1]])


@pytest.mark.parametrize("vendor", ["aelyst", "dmchamp", "callab"])
def test_each_vendor_has_a_readme(vendor: str) -> None:
    readme = ROOT / "providers" / "aelyst_providers" / vendor / "README.md"
    assert len(readme.read_text("utf-8").splitlines()) > 10
