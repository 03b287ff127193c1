"""`aelyst_async.waits`: the wait that a response header asks for, in seconds."""

import math
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aelyst_async.waits import LONGEST_WAIT, parse_wait, retry_after

NOW = 1445412470.0
"""Wed, 21 Oct 2015 07:27:50 GMT."""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("5", 5.0),
        (" 5\t", 5.0),
        ("+5", 5.0),
        ("-5", 0.0),
        ("-0.5", 0.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("2.", 2.0),
        ("007", 7.0),
        ("120, 60", 120.0),
        ("10;w=60", 10.0),
        ("86400", 86400.0),
        ("99999999", 99999999.0),
        ("999999999", 999999999.0),
        # Unix times
        ("1445412480", 10.0),
        ("1445412480.25", 10.25),
        ("1445412460", 0.0),
        ("1445412480000", 10.0),
        ("1445412480500", 10.5),
        ("1445412460000", 0.0),
        # HTTP dates
        ("Wed, 21 Oct 2015 07:28:00 GMT", 10.0),
        ("wed, 21 oct 2015 07:28:00 gmt", 10.0),
        ("Wed, 21 Oct 2015 07:28:00", 10.0),
        ("Wed, 21 Oct 2015 09:28:00 +0200", 10.0),
        ("Wed, 21 Oct 2015 02:28:00 -0500", 10.0),
        ("Wed, 21 Oct 2015 07:27:60 GMT", 10.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", 10.0),
        ("Wednesday, 21-Oct-70 07:28:00 GMT", 0.0),
        ("Wed Oct 21 07:28:00 2015", 10.0),
        ("Sun Nov  1 07:27:50 2015", 11 * 86400.0),
        ("2015-10-21T07:28:00Z", 10.0),
        ("2015-10-21T09:28:00+02:00", 10.0),
        ("2015-10-21T07:28:00", 10.0),
        # Clamped
        ("9" * 15, LONGEST_WAIT),
        ("9" * 400, LONGEST_WAIT),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT),
        # Nonsense
        ("", None),
        (" ", None),
        ("soon", None),
        ("1e5", None),
        ("0x10", None),
        ("1_0", None),
        ("--5", None),
        ("1.2.3", None),
        ("5s", None),
        ("inf", None),
        ("-inf", None),
        ("Infinity", None),
        ("nan", None),
        ("١", None),
        ("²", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Foo 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 25:28:00 GMT", None),
        ("Wed, 21 Oct 2015", None),
        ("2015-13-21T07:28:00Z", None),
        ("2015-10-21", None),
    ],
)  # fmt: skip
def test_parse_wait_reads_seconds_times_and_dates(value: str, seconds: float | None) -> None:
    assert parse_wait(value, now=NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "value", ["Wed, 21 Oct 2015 07:28:00 GMT", "1445412480", "1445412480000", "2015-10-21T07:28:00Z"]
)
@pytest.mark.parametrize("skew", [-(10**8), -3600, 3600, 10**8])
def test_parse_wait_compares_times_with_the_response_date(value: str, skew: float) -> None:
    assert parse_wait(value, now=NOW + skew, date="Wed, 21 Oct 2015 07:27:50 GMT") == pytest.approx(10)


def test_parse_wait_uses_the_local_clock_for_unreadable_dates() -> None:
    assert parse_wait("1445412480", now=NOW, date="yesterday") == pytest.approx(10)


def test_parse_wait_reads_seconds_without_a_clock() -> None:
    assert parse_wait("30", now=math.nan, date="Wed, 21 Oct 2015 07:27:50 GMT") == 30


@given(st.text() | st.from_regex(r"[-+]?[0-9.,;: ]{0,40}"), st.none() | st.text(max_size=40))
def test_parse_wait_stays_within_bounds_for_any_string(value: str, date: str | None) -> None:
    seconds = parse_wait(value, now=NOW, date=date)
    assert seconds is None or 0 <= seconds <= LONGEST_WAIT


@pytest.mark.parametrize("piece", ["9", " ", ",", ";", "+", ".", "a", "1.", "Wed, 21 Oct 2015 07:28:00 GMT ", "20-"])
def test_parse_wait_takes_linear_time(piece: str) -> None:
    value = piece * (2_000_000 // len(piece))
    began = time.perf_counter()
    parse_wait(value, now=NOW, date=value)
    assert time.perf_counter() - began < 0.5


def test_retry_after_prefers_the_millisecond_header() -> None:
    def wait(headers: dict[str, str], now: float = NOW) -> float | None:
        return retry_after(CIMultiDict(headers).get, now=now)

    assert wait({"retry-after-ms": "250", "retry-after": "1"}) == 0.25
    assert wait({"Retry-After-Ms": "soon", "Retry-After": "1"}) == 1
    assert wait({}) is None
    at = {"Retry-After": "1445412480", "Date": "Wed, 21 Oct 2015 07:27:50 GMT"}
    assert wait(at, now=NOW + 5000) == pytest.approx(10)


def test_waits_imports_neither_aiohttp_nor_cattrs() -> None:
    code = "import sys, aelyst_async.waits; print({'aiohttp', 'cattrs', 'datetime', 'email'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() in {"set()", "{'datetime'}"}
