"""The tables of docs/operations.md: every method, route, command and test file in them exists, and none is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.cli import make_parser
from aelyst_async.sandbox.vendors import vendors
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
SECTIONS: dict[str, tuple[str, Any]] = {
    "aelyst": ("Aelyst and respond.io", AelystGateway),
    "dmchamp": ("DM Champ", DmChampGateway),
    "callab": ("Callab AI", CallabGateway),
}
# Methods that are not operations of the API.
OTHERS = {
    "aclose", "account", "blocking", "condition", "request", "subscribe", "with_custom_fields", "with_options",
    "with_retry",
}  # fmt: skip


def rows(vendor: str) -> list[list[str]]:
    section = PAGE.partition(f"## {SECTIONS[vendor][0]}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines[1:]]


@pytest.mark.parametrize("vendor", SECTIONS)
def test_table_lists_exactly_the_methods_of_the_gateway(vendor: str) -> None:
    gateway = SECTIONS[vendor][1]
    there = {name for name in dir(gateway) if not name.startswith("_") and callable(getattr(gateway, name))} - OTHERS
    assert {row[1] for row in rows(vendor)} - {"–"} == there


@pytest.mark.parametrize("vendor", SECTIONS)
def test_table_lists_exactly_the_routes_of_the_sandbox(vendor: str) -> None:
    routes = {route.endpoint for route in vendors()[vendor].routes}
    assert {row[3] for row in rows(vendor)} - {"none", "not served"} == routes


@pytest.mark.parametrize("vendor", SECTIONS)
def test_table_names_existing_commands_and_test_files(vendor: str) -> None:
    commands = set(re.findall(r"[a-z]+", make_parser().format_help()))
    for row in rows(vendor):
        assert row[2] == "–" or row[2].split()[0] in commands
        assert not row[4].strip("| ") or (ROOT / row[4]).is_file(), row
