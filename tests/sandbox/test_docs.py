"""docs/sandbox.md names every fault, every option and every route of the control API."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aelyst_async.sandbox.control import _ROUTES
from aelyst_async.sandbox.faults import KINDS

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "sandbox.md").read_text("utf-8")


def test_sandbox_page_names_every_fault_and_control_route() -> None:
    assert [kind for kind in KINDS if f"`{kind}`" not in TEXT] == []
    written = TEXT.replace("`, `", " ").replace("`", " ")
    for _, template in _ROUTES:
        pattern = re.sub("{.*?}", "[A-Z]+", template)
        assert re.search(rf"(?<![\w/]){pattern}(?![\w/])", written), template


@pytest.mark.parametrize("kind", KINDS)
def test_sandbox_page_lists_the_options_of_each_fault(kind: str) -> None:
    (row,) = re.findall(rf"^\| `{kind}`.*\|$", TEXT, re.MULTILINE)
    written = {"status": "`code`", "retry_after_form": "`form:date`", "applied": "`applied:yes`"}
    for option in {option for facts in KINDS.values() for option in facts.options}:
        assert (written.get(option, f"`{option}`") in row) == (option in KINDS[kind].options), (option, row)
