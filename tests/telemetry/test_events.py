"""What a call tells those who watch it: in order, balanced, without data, and harmless to the call."""

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
    """Subscribe to everything; return the list that fills."""
    told: list[Call | Event] = []
    gateway.subscribe(
        told.append,
        on_call=told.append,
        on_wait=told.append,
        on_request=told.append,
        on_retry=told.append,
        on_done=told.append,
    )
    return told


def kinds(told: list[Call | Event]) -> list[str]:
    return [type(event).__name__ for event in told]


async def test_a_call_that_succeeds_is_told_from_begin_to_end(gateway: AelystGateway) -> None:
    told = record(gateway)
    await gateway.get("email:ann@example.com")
    assert kinds(told) == ["Call", "Sending", "Exchange", "Done"]
    call, sending, exchange, done = told
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


async def test_repeats_are_told_one_by_one(gateway: AelystGateway, sandbox: Sandbox) -> None:
    sandbox.fail_next(503, times=2)
    told = record(gateway)
    await gateway.get("email:ann@example.com")
    assert kinds(told) == ["Call", *["Sending", "Exchange", "Retry"] * 2, "Sending", "Exchange", "Done"]
    retries = [event for event in told if isinstance(event, Retry)]
    assert [(event.error, event.attempt) for event in retries] == [("ServerError", 1), ("ServerError", 2)]
    assert all(0 <= event.delay <= 0.03 for event in retries)
    assert [event.status for event in told if isinstance(event, Exchange)] == [503, 503, 200]
    assert [event.attempt for event in told if isinstance(event, Sending)] == [1, 2, 3]


async def test_a_call_that_fails_ends_with_the_error_that_the_caller_gets(
    gateway: AelystGateway, sandbox: Sandbox
) -> None:
    told = record(gateway)
    with pytest.raises(ContactNotFoundError):
        await gateway.get("email:nobody@example.com")
    assert kinds(told) == ["Call", "Sending", "Exchange", "Done"]
    done = told[-1]
    assert isinstance(done, Done)
    assert (done.status, done.error) == (404, "ContactNotFoundError")
    sandbox.fail_next(503, times=9)
    with pytest.raises(ServerError):
        await gateway.with_retry(RetryPolicy(max_attempts=2, base=0.01)).get("email:ann@example.com")
    assert kinds(told[4:]) == ["Call", "Sending", "Exchange", "Retry", "Sending", "Exchange", "Done"]


async def test_no_answer_and_a_cancellation_are_told_too(gateway: AelystGateway, sandbox: Sandbox) -> None:
    sandbox.add_fault("latency,seconds:5=100%")
    told = record(gateway)
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
    assert kinds(told) == ["Call", "Sending", "Exchange", "Done"]
    exchange, done = told[-2:]
    assert isinstance(exchange, Exchange)
    assert isinstance(done, Done)
    assert (exchange.error, done.error) == ("CancelledError", "CancelledError")


async def test_a_wait_for_the_rate_limit_is_told_when_it_is_over(sandbox: Sandbox) -> None:
    sandbox.assume(quota="2/s")
    async with AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), retry=QUICK) as gateway:
        told = record(gateway)
        for _ in range(4):
            await gateway.get("email:ann@example.com")
    waits = [event for event in told if isinstance(event, Wait)]
    assert waits
    assert all(0 < event.waited < 5 for event in waits)
    # Each wait stands right before the request that it held back.
    following = [told[position + 1] for position, event in enumerate(told) if isinstance(event, Wait)]
    assert [event.waited for event in following if isinstance(event, Sending)] == [event.waited for event in waits]


async def test_begins_and_ends_balance_for_who_comes_or_goes_in_the_middle(
    gateway: AelystGateway, sandbox: Sandbox
) -> None:
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


async def test_a_view_with_another_retry_policy_has_the_same_watchers(gateway: AelystGateway) -> None:
    told = record(gateway)
    await gateway.with_retry(RetryPolicy(max_attempts=1)).get("email:ann@example.com")
    assert kinds(told) == ["Call", "Sending", "Exchange", "Done"]


async def test_all_hooks_of_a_call_share_its_context(gateway: AelystGateway) -> None:
    current: contextvars.ContextVar[Call | None] = contextvars.ContextVar("current", default=None)
    seen: list[bool] = []
    gateway.subscribe(
        lambda event: seen.append(current.get() is event.call),
        on_call=current.set,
        on_done=lambda event: seen.append(current.get() is event.call),
    )
    await asyncio.gather(*[gateway.get("email:ann@example.com") for _ in range(20)])
    assert seen == [True] * 40


async def test_two_who_watch_are_nested_like_with_blocks(gateway: AelystGateway) -> None:
    told: list[str] = []
    for name in ("a", "b"):
        gateway.subscribe(
            lambda _, name=name: told.append(f"-{name}"),  # type: ignore[misc]
            on_call=lambda _, name=name: told.append(f"({name}"),  # type: ignore[misc]
            on_request=lambda _, name=name: told.append(f"+{name}"),  # type: ignore[misc]
            on_done=lambda _, name=name: told.append(f"{name})"),  # type: ignore[misc]
        )
    await gateway.get("email:ann@example.com")
    assert told == ["(a", "(b", "+a", "+b", "-b", "-a", "b)", "a)"]


async def test_a_hook_that_raises_is_logged_by_name_and_hurts_nobody(
    gateway: AelystGateway, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("ann@example.com")

    gateway.subscribe(broken, on_call=broken, on_request=broken, on_done=broken)
    told = record(gateway)
    with pytest.raises(ContactNotFoundError) as failure:
        await gateway.get("email:nobody@example.com")
    assert failure.value.__context__ is None
    assert kinds(told) == ["Call", "Sending", "Exchange", "Done"]
    assert caplog.text.count("raised RuntimeError") == 4
    assert "ann@example.com" not in caplog.text


async def test_no_event_holds_a_contact_a_query_or_a_credential(sandbox: Sandbox) -> None:
    sandbox.add_contact("dmchamp", {"phoneNumber": "+60123456789"})
    async with (
        AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), settle=0) as one,
        DmChampGateway(sandbox.token("dmchamp"), base_url=sandbox.base_url("dmchamp"), settle=0) as two,
    ):
        told = [record(one), record(two)]
        await one.upsert("email:zoe@example.com", AelystFields(first_name="Zoe", phone="+60987654321"))
        await two.get("phone:+60123456789")
    everything = repr([attrs.asdict(event) for events in told for event in events])
    assert [len(events) for events in told] == [4, 4]
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


async def test_with_nobody_listening_no_event_is_made(
    gateway: AelystGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("an event was made for nobody")

    for name in ("Watch", "Call"):
        monkeypatch.setattr(f"aelyst_async.transport.transport.{name}", forbidden)
    with caplog.at_level(logging.DEBUG):
        await gateway.get("email:ann@example.com")
    leave = gateway.subscribe(lambda _: None)
    with pytest.raises(AssertionError):
        await gateway.get("email:ann@example.com")
    leave()
    await gateway.get("email:ann@example.com")
