"""docs/hostile.md lists each situation of tests/transport/test_hostile.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.transport import test_hostile
from tests.transport.test_hostile import ROWS, Row

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.situation)
def test_hostile_page_has_the_row(row: Row) -> None:
    assert row.words in PAGE.read_text("utf-8")


def test_hostile_page_names_existing_tests() -> None:
    named = re.findall(r"`(test_\w+)` \|", PAGE.read_text("utf-8"))
    assert len(named) > 5
    assert set(named) <= set(vars(test_hostile))
