"""Which calls are retried, after which delay and how often, by the table in `transport.retry`. In virtual time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, cast

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aelyst_async import RetryPolicy, errors
from aelyst_async.errors import ContactsError
from aelyst_async.transport.retry import Backoff
from aelyst_providers.aelyst import AelystFields, AelystGateway
from aelyst_providers.callab import CallabGateway
from tests.doubles import Answer, ScriptedSession, free_limiter, scripted
from tests.virtual_time import run, virtual

ANN = AelystFields(first_name="Ann")
CALLS: dict[str, Callable[[AelystGateway], Awaitable[Any]]] = {
    "GET": lambda gateway: gateway.get("id:1"),
    "PUT": lambda gateway: gateway.update("id:1", ANN),
    "POST": lambda gateway: gateway.create(ANN, identifier="phone:+1"),
}
GOOD = {
    "GET": Answer(200, {"id": 1}),
    "PUT": Answer(200, {"contactId": 1}),
    "POST": Answer(200, {"code": "200", "message": "ok"}),
}
DISCONNECTED = aiohttp.ServerDisconnectedError()
BROKEN = aiohttp.ClientPayloadError("broken")
LATE = aiohttp.SocketTimeoutError("late")
NO_CONNECTION = aiohttp.ConnectionTimeoutError("no connection")


def play(*script: Answer | Exception, **settings: Any) -> tuple[ScriptedSession, AelystGateway]:
    session, lent = scripted(list(script))
    settings = {"limiter": free_limiter()[1], "settle": 0, **settings}
    return session, AelystGateway("token", base_url="http://127.0.0.1:9", session=lent, **settings)


def refused(status: int, retry_after: str | None = None) -> Answer:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Answer(status, {"code": status, "message": "no"}, headers)


# Fault; retried methods; final error; whether a write may have been applied.
RULES: list[tuple[Answer | Exception, str, type[ContactsError], bool]] = [
    (refused(429), "GET PUT POST", errors.RateLimitedError, False),
    (refused(429, "1"), "GET PUT POST", errors.RateLimitedError, False),
    (refused(449), "GET PUT POST", errors.QueuedError, False),
    (refused(500), "GET PUT", errors.ServerError, True),
    (refused(502), "GET PUT", errors.ServerError, True),
    (refused(503), "GET PUT", errors.ServerError, True),
    (refused(599), "GET PUT", errors.ServerError, True),
    (refused(501), "", errors.ServerError, True),
    (refused(505), "", errors.ServerError, True),
    (refused(400), "", errors.BadRequestError, False),
    (refused(401), "", errors.AuthenticationError, False),
    (refused(403), "", errors.AuthenticationError, False),
    (refused(404), "", errors.ContactNotFoundError, False),
    (refused(408), "GET PUT", errors.ApiError, True),
    (refused(425), "GET PUT POST", errors.ApiError, False),
    (refused(409), "", errors.ConflictError, False),
    (refused(418), "", errors.ApiError, False),
    (refused(301), "", errors.ApiError, False),
    (Answer(200, b"nonsense"), "", errors.ResponseDecodeError, True),
    (DISCONNECTED, "GET PUT", errors.TransportError, True),
    (BROKEN, "GET PUT", errors.TransportError, True),
    (LATE, "GET PUT", errors.RequestTimeoutError, True),
    (ConnectionResetError(104, "reset"), "GET PUT", errors.TransportError, True),
    (NO_CONNECTION, "GET PUT POST", errors.RequestTimeoutError, False),
]


def fault_name(fault: Answer | Exception) -> str:
    return str(fault.status) if isinstance(fault, Answer) else type(fault).__name__


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize(("fault", "repeated", "kind", "applied"), RULES, ids=[fault_name(rule[0]) for rule in RULES])
def test_retry_follows_the_table_for_each_method_and_fault(
    method: str, fault: Answer | Exception, repeated: str, kind: type[ContactsError], applied: bool
) -> None:
    async def fails() -> None:
        session, gateway = play(fault, retry=RetryPolicy(max_attempts=4, total=10_000))
        with pytest.raises(kind) as caught:
            await CALLS[method](gateway)
        assert type(caught.value) is kind
        error = cast(Any, caught.value)
        assert session.methods == [method] * (4 if method in repeated else 1)
        assert error.attempts == len(session.sent)
        assert error.may_have_been_applied is (applied and method != "GET")
        assert error.__cause__ is error.__context__ is None

    async def recovers() -> None:
        session, gateway = play(fault, fault, GOOD[method], retry=RetryPolicy(max_attempts=4, total=10_000))
        await CALLS[method](gateway)
        assert len(session.sent) == 3

    async def once() -> None:
        session, gateway = play(fault, retry=RetryPolicy(max_attempts=1))
        with pytest.raises(kind):
            await CALLS[method](gateway)
        assert len(session.sent) == 1

    run(fails())
    run(once())
    if method in repeated:
        run(recovers())


@pytest.mark.parametrize(("header", "seconds"), [("1", 1), ("17", 17), ("1.5", 1.5), ("0", 0), (" 2 ", 2)])
@virtual
async def test_retry_waits_for_retry_after_seconds(header: str, seconds: float) -> None:
    session, gateway = play(refused(429, header), GOOD["GET"], retry=RetryPolicy(base=0.5))
    await gateway.get("id:1")
    assert seconds - 1e-9 <= session.gaps[0] <= max(seconds, 0.5) + 0.01


@virtual
async def test_retry_waits_for_retry_after_date() -> None:
    session, gateway = play(refused(429, formatdate(time.time() + 30, usegmt=True)), GOOD["GET"])
    await gateway.get("id:1")
    assert 28 <= session.gaps[0] <= 31


@pytest.mark.parametrize("header", ["soon", "-5", "nan", "inf", "-inf", "", "1e400", "Thu, 99 Foo 2026"])
@virtual
async def test_invalid_retry_after_is_ignored(header: str) -> None:
    session, gateway = play(refused(429, header), GOOD["GET"], retry=RetryPolicy(base=0.5))
    await gateway.get("id:1")
    assert session.gaps[0] <= 0.5 + 0.01


@pytest.mark.parametrize(("header", "seconds"), [("1000", 1000), ("9" * 400, 1e9)])
@virtual
async def test_retry_after_beyond_the_deadline_fails_immediately(header: str, seconds: float) -> None:
    session, gateway = play(refused(429, header), GOOD["GET"], retry=RetryPolicy(total=900))
    began = asyncio.get_running_loop().time()
    with pytest.raises(errors.RateLimitedError) as caught:
        await gateway.get("id:1")
    assert asyncio.get_running_loop().time() - began < 1
    assert caught.value.retry_after == seconds
    assert caught.value.attempts == len(session.sent) == 1
    assert f"retry after {seconds:g} s" in str(caught.value)
    (note,) = vars(caught.value)["__notes__"]
    assert note.startswith(f"not repeated: the next attempt may go in {seconds:.0f} s, the call ends in ")


@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize("skew", [0, 86_400])
@virtual
async def test_retry_after_unix_time_is_relative_to_the_date_header(unit: int, skew: int) -> None:
    """One of the clocks is wrong by a day. Read as a number of seconds, the value would mean decades."""
    then = int(time.time()) + skew
    headers = {"Retry-After": str((then + 30) * unit), "Date": formatdate(then, usegmt=True)}
    for status in (429, 503):
        session, gateway = play(Answer(status, b"", headers), GOOD["GET"])
        await gateway.get("id:1")
        assert 29 <= session.gaps[0] <= 31


@virtual
async def test_backoff_never_exceeds_a_minute() -> None:
    session, gateway = play(refused(500), retry=RetryPolicy(max_attempts=40, total=1e6))
    with pytest.raises(errors.ServerError):
        await gateway.get("id:1")
    assert len(session.gaps) == 39
    assert max(session.gaps) <= 60


@virtual
async def test_retry_waits_for_retry_after_of_503() -> None:
    session, gateway = play(refused(503, "20"), GOOD["GET"])
    await gateway.get("id:1")
    assert session.gaps[0] >= 20


@virtual
async def test_retry_after_449_follows_the_queued_schedule() -> None:
    policy = RetryPolicy(max_attempts=5, total=100_000)
    for _ in range(20):
        session, gateway = play(Answer(449, b"currently in queue, no JSON"), retry=policy)
        with pytest.raises(errors.QueuedError) as caught:
            await gateway.update("id:1", ANN)
        assert caught.value.attempts == len(session.sent) == 5
        # Half of each delay of the schedule 60, 120, 240, 300 is fixed, the other half is random.
        for gap, value in zip(session.gaps, [60, 120, 240, 300], strict=True):
            assert value / 2 <= gap <= value + 0.01


@virtual
async def test_retry_policy_can_disable_retries_after_449() -> None:
    session, gateway = play(refused(449), retry=RetryPolicy(queued=False))
    with pytest.raises(errors.QueuedError):
        await gateway.update("id:1", ANN)
    assert len(session.sent) == 1


@virtual
async def test_retry_after_449_does_not_advance_the_normal_backoff() -> None:
    session, gateway = play(refused(449), refused(500), GOOD["GET"], retry=RetryPolicy(base=0.5))
    await gateway.get("id:1")
    assert session.gaps[0] >= 30
    assert session.gaps[1] <= 0.5 + 0.01


@virtual
async def test_backoff_uses_full_jitter() -> None:
    """Delays are uniform between zero and 0.5, 1, 2, 4 … 30 seconds."""
    policy = RetryPolicy(max_attempts=9, base=0.5, cap=30)
    columns: list[list[float]] = []
    for _ in range(200):
        session, gateway = play(refused(500), retry=policy)
        with pytest.raises(errors.ServerError):
            await gateway.get("id:1")
        columns.append(session.gaps)
    for draws, largest in zip(zip(*columns, strict=True), [0.5, 1, 2, 4, 8, 16, 30, 30], strict=True):
        assert max(draws) <= largest + 1e-6
        assert min(draws) < 0.1 * largest
        assert 0.4 * largest < sum(draws) / len(draws) < 0.6 * largest


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([0, 1, 2, 3, 4]), min_size=1, max_size=30),
    st.integers(1, 12),
    st.floats(0.1, 2_000),
    st.sampled_from(list(CALLS)),
)
def test_attempts_and_deadline_hold_for_any_sequence_of_faults(
    faults: list[int], max_attempts: int, total: float, method: str
) -> None:
    kinds: list[Answer | Exception] = [refused(429), refused(429, "3"), refused(449), refused(500), NO_CONNECTION]

    async def main() -> None:
        session, gateway = play(
            *(kinds[fault] for fault in faults), GOOD[method], retry=RetryPolicy(max_attempts=max_attempts, total=total)
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        failure: Any = None
        try:
            await CALLS[method](gateway)
        except (errors.ApiError, errors.TransportError) as error:
            failure = error
        assert failure is None or failure.attempts == len(session.sent)
        assert len(session.sent) <= max_attempts
        assert loop.time() - began <= total + 0.01
        if method == "POST":
            sent = len(session.sent)
            assert 3 not in faults[: sent - 1], "repeated after a 500"

    run(main())


@virtual
async def test_error_in_a_200_response_is_not_retried_if_it_means_404() -> None:
    """Callab sends errors with status 200. The meaning of the error decides, not the status line."""
    session, lent = scripted([Answer(200, {"status": "error", "message": "Contact not found", "data": ""})])
    gateway = CallabGateway("t", base_url="http://127.0.0.1:9", session=lent, limiter=free_limiter()[1])
    with pytest.raises(errors.ContactNotFoundError) as caught:
        await gateway.get("id:1")
    assert len(session.sent) == caught.value.attempts == 1


@virtual
async def test_retries_are_marked_for_the_limiter() -> None:
    limiter, lent = free_limiter()
    _, gateway = play(refused(429, "2"), NO_CONNECTION, GOOD["PUT"], limiter=lent)
    await gateway.update("phone:+60 1", ANN)
    # The second permit was granted before Retry-After had passed, so it is returned and requested again.
    assert [permit.asked["retry"] for permit in limiter.permits] == [False, True, True, True]
    assert {permit.asked["endpoint"] for permit in limiter.permits} == {"PUT /contact/{identifier}"}
    assert {permit.asked["path"] for permit in limiter.permits} == {"/contact/phone:%2B601"}
    assert len({permit.asked["account"] for permit in limiter.permits}) == 1
    assert "token" not in limiter.permits[0].asked["account"]
    assert [permit.status for permit in limiter.permits] == [429, None, None, 200]
    assert [permit.was_unsent for permit in limiter.permits] == [False, True, True, False]
    assert all(permit.left for permit in limiter.permits)


@virtual
async def test_with_retry_returns_a_view_with_its_own_policy() -> None:
    session, gateway = play(refused(500), retry=RetryPolicy(max_attempts=1))
    patient = gateway.with_retry(RetryPolicy(max_attempts=3))
    with pytest.raises(errors.ServerError):
        await patient.get("id:1")
    assert len(session.sent) == 3
    with pytest.raises(errors.ServerError):
        await gateway.get("id:1")
    assert len(session.sent) == 4
    assert patient.limiter is gateway.limiter
    await patient.aclose()
    with pytest.raises(errors.ConfigurationError, match="closed"):
        await gateway.get("id:1")


@pytest.mark.parametrize("name", ["total", "base", "cap", "queued_base", "queued_cap"])
@pytest.mark.parametrize("value", [0, -1, None, "1", float("nan"), float("inf"), True, 10**400])
def test_retry_policy_rejects_invalid_durations(name: str, value: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=name):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("value", [0, -1, None, "1", 1.5, True, float("nan")])
def test_retry_policy_rejects_invalid_max_attempts(value: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="max_attempts"):
        RetryPolicy(max_attempts=value)


@given(st.floats(0.001, 10), st.floats(0.001, 100))
def test_backoff_delays_never_exceed_the_cap(base: float, cap: float) -> None:
    backoff = Backoff(RetryPolicy(base=base, cap=cap))
    error = errors.ServerError(status=500)
    for delay in itertools.islice(iter(lambda: backoff.delay(error, repeatable=True), None), 12):
        assert delay is not None
        assert 0 <= delay <= cap + 1e-9


@pytest.mark.parametrize("last", [refused(429), refused(449), refused(400), refused(404), refused(401), NO_CONNECTION])
@pytest.mark.parametrize("first", [DISCONNECTED, LATE, BROKEN, refused(500)])
def test_may_have_been_applied_survives_later_refusals(first: Any, last: Any) -> None:
    """The error describes the whole call: a refused retry does not undo a PUT that may have been applied."""

    async def main() -> None:
        for script in ([first, last], [first, refused(429), last], [refused(429), first, last]):
            policy = RetryPolicy(max_attempts=len(script), queued=False)
            session, gateway = play(*script, retry=policy)
            with pytest.raises(ContactsError) as caught:
                await gateway.update("id:1", ANN)
            assert len(session.sent) == len(script)
            assert caught.value.may_have_been_applied is True  # type: ignore[attr-defined]
            _, gateway = play(*script, retry=policy)
            with pytest.raises(ContactsError) as caught:
                await gateway.get("id:1")
            assert caught.value.may_have_been_applied is False  # type: ignore[attr-defined]

    run(main())
