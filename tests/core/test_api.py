"""Compares the public names and signatures with the stored snapshot, so that an API change shows up as a diff.

`make api` regenerates the snapshot. griffe reads the sources, so annotations appear as they are written.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_name("api.txt")
OURS = ("aelyst_async", "aelyst_providers")
PUBLIC = (
    "aelyst_async", "aelyst_async.errors", "aelyst_async.export", "aelyst_async.fastapi", "aelyst_async.gateway",
    "aelyst_async.pytest_plugin", "aelyst_async.ratelimit", "aelyst_async.sandbox", "aelyst_async.sync",
    "aelyst_async.tables", "aelyst_async.telemetry", "aelyst_async.transport", "aelyst_providers.aelyst",
    "aelyst_providers.callab", "aelyst_providers.dmchamp",
)  # fmt: skip
"""The modules whose ``__all__`` is the contract."""


def snapshot() -> str:
    """Return a line for each public name, and for each public attribute and method of a class."""
    import griffe

    loader = griffe.GriffeLoader(search_paths=[ROOT, ROOT / "providers"])
    for package in OURS:
        loader.load(package)
    loader.resolve_aliases(implicit=True)
    lines: list[str] = []
    for name in PUBLIC:
        module: Any = loader.modules_collection[name]
        for exported in sorted(str(item) for item in module.exports or ()):
            lines += _lines(f"{name}.{exported}", module[exported])
    return "\n".join(lines) + "\n"


def _lines(path: str, item: Any) -> Iterator[str]:
    if item.is_alias:
        item = item.final_target
    if item.is_class:
        yield f"class {path}({', '.join(str(base) for base in item.bases)})"
        for name, member in sorted(item.all_members.items()):
            if (not name.startswith("_") or name == "__init__") and _is_ours(member):
                yield from _lines(f"{path}.{name}", member)
    elif item.is_function:
        kind = "async def" if "async" in item.labels else "def"
        for function in item.overloads or [item]:
            yield f"{kind} {path}({', '.join(_parameters(function))}) -> {function.returns}"
    elif item.is_attribute:
        value = "" if item.value is None else f" = {item.value}"
        yield f"{path}: {item.annotation}{value}"
    else:
        yield f"module {path}"


def _is_ours(member: Any) -> bool:
    return not member.is_alias or member.final_target.path.startswith(OURS)


def _parameters(function: Any) -> Iterator[str]:
    only = False
    for one in function.parameters:
        kind = one.kind.value if one.kind else ""
        if one.name == "self":
            continue
        if kind == "keyword-only" and not only:
            only = True
            yield "*"
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        default = f" = {one.default}" if one.default is not None and not stars else ""
        yield f"{stars}{one.name}: {one.annotation}{default}"
        if kind == "positional-only":
            yield "/"


def test_public_api_matches_snapshot() -> None:
    pytest.importorskip("griffe")
    diff = difflib.unified_diff(
        SNAPSHOT.read_text("utf-8").splitlines(), snapshot().splitlines(), "api.txt", "the sources", n=0, lineterm=""
    )
    changes = "\n".join(diff)
    assert not changes, f"the public API has changed; if that is meant, run `make api`:\n{changes}"


if __name__ == "__main__":
    sys.stdout.write(snapshot())
