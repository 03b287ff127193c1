"""Units of the sandbox: quota counters, the peak counter, the bounds of the log, the clock, duplicates in the store."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async.sandbox import Clock
from aelyst_async.sandbox.evidence import Evidence, Peak
from aelyst_async.sandbox.quota import Quota, WindowKind, counter_for, parse_quota
from aelyst_async.sandbox.store import Store

KINDS: tuple[WindowKind, ...] = get_args(WindowKind)
# Binary fractions: the models below compare sums of them exactly.
steps = st.lists(st.integers(0, 40).map(lambda number: number / 32), max_size=120)
quotas = st.builds(Quota, st.integers(1, 8), st.sampled_from([0.25, 1.0, 2.0]))


@given(quota=quotas, gaps=steps, kind=st.sampled_from(KINDS), refused_count=st.booleans())
def test_counter_never_allows_more_than_the_quota(
    quota: Quota, gaps: list[float], kind: WindowKind, refused_count: bool
) -> None:
    counter = counter_for(quota, kind, refused_count=refused_count)
    now, allowed = 1000.0, []
    for gap in gaps:
        now += gap
        verdict = counter.take(now)
        assert 0 <= verdict.remaining <= quota.limit
        assert (verdict.retry_after > 0) == (not verdict.allowed)
        if verdict.allowed:
            allowed.append(now)
    for start in allowed:
        if kind == "fixed":
            start -= start % quota.window  # noqa: PLW2901
        # A full token bucket refills while it is used: at most twice the limit in one window.
        most = quota.limit * (2 if kind == "token" else 1)
        assert sum(start <= at < start + quota.window for at in allowed) <= most


@given(quota=quotas, gaps=steps, kind=st.sampled_from(KINDS))
def test_retry_after_of_a_counter_is_exact(quota: Quota, gaps: list[float], kind: WindowKind) -> None:
    counter = counter_for(quota, kind)
    now = 1000.0
    for gap in gaps:
        now += gap
        verdict = counter.take(now)
        if not verdict.allowed:
            assert not counter.peek(now + verdict.retry_after * 0.99).allowed
            now += verdict.retry_after
            assert counter.take(now).allowed


@pytest.mark.parametrize("kind", KINDS)
def test_constant_retries_stay_refused_only_if_refusals_count(kind: WindowKind) -> None:
    allowed = {}
    for refused_count in (False, True):
        counter = counter_for(Quota(5, 1.0), kind, refused_count=refused_count)
        allowed[refused_count] = sum(counter.take(1000 + number / 100).allowed for number in range(1000))
    assert allowed[False] >= 49
    assert allowed[True] == (allowed[False] if kind == "fixed" else 5)


def test_token_bucket_debt_is_at_most_one_window() -> None:
    counter = counter_for(Quota(5, 1.0), "token", refused_count=True)
    waits = [counter.take(1000.0).retry_after for _ in range(100)]
    assert waits[-1] == pytest.approx(1.2)  # 6 tokens at 5 a second: the debt of 5, and the next one


@pytest.mark.parametrize("kind", KINDS)
def test_counter_is_idle_after_its_window(kind: WindowKind) -> None:
    counter = counter_for(Quota(2, 10.0), kind)
    assert counter.idle(1000.0)
    counter.take(1000.0)
    assert not counter.idle(1001.0)
    assert counter.idle(1011.0)


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("10/s", Quota(10, 1)),
        (" 600 / min ", Quota(600, 60)),
        ("5/2s", Quota(5, 2)),
        ("5/0.3s", Quota(5, 0.3)),
        ("1/250ms", Quota(1, 0.25)),
        ("7/h", Quota(7, 3600)),
        ("none", None),
        ("off", None),
    ],
)
def test_parse_quota_reads_quotas_and_str_round_trips(text: str, quota: Quota | None) -> None:
    assert parse_quota(text) == quota
    if quota is not None:
        assert parse_quota(str(quota)) == quota


@pytest.mark.parametrize("text", ["", "10", "0/s", "-1/s", "10/0s", "10/fortnight", "1e3/s", "10/s/s", "١/s"])
def test_parse_quota_rejects_malformed_text(text: str) -> None:
    with pytest.raises(ValueError, match="write 10/s"):
        parse_quota(text)


@given(gaps=steps)
def test_peak_is_the_maximum_in_any_second(gaps: list[float]) -> None:
    peak, times, now = Peak(), [], 50.0
    for gap in gaps:
        now += gap
        times.append(now)
        peak.add(now)
    assert peak.value == max((sum(start <= at < start + 1 for at in times) for start in times), default=0)


def test_request_log_is_bounded_and_counters_are_not() -> None:
    evidence = Evidence(entries=50, size=200_000)
    for number in range(200):
        entry = evidence.begin(float(number), "aelyst", "GET", "/c", "GET /c")
        entry.status, entry.answer = 200, b"x" * 100_000
        evidence.finish(entry)
    kept = evidence.requests()
    assert 5 <= len(kept) <= 200_000 // 16_384
    assert kept[-1].number == 200
    assert all(len(one.answer) == 16_384 for one in kept)
    assert evidence.counters({}, {}).requests == 200
    assert evidence.finished == 200
    small = Evidence(entries=50)
    for _ in range(200):
        small.finish(small.begin(0.0, "aelyst", "GET", "/c", ""))
    assert [one.number for one in small.requests()] == list(range(151, 201))
    assert small.find(150) is None


def test_clock_advances_freezes_and_never_goes_back() -> None:
    clock = Clock()
    assert abs(clock.now() - time.time()) < 1
    clock.advance(100)
    assert 99 < clock.now() - time.time() < 101
    clock.freeze()
    stopped = clock.now()
    assert clock.advance(5) == stopped + 5 == clock.now()
    clock.resume()
    assert stopped + 5 <= clock.now() < stopped + 6
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="advances by"):
            clock.advance(wrong)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store()
    opened.open()
    yield opened
    opened.close()


people = st.lists(
    st.tuples(
        st.sampled_from(["insert", "update", "other"]),
        st.integers(0, 5),
        st.sampled_from([None, "a@b.c", "A@B.C", "d@b.c"]),
        st.sampled_from([None, "+1", "+ 1", "+2"]),
    ),
    max_size=25,
)


@given(steps=people)
def test_store_counts_duplicates_after_any_writes(steps: list[tuple[str, int, str | None, str | None]]) -> None:
    store = Store()
    store.open()
    model: dict[str, tuple[str | None, str | None]] = {}
    for what, which, email, phone in steps:
        data = {"email": email, "phone": phone}
        if what == "other":
            # The same person in another account is no duplicate.
            number = str(store.next_number("other", "v"))
            store.insert("other", "v", number, data, email=email, phone=phone, now=0, visible_at=0, request=None)
        elif what == "insert" or not model:
            number = str(store.next_number("a", "v"))
            store.insert("a", "v", number, data, email=email, phone=phone, now=0, visible_at=0, request=None)
            model[number] = (email, phone)
        else:
            number = list(model)[which % len(model)]
            record = store.by_id("a", "v", number)
            assert record is not None
            store.update("a", "v", record, data, email=email, phone=phone, now=1, request=None)
            model[number] = (email, phone)
    keys = [((email or "").lower(), (phone or "").replace(" ", "")) for email, phone in model.values()]
    expected = sum(
        any((e and e == other[0]) or (p and p == other[1]) for other in keys[:position])
        for position, (e, p) in enumerate(keys)
    )
    assert store.duplicates("a", "v") == expected
    duplicates = {
        str(position + 1)
        for position, (e, p) in enumerate(keys)
        if any((e and e == other[0]) or (p and p == other[1]) for other in keys[:position] + keys[position + 1 :])
    }
    total, listed = store.page("a", "v", only_duplicates=True, limit=100, offset=0)
    assert (total, {record.id for record, _ in listed}) == (len(duplicates), duplicates)
    marks = {record.id: mark for record, mark in store.page("a", "v", limit=100, offset=0)[1]}
    assert {contact for contact, mark in marks.items() if mark} == duplicates
    assert list(marks.values()).count("duplicate") == expected
    assert store.count("a", "v") == len(model)
    store.close()


def test_store_search_treats_wildcards_as_text(store: Store) -> None:
    for number, name in enumerate(["100%", "100x", "a_b", "axb", "Zoë", 'q"uote', "back\\slash"]):
        data = {"name": name}
        store.insert("a", "v", str(number), data, email=None, phone=None, now=0, visible_at=0, request=None)

    def found(text: str) -> list[str]:
        return [str(one.document["name"]) for one, _ in store.page("a", "v", search=text, limit=10, offset=0)[1]]

    assert found("100%") == ["100%"]
    assert found("a_b") == ["a_b"]
    assert found("Zoë") == ["Zoë"]
    assert found('q"u') == ['q"uote']
    assert found("k\\s") == ["back\\slash"]
    assert found("nobody") == []


def test_failed_transaction_leaves_nothing(store: Store) -> None:
    def breaks() -> None:
        with store.transaction():
            store.insert("a", "v", "1", {}, email=None, phone=None, now=0, visible_at=0, request=None)
            raise KeyError

    with pytest.raises(KeyError):
        breaks()
    assert store.count("a", "v") == 0
    assert store.history("a", "v", "1") == []


def test_sql_has_no_numbered_placeholders() -> None:
    """Python 3.12.0 to 3.12.3 warn about ``?1`` with a sequence. Use ``?``, or ``:name`` with a mapping."""
    root = Path(__file__).parents[2] / "aelyst_async"
    texts = {path: path.read_text("utf-8") for path in root.rglob("*.py")}
    using = {path: ast.parse(text) for path, text in texts.items() if "import sqlite3" in text}
    assert len(using) > 2
    numbered = [
        f"{path.relative_to(root)}:{node.lineno}: {node.value}"
        for path, tree in using.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\?\d", node.value)
    ]
    assert numbered == []
