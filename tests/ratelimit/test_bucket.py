"""`Bucket` and `Log`: invariants for every sequence of requests and responses."""

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aelyst_async.ratelimit.bucket import Bucket, Sent
from aelyst_async.ratelimit.headers import NOTHING, QuotaHeaders
from aelyst_async.ratelimit.window import Log

_ANSWERS = st.one_of(
    st.just(NOTHING),
    st.builds(
        QuotaHeaders,
        limit=st.integers(1, 50),
        remaining=st.integers(0, 50),
        retry_after=st.none(),
        reset=st.one_of(st.none(), st.floats(0, 3600)),  # never negative nor infinite (`headers`)
        window=st.one_of(st.none(), st.floats(0.01, 3600)),
    ).map(lambda found: found._replace(remaining=min(found.remaining or 0, found.limit or 1))),
)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send", "good", "good", "good", "refused", "lost", "unsent", "pass"]),
        st.integers(0, 10**6),
        st.floats(0, 5),
        _ANSWERS,
        st.one_of(st.none(), st.floats(0, 3)),
    ),
    max_size=120,
)


def send(bucket: Bucket, now: float) -> Sent:
    one = Sent()
    assert bucket.send(one, now)
    return one


def end(bucket: Bucket, one: Sent, now: float, what: str, answer: QuotaHeaders, wait: float | None) -> None:
    """End a request with a success, a refusal, or a lost response."""
    if what == "lost":
        bucket.lost(one)
    else:
        status, told = (200, answer) if what == "good" else (429, answer._replace(retry_after=wait))
        bucket.answer(one, now, status, told)


@given(_STEPS)
@settings(max_examples=300, deadline=None)
def test_bucket_sends_again_within_three_hours_after_any_responses(steps: list[Any]) -> None:
    bucket, now = Bucket(), 1000.0
    out: list[Sent] = []
    for what, pick, seconds, answer, wait in steps:
        now += seconds
        ready = bucket.next_at
        assert not math.isnan(ready)
        if what == "send" and ready <= now:
            out.append(send(bucket, now))
        elif out and what in {"good", "refused", "lost", "unsent"}:
            ticket = out.pop(pick % len(out))
            if what == "unsent":
                bucket.unsent(ticket)
            else:
                end(bucket, ticket, now, what, answer, wait)
        assert bucket.in_flight == len(out)
    # The next request is allowed within three hours, even if no response arrives.
    for _ in range(50):
        now = max(now, bucket.next_at)
        assert now < 1000.0 + 3600 * 3
        if bucket.next_at <= now:
            break
    assert bucket.next_at <= now


@given(_STEPS)
@settings(max_examples=200, deadline=None)
def test_bucket_sends_nothing_before_the_pause_of_a_refusal_ends(steps: list[Any]) -> None:
    bucket, now, paused = Bucket(), 1000.0, 0.0
    out: list[Sent] = []
    for what, pick, seconds, answer, wait in steps:
        now += seconds
        if bucket.next_at <= now:
            assert now >= paused
            if what == "send":
                out.append(send(bucket, now))
        if out and what == "refused":
            bucket.answer(out.pop(pick % len(out)), now, 429, answer._replace(retry_after=wait))
            paused = max(paused, now + (wait or 0))


@given(st.lists(st.tuples(st.sampled_from(["send", "good", "refused", "lost", "unsent"]), st.integers(0, 10**6))))
@settings(deadline=None)
def test_log_counts_all_requests_but_refused_and_unsent_ones(steps: list[tuple[str, int]]) -> None:
    bucket, now = Bucket(), 1000.0
    counted: list[Sent] = []
    out: list[Sent] = []
    sent = 0
    for what, pick in steps:
        now += 0.01
        if what == "send":
            now = max(now, bucket.next_at)
            out.append(send(bucket, now))
            counted.append(out[-1])
            sent += 1
        elif out:
            one = out.pop(pick % len(out))
            sent -= what == "unsent"
            if what == "good":
                bucket.answer(one, now, 200, NOTHING)
            elif what == "lost":
                bucket.lost(one)
            else:
                counted.remove(one)
                if what == "unsent":
                    bucket.unsent(one)
                else:
                    bucket.answer(one, now, 429, QuotaHeaders(retry_after=0.01))
        if pick % 2:
            assert not math.isnan(bucket.next_at)  # reading next_at adds the newest request to the log
            assert bucket._log.count == len(counted)
        assert (bucket.in_flight, bucket.sent) == (len(out), sent)


@given(_STEPS)
@settings(max_examples=200, deadline=None)
def test_unsent_request_leaves_the_bucket_unchanged(steps: list[Any]) -> None:
    plain, tried, now = Bucket(), Bucket(), 1000.0
    out: list[tuple[Sent, Sent]] = []
    for what, pick, seconds, answer, wait in steps:
        now += seconds
        one = Sent()
        if tried.send(one, now):
            tried.unsent(one)
        if what == "send" and plain.next_at <= now:
            out.append((send(plain, now), send(tried, now)))
        elif out and what in {"good", "refused", "lost"}:
            for bucket, one in zip((plain, tried), out.pop(pick % len(out)), strict=True):
                end(bucket, one, now, what, answer, wait)
        for name in ("next_at", "credit", "sent", "in_flight", "state", "rate", "window", "paused_until"):
            assert getattr(tried, name) == getattr(plain, name), name


