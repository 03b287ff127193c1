"""docs/hostile.md has each situation that tests/transport/test_hostile.py plays."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.transport import test_hostile
from tests.transport.test_hostile import ROWS, Row

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.situation)
def test_the_page_has_the_row(row: Row) -> None:
    assert row.words in PAGE.read_text("utf-8")


def test_the_page_names_tests_that_exist() -> None:
    named = re.findall(r"`(test_\w+)` \|", PAGE.read_text("utf-8"))
    assert len(named) > 5
    assert set(named) <= set(vars(test_hostile))
