"""Events of a call: ordered, balanced, without personal data. Subscribers cannot affect the call."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest

from aelyst_async import RetryPolicy
from aelyst_async.errors import ContactNotFoundError, RequestTimeoutError, ServerError
from aelyst_async.sandbox import Sandbox
from aelyst_async.transport.events import Call, Done, Event, Exchange, Retry, Sending, Wait
from aelyst_providers.aelyst import AelystFields, AelystGateway
from aelyst_providers.dmchamp import DmChampGateway

QUICK = RetryPolicy(base=0.01, cap=0.02)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(quota="none") as running:
        running.add_contact("aelyst", {"firstName": "Ann", "email": "ann@example.com"})
        yield running


@pytest.fixture
async def gateway(sandbox: Sandbox) -> AsyncIterator[AelystGateway]:
    async with AelystGateway(
        sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), retry=QUICK, settle=0
    ) as running:
        yield running


def record(gateway: AelystGateway | DmChampGateway) -> list[Call | Event]:
    """Subscribe to all events. Return the list that collects them."""
    events: list[Call | Event] = []
    gateway.subscribe(
        events.append,
        on_call=events.append,
        on_wait=events.append,
        on_request=events.append,
        on_retry=events.append,
        on_done=events.append,
    )
    return events


def kinds(events: list[Call | Event]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_successful_call_emits_all_events_in_order(gateway: AelystGateway) -> None:
    events = record(gateway)
    await gateway.get("email:ann@example.com")
    assert kinds(events) == ["Call", "Sending", "Exchange", "Done"]
    call, sending, exchange, done = events
    assert isinstance(call, Call)
    assert (call.provider, call.base_url, call.method, call.endpoint) == (
        "aelyst", gateway.base_url, "GET", "/contact/{identifier}",
    )  # fmt: skip
    assert isinstance(sending, Sending)
    assert isinstance(exchange, Exchange)
    assert isinstance(done, Done)
    assert sending.call is exchange.call is done.call is call
    assert (exchange.status, exchange.error, exchange.attempt, done.status, done.error, done.attempt) == (
        200, None, 1, 200, None, 1,
    )  # fmt: skip
    assert (exchange.provider, exchange.method, exchange.endpoint) == ("aelyst", "GET", "/contact/{identifier}")
    assert 0 < exchange.duration <= done.duration < 5
    assert exchange.waited == 0.0


async def test_each_retry_emits_its_own_events(gateway: AelystGateway, sandbox: Sandbox) -> None:
    sandbox.fail_next(503, times=2)
    events = record(gateway)
    await gateway.get("email:ann@example.com")
    assert kinds(events) == ["Call", *["Sending", "Exchange", "Retry"] * 2, "Sending", "Exchange", "Done"]
    retries = [event for event in events if isinstance(event, Retry)]
    assert [(event.error, event.attempt) for event in retries] == [("ServerError", 1), ("ServerError", 2)]
    assert all(0 <= event.delay <= 0.03 for event in retries)
    assert [event.status for event in events if isinstance(event, Exchange)] == [503, 503, 200]
    assert [event.attempt for event in events if isinstance(event, Sending)] == [1, 2, 3]


async def test_failed_call_ends_with_the_error_of_the_caller(gateway: AelystGateway, sandbox: Sandbox) -> None:
    events = record(gateway)
    with pytest.raises(ContactNotFoundError):
        await gateway.get("email:nobody@example.com")
    assert kinds(events) == ["Call", "Sending", "Exchange", "Done"]
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.status, done.error) == (404, "ContactNotFoundError")
    sandbox.fail_next(503, times=9)
    with pytest.raises(ServerError):
        await gateway.with_retry(RetryPolicy(max_attempts=2, base=0.01)).get("email:ann@example.com")
    assert kinds(events[4:]) == ["Call", "Sending", "Exchange", "Retry", "Sending", "Exchange", "Done"]


async def test_timeout_and_cancellation_emit_events(gateway: AelystGateway, sandbox: Sandbox) -> None:
    sandbox.add_fault("latency,seconds:5=100%")
    events = record(gateway)
    async with AelystGateway(
        sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), timeout=0.05, retry=RetryPolicy(max_attempts=1)
    ) as impatient:
        also = record(impatient)
        with pytest.raises(RequestTimeoutError):
            await impatient.get("email:ann@example.com")
    exchange, done = also[-2:]
    assert isinstance(exchange, Exchange)
    assert isinstance(done, Done)
    assert (exchange.status, exchange.error) == (None, "RequestTimeoutError")
    assert (done.status, done.error) == (None, "RequestTimeoutError")

    task = asyncio.create_task(gateway.get("email:ann@example.com"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert kinds(events) == ["Call", "Sending", "Exchange", "Done"]
    exchange, done = events[-2:]
    assert isinstance(exchange, Exchange)
    assert isinstance(done, Done)
    assert (exchange.error, done.error) == ("CancelledError", "CancelledError")


async def test_wait_event_follows_a_wait_for_the_rate_limit(sandbox: Sandbox) -> None:
    sandbox.assume(quota="2/s")
    async with AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), retry=QUICK) as gateway:
        events = record(gateway)
        for _ in range(4):
            await gateway.get("email:ann@example.com")
    waits = [event for event in events if isinstance(event, Wait)]
    assert waits
    assert all(0 < event.waited < 5 for event in waits)
    # Each wait comes directly before the request that it delayed.
    following = [events[position + 1] for position, event in enumerate(events) if isinstance(event, Wait)]
    assert [event.waited for event in following if isinstance(event, Sending)] == [event.waited for event in waits]


async def test_subscribers_that_join_or_leave_see_balanced_events(gateway: AelystGateway, sandbox: Sandbox) -> None:
    sandbox.add_fault("latency,seconds:0.05=100%")
    early: list[Any] = []
    late: list[Any] = []
    leave = gateway.subscribe(early.append, on_call=early.append, on_done=early.append)
    call = asyncio.create_task(gateway.get("email:ann@example.com"))
    await asyncio.sleep(0.02)
    leave()
    leave()
    gateway.subscribe(late.append, on_call=late.append, on_done=late.append)
    await call
    assert kinds(early) == ["Call", "Exchange", "Done"]
    assert late == []
    await gateway.get("email:ann@example.com")
    assert len(early) == 3
    assert kinds(late) == ["Call", "Exchange", "Done"]


async def test_with_retry_view_shares_the_subscribers(gateway: AelystGateway) -> None:
    events = record(gateway)
    await gateway.with_retry(RetryPolicy(max_attempts=1)).get("email:ann@example.com")
    assert kinds(events) == ["Call", "Sending", "Exchange", "Done"]


async def test_hooks_of_a_call_share_its_context(gateway: AelystGateway) -> None:
    current: contextvars.ContextVar[Call | None] = contextvars.ContextVar("current", default=None)
    seen: list[bool] = []
    gateway.subscribe(
        lambda event: seen.append(current.get() is event.call),
        on_call=current.set,
        on_done=lambda event: seen.append(current.get() is event.call),
    )
    await asyncio.gather(*[gateway.get("email:ann@example.com") for _ in range(20)])
    assert seen == [True] * 40


async def test_subscribers_are_nested_like_with_blocks(gateway: AelystGateway) -> None:
    events: list[str] = []
    for name in ("a", "b"):
        gateway.subscribe(
            lambda _, name=name: events.append(f"-{name}"),  # type: ignore[misc]
            on_call=lambda _, name=name: events.append(f"({name}"),  # type: ignore[misc]
            on_request=lambda _, name=name: events.append(f"+{name}"),  # type: ignore[misc]
            on_done=lambda _, name=name: events.append(f"{name})"),  # type: ignore[misc]
        )
    await gateway.get("email:ann@example.com")
    assert events == ["(a", "(b", "+a", "+b", "-b", "-a", "b)", "a)"]


async def test_failing_hook_is_logged_and_does_not_affect_the_call(
    gateway: AelystGateway, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("ann@example.com")

    gateway.subscribe(broken, on_call=broken, on_request=broken, on_done=broken)
    events = record(gateway)
    with pytest.raises(ContactNotFoundError) as failure:
        await gateway.get("email:nobody@example.com")
    assert failure.value.__context__ is None
    assert kinds(events) == ["Call", "Sending", "Exchange", "Done"]
    assert caplog.text.count("raised RuntimeError") == 4
    assert "ann@example.com" not in caplog.text


async def test_events_contain_no_personal_data_and_no_credential(sandbox: Sandbox) -> None:
    sandbox.add_contact("dmchamp", {"phoneNumber": "+60123456789"})
    async with (
        AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), settle=0) as one,
        DmChampGateway(sandbox.token("dmchamp"), base_url=sandbox.base_url("dmchamp"), settle=0) as two,
    ):
        events = [record(one), record(two)]
        await one.upsert("email:zoe@example.com", AelystFields(first_name="Zoe", phone="+60987654321"))
        await two.get("phone:+60123456789")
    everything = repr([attrs.asdict(event) for events in events for event in events])
    assert [len(events) for events in events] == [4, 4]
    for secret in (
        sandbox.token("aelyst"),
        sandbox.token("dmchamp"),
        "zoe",
        "Zoe",
        "60987654321",
        "60123456789",
        "apiKey",
    ):
        assert secret not in everything


async def test_no_event_is_created_without_subscribers(
    gateway: AelystGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("an event was created without a subscriber")

    for name in ("Watch", "Call"):
        monkeypatch.setattr(f"aelyst_async.transport.transport.{name}", forbidden)
    with caplog.at_level(logging.DEBUG):
        await gateway.get("email:ann@example.com")
    leave = gateway.subscribe(lambda _: None)
    with pytest.raises(AssertionError):
        await gateway.get("email:ann@example.com")
    leave()
    await gateway.get("email:ann@example.com")