@given(_STEPS)
@settings(max_examples=200, deadline=None)
def test_reading_next_at_does_not_change_the_bucket(steps: list[Any]) -> None:
    asked, unasked, now = Bucket(), Bucket(), 1000.0
    out: list[tuple[Sent, Sent]] = []
    for what, pick, seconds, answer, wait in steps:
        now += seconds
        if what == "send" and asked.next_at <= now:
            out.append((send(asked, now), send(unasked, now)))
        elif out and what in {"good", "refused", "lost"}:
            for bucket, one in zip((asked, unasked), out.pop(pick % len(out)), strict=True):
                end(bucket, one, now, what, answer, wait)
        for name in ("credit", "sent", "in_flight", "state", "rate", "window", "paused_until"):
            assert getattr(asked, name) == getattr(unasked, name), name
    assert asked.next_at == unasked.next_at


def test_unsent_request_returns_its_credit() -> None:
    bucket = Bucket()
    bucket.answer(send(bucket, 0.0), 0.01, 200, QuotaHeaders(limit=2, remaining=1))
    now = max(0.01, bucket.next_at)
    ticket = send(bucket, now)
    assert bucket.credit == 0
    bucket.unsent(ticket)
    assert bucket.credit == 1
    assert bucket.sent == 1


def test_bucket_sends_one_request_before_the_first_response() -> None:
    bucket = Bucket()
    one = send(bucket, 0.0)
    assert bucket.next_at >= 1.0
    assert not bucket.send(Sent(), 0.5)
    bucket.answer(one, 0.02, 200, QuotaHeaders(limit=100, remaining=99))
    assert bucket.next_at <= 0.03


def test_hanging_request_counts_against_the_quota_of_its_window() -> None:
    """No headers; a quota of 20 per 10 s; one of 20 requests gets no response."""
    bucket, now = Bucket(), 1000.0
    for _ in range(20):
        bucket.answer(send(bucket, now), now, 200, NOTHING)
    bucket.answer(send(bucket, now), now, 429, NOTHING._replace(retry_after=10.0))
    began = now = bucket.next_at
    bucket.answer(send(bucket, now), now, 200, NOTHING)
    send(bucket, bucket.next_at)
    for _ in range(18):
        now = bucket.next_at
        bucket.answer(send(bucket, now), now, 200, NOTHING)
    assert bucket.in_flight == 1
    assert now < began + 3
    assert bucket.next_at >= began + 10


def test_out_of_order_response_does_not_change_credit() -> None:
    bucket = Bucket()
    first, second = send(bucket, 0.0), send(bucket, 3.0)
    bucket.answer(second, 3.02, 200, QuotaHeaders(limit=10, remaining=8))
    credit = bucket.credit
    bucket.answer(first, 3.03, 200, QuotaHeaders(limit=10, remaining=9))
    assert bucket.credit == credit == 8


def test_bucket_waits_for_the_reset_of_the_server() -> None:
    bucket = Bucket()
    bucket.answer(send(bucket, 0.0), 0.01, 200, QuotaHeaders(limit=5, remaining=0, reset=37.0))
    assert 37.0 <= bucket.next_at <= 39.0  # whole seconds may be rounded down


def test_window_of_a_day_in_the_headers_does_not_slow_the_bucket() -> None:
    bucket = Bucket()
    told = QuotaHeaders(limit=1000, remaining=900, reset=80_000.0, window=86_400.0)
    bucket.answer(send(bucket, 0.0), 0.01, 200, told)
    assert bucket.next_at <= 1.0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200), st.data())
def test_log_agrees_with_a_plain_list(gaps: list[float], data: st.DataObject) -> None:
    log, now = Log(), 0.0
    plain: list[float] = []
    for gap in gaps:
        now += gap
        log.append(now, 10_000)
        plain.append(now)
        if len(plain) > 3 and data.draw(st.booleans()):
            at = data.draw(st.integers(1, len(plain)))
            log.remove(plain[at - 1])
            del plain[at - 1]
    assert log.count == len(plain)
    for number, sent_at in enumerate(plain, 1):
        assert log.time(number) == sent_at
    for moment in [0.0, now / 3, now / 2, now]:
        assert log.sent_by(moment) == sum(one <= moment for one in plain)


@given(st.lists(st.sampled_from([0.0, 0.1, 1.0]), min_size=1, max_size=400), st.integers(1, 40))
def test_log_keeps_the_latest_sends(gaps: list[float], keep: int) -> None:
    log, now = Log(), 0.0
    plain: list[float] = []
    for number, gap in enumerate(gaps, 1):
        now += gap
        plain.append(now)
        log.append(now, keep)
        assert log.count == log.sent_by(now) == number
        assert len(log._times) <= 2 * keep + 65
        for latest in range(max(1, number - keep + 1), number + 1):
            assert log.time(latest) == plain[latest - 1]
        assert log.time(number + 1) == math.inf
        assert log.time(0) == -math.inf
