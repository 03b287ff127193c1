"""Events and log records: each call begins and ends, and nothing private is reported."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from aelyst_async import RetryPolicy, errors
from aelyst_providers.aelyst import AelystFields, AelystGateway
from tests.doubles import Answer, free_limiter, scripted
from tests.virtual_time import virtual

FOUND = Answer(200, {"id": 1})
BUSY = Answer(429, b"", {"Retry-After": "5"})


def play(*script: Any, **settings: Any) -> AelystGateway:
    _, lent = scripted(list(script))
    settings = {"limiter": free_limiter()[1], "settle": 0, **settings}
    return AelystGateway("token", base_url="http://127.0.0.1:9/v1", session=lent, **settings)


def listen(gateway: AelystGateway, events: list[Any]) -> Callable[[], None]:
    names = ["on_call", "on_wait", "on_request", "on_response", "on_retry", "on_done"]
    return gateway.subscribe(**{name: lambda event, name=name: events.append((name, event)) for name in names})


@virtual
async def test_retried_call_emits_all_events_in_order() -> None:
    gateway = play(BUSY, aiohttp.ServerDisconnectedError(), FOUND)
    events: list[Any] = []
    listen(gateway, events)
    await gateway.get("email:ann@example.com")
    assert [name for name, _ in events] == [
        "on_call", "on_request", "on_response", "on_retry", "on_request", "on_response", "on_retry", "on_request",
        "on_response", "on_done",
    ]  # fmt: skip
    responses = [event for name, event in events if name == "on_response"]
    assert [(event.attempt, event.status, event.error) for event in responses] == [
        (1, 429, None), (2, None, "TransportError"), (3, 200, None),
    ]  # fmt: skip
    retries = [event for name, event in events if name == "on_retry"]
    assert [event.error for event in retries] == ["RateLimitedError", "TransportError"]
    assert retries[0].delay >= 5
    done = events[-1][1]
    assert (done.attempt, done.status, done.error) == (3, 200, None)
    assert done.duration >= 5
    for _, event in events:
        assert (event.provider, event.method, event.endpoint) == ("aelyst", "GET", "/contact/{identifier}")
        assert "ann" not in repr(event)
        assert "token" not in repr(event)


@virtual
async def test_failed_call_ends_with_on_done() -> None:
    gateway = play(Answer(404, b""))
    events: list[Any] = []
    listen(gateway, events)
    with pytest.raises(errors.ContactNotFoundError):
        await gateway.get("id:1")
    assert [name for name, _ in events] == ["on_call", "on_request", "on_response", "on_done"]
    assert (events[-1][1].error, events[-1][1].status) == ("ContactNotFoundError", 404)


@virtual
async def test_cancelled_call_ends_with_on_done() -> None:
    async def never(sent: Any) -> Answer:
        await asyncio.sleep(10_000)
        return FOUND

    _, lent = scripted(never)
    gateway = AelystGateway("t", base_url="http://127.0.0.1:9", session=lent, limiter=free_limiter()[1])
    events: list[Any] = []
    listen(gateway, events)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(gateway.get("id:1"), 5)
    assert [name for name, _ in events] == ["on_call", "on_request", "on_response", "on_done"]
    assert events[-1][1].error == "CancelledError"


@virtual
async def test_call_with_an_invalid_identifier_emits_no_event() -> None:
    gateway = play(FOUND)
    events: list[Any] = []
    listen(gateway, events)
    with pytest.raises(errors.InvalidIdentifierError):
        await gateway.get("nonsense")
    assert events == []


@virtual
async def test_subscriber_gets_no_event_after_unsubscribe() -> None:
    gateway = play(FOUND)
    events: list[Any] = []
    end = listen(gateway, events)
    await gateway.with_retry(RetryPolicy(max_attempts=1)).get("id:1")  # a view shares the subscribers
    assert len(events) == 4
    end()
    end()
    await gateway.get("id:1")
    assert len(events) == 4


@virtual
async def test_failing_subscriber_does_not_affect_calls_or_other_subscribers(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: object) -> None:
        raise ZeroDivisionError("ann@example.com")

    gateway = play(FOUND)
    events: list[Any] = []
    gateway.subscribe(broken, on_call=broken, on_request=broken, on_done=broken)
    listen(gateway, events)
    assert (await gateway.get("id:1")).id == "1"
    assert len(events) == 4
    assert "ZeroDivisionError" in caplog.text
    assert "ann@" not in caplog.text


@virtual
async def test_each_attempt_is_logged_with_template_and_status(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aelyst_async")
    gateway = play(BUSY, FOUND)
    await gateway.get("email:ann@example.com")
    lines: list[Any] = [record for record in caplog.records if record.levelno == logging.DEBUG]
    assert [(line.http_method, line.endpoint, line.http_status, line.attempt) for line in lines] == [
        ("GET", "/contact/{identifier}", 429, 1),
        ("GET", "/contact/{identifier}", 200, 2),
    ]
    assert all(line.name == "aelyst_async" and line.duration >= 0 and line.provider == "aelyst" for line in lines)
    assert "ann" not in caplog.text
    assert "127.0.0.1" not in caplog.text


@virtual
async def test_create_that_is_not_retried_logs_no_retry(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aelyst_async")
    with pytest.raises(errors.ServerError):
        await play(Answer(500)).create(AelystFields(first_name="Ann", phone="+1"))
    assert "again in" not in caplog.text


def test_library_logs_nothing_to_stderr_by_default() -> None:
    """A program that has not configured logging gets nothing on stderr, even for errors."""
    code = "import logging, aelyst_async.transport.exchange\nlogging.getLogger('aelyst_async').error('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == done.stdout == ""
