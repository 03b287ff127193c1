"""`read`: quota headers of one response. A value that cannot be parsed counts as absent."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from aelyst_async.ratelimit.headers import NOTHING, read

THEN = 1445412470.0  # Wed, 21 Oct 2015 07:27:50 GMT


def clock() -> float:
    return THEN


@pytest.mark.parametrize(
    ("headers", "limit", "remaining"),
    [
        ({"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "5"}, 10, 5),
        ({"x-ratelimit-limit": "10", "X-RATELIMIT-REMAINING": "5"}, 10, 5),
        ({"X-RateLimit-Limit": "10.0", "X-RateLimit-Remaining": "4.9"}, 10, 4),
        ({"X-RateLimit-Limit": "100, 100;w=60", "X-RateLimit-Remaining": "7"}, 100, 7),
        ({"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "-1"}, 10, 0),
        ({"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "50"}, 10, 10),
        ({"X-RateLimit-Limit": "0", "X-RateLimit-Remaining": "0"}, None, 0),
        ({"X-RateLimit-Limit": "-5", "X-RateLimit-Remaining": "x"}, None, None),
        ({"X-RateLimit-Limit": "9" * 30, "X-RateLimit-Remaining": "1"}, None, 1),
        ({"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "5", "Age": "30"}, None, None),
        ({"RateLimit-Limit": "10", "RateLimit-Remaining": "5"}, 10, 5),
        ({"RateLimit": "limit=100, remaining=50, reset=5"}, 100, 50),
        (
            {"RateLimit": '"day";r=3;t=1000, "burst";r=50', "RateLimit-Policy": '"burst";q=100;w=60, "day";q=1000'},
            1000,
            3,
        ),
        ({}, None, None),
    ],
)
def test_read_returns_limit_and_remaining(headers: dict[str, str], limit: int | None, remaining: int | None) -> None:
    found = read(headers, clock)
    assert (found.limit, found.remaining) == (limit, remaining)
    assert read(CIMultiDictProxy(CIMultiDict(headers)), clock) == found


def test_read_returns_window_reset_and_retry_after() -> None:
    found = read({"RateLimit": '"burst";r=50;t=30', "RateLimit-Policy": '"burst";q=100;w=60'}, clock)
    assert (found.reset, found.window) == (30.0, 60.0)
    assert read({"X-RateLimit-Reset": str(int(THEN) + 7)}, clock).reset == pytest.approx(7)
    assert read({"X-RateLimit-Reset": str(int(THEN + 7) * 1000)}, clock).reset == pytest.approx(7)
    assert read({"X-RateLimit-Reset": "7"}, clock).reset == 7.0
    assert read({"X-RateLimit-Reset-After": "0.5"}, clock).reset == 0.5
    assert read({"Retry-After": "2", "Retry-After-Ms": "1500"}, clock).retry_after == 1.5


def test_read_compares_dates_with_the_date_header() -> None:
    headers = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT", "Date": "Wed, 21 Oct 2015 07:27:55 GMT"}
    assert read(headers, lambda: THEN + 3600).retry_after == 5.0


@pytest.mark.parametrize(
    "text", ["007", "0", "1_0", "١", "²", "+5", " 6 ", "", "999999999", "1000000000", "1000000001"]
)
def test_read_parses_counts_of_both_header_forms_alike(text: str) -> None:
    usual = read({"X-RateLimit-Limit": text, "X-RateLimit-Remaining": text}, clock)
    older = read({"RateLimit-Limit": text, "RateLimit-Remaining": text}, clock)
    assert (usual.limit, usual.remaining) == (older.limit, older.remaining)


_NAMES = st.sampled_from(
    ["X-RateLimit-Limit", "x-ratelimit-remaining", "Retry-After", "RateLimit", "RateLimit-Policy", "X-RateLimit-Reset",
     "Age", "Date", "Retry-After-Ms", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]
)  # fmt: skip
_VALUES = st.one_of(
    st.text(max_size=40),
    st.integers().map(str),
    st.floats().map(str),
    st.from_regex(r'("[a-z]*"|[a-z]+)(;[rqtw]=-?[0-9]{0,20})*', fullmatch=True),
)


@given(st.dictionaries(_NAMES, _VALUES))
def test_read_accepts_any_value_and_returns_bounded_numbers(headers: dict[str, str]) -> None:
    found = read(headers, clock)
    for value in found:
        assert value is None or (value >= 0 and math.isfinite(value))
    if found.limit is not None and found.remaining is not None:
        assert found.remaining <= found.limit
    assert read({}, clock) == NOTHING
