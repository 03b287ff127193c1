"""Each kind of fault over plain HTTP. For one seed, random faults do not depend on concurrency."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any, get_args

import aiohttp
import pytest

from aelyst_async.sandbox import Fault, Sandbox, parse_fault
from aelyst_async.sandbox.faults import KINDS, FaultPlan, Kind
from tests.sandbox.plain_http import Http

CREATE = ("aelyst", "POST", "/contact/email:a@b.c", {"firstName": "Ann"})


def _made(sandbox: Sandbox) -> int:
    return len(sandbox.contacts("aelyst"))


async def _status(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault(Fault("status", status=503, retry_after=7))
    answer = await http(*CREATE)
    assert (answer.status, answer.headers["Retry-After"], answer.json["code"]) == (503, "7", 503)
    assert _made(sandbox) == 0


async def _html(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault("html=100%")
    answer = await http(*CREATE)
    assert answer.status == 502
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.body.startswith(b"<!DOCTYPE html>")
    assert _made(sandbox) == 0


async def _reset(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault("reset=100%")
    with pytest.raises(aiohttp.ClientConnectionError):
        await http(*CREATE)
    assert _made(sandbox) == 0


async def _reset_after(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault("reset-after=100%")
    with pytest.raises(aiohttp.ClientConnectionError):
        await http(*CREATE)
    assert _made(sandbox) == 1
    (request,) = sandbox.requests
    assert (request.status, request.fault) == (None, "reset-after")


async def _queued(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_contact("aelyst", {"email": "a@b.c"})
    sandbox.add_fault("queued,seconds:60=nth:1")
    for _ in range(2):
        answer = await http("aelyst", "GET", "/contact/email:a@b.c")
        assert answer.status == 449
        assert "in queue" in answer.json["message"]
    assert (await http("aelyst", "GET", "/contact/email:other@b.c")).status == 404
    sandbox.advance(60)
    assert (await http("aelyst", "GET", "/contact/email:a@b.c")).status == 200


async def _latency(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault(Fault("latency", seconds=0.15))
    begun = time.monotonic()
    assert (await http(*CREATE)).status == 200
    assert time.monotonic() - begun >= 0.15


async def _late(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault(Fault("late", seconds=30))
    assert (await http(*CREATE)).status == 200
    assert (await http("aelyst", "GET", "/contact/email:a@b.c")).status == 404
    sandbox.advance(30)
    assert (await http("aelyst", "GET", "/contact/email:a@b.c")).status == 200


async def _truncate(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault("truncate=100%")
    with pytest.raises(aiohttp.ClientPayloadError):
        await http(*CREATE)
    assert _made(sandbox) == 1


async def _garbage(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault("garbage=100%")
    answer = await http(*CREATE)
    assert (answer.status, _made(sandbox)) == (200, 1)
    with pytest.raises(ValueError, match=r"utf|codec|Expecting"):
        json.loads(answer.body)


async def _slow_body(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault(Fault("slow-body", seconds=0.2))
    begun = time.monotonic()
    async with http.session.post(
        sandbox.base_url("aelyst") + CREATE[2],
        json=CREATE[3],
        headers={"Authorization": "Bearer sandbox-token"},
    ) as response:
        headers_at = time.monotonic() - begun
        assert (await response.json())["code"] == "200"
    assert headers_at < 0.15 < 0.2 <= time.monotonic() - begun


async def _content_type(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_fault("content-type=100%")
    answer = await http(*CREATE)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.json["code"] == "200"


CHECKS: dict[str, Callable[[Http, Sandbox], Awaitable[None]]] = {
    "status": _status,
    "html": _html,
    "reset": _reset,
    "reset-after": _reset_after,
    "queued": _queued,
    "latency": _latency,
    "late": _late,
    "truncate": _truncate,
    "garbage": _garbage,
    "slow-body": _slow_body,
    "content-type": _content_type,
}


def test_every_fault_kind_has_a_check() -> None:
    assert set(CHECKS) == set(KINDS)
    assert tuple(KINDS) == get_args(Kind)


OPTIONS: dict[str, Any] = {
    "status": 418, "retry_after": 1, "retry_after_form": "date", "applied": True, "seconds": 1, "sigma": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_fault_accepts_only_the_options_of_its_kind(kind: Any) -> None:
    assert set(OPTIONS) == {option for facts in KINDS.values() for option in facts.options}
    for option, value in OPTIONS.items():
        if option in KINDS[kind].options:
            assert getattr(Fault(kind, **{option: value}), option) == value
        else:
            with pytest.raises(ValueError, match=f"^{option}: the kind '{kind}' takes "):
                Fault(kind, **{option: value})
    assert (KINDS[kind].seconds is not None) == ("seconds" in KINDS[kind].options)


@pytest.mark.parametrize("kind", CHECKS)
async def test_fault_has_its_effect_on_the_wire(http: Http, sandbox: Sandbox, kind: str) -> None:
    await CHECKS[kind](http, sandbox)


async def test_fault_with_applied_answers_an_error_after_the_write(http: Http, sandbox: Sandbox) -> None:
    sandbox.fail_next(500, applied=True)
    assert (await http(*CREATE)).status == 500
    assert _made(sandbox) == 1
    assert (await http("aelyst", "GET", "/contact/email:a@b.c")).status == 200


async def test_fault_can_send_retry_after_as_a_date(http: Http, sandbox: Sandbox) -> None:
    sandbox.fail_next(429, retry_after=30, retry_after_form="date")
    answer = await http(*CREATE)
    at = parsedate_to_datetime(answer.headers["Retry-After"]).timestamp()
    assert 29 <= at - sandbox.clock.now() <= 31


async def test_fail_next_is_limited_to_its_endpoint_vendor_and_count(http: Http, sandbox: Sandbox) -> None:
    sandbox.fail_next(503, times=2, endpoint="GET /contact/{identifier}")
    sandbox.fail_next("html", vendor="dmchamp")
    statuses = [(await http(*CREATE)).status]
    statuses += [(await http("aelyst", "GET", "/contact/email:a@b.c")).status for _ in range(3)]
    statuses += [(await http("dmchamp", "GET", "/contacts?email=a@b.c")).status for _ in range(2)]
    assert statuses == [200, 503, 503, 200, 502, 404]
    assert sandbox.plan.listing() == []


async def test_unauthorized_and_rate_limited_calls_consume_no_fault(http: Http, sandbox: Sandbox) -> None:
    sandbox.assume({"aelyst.quota": "1/h"})
    sandbox.fail_next(503, endpoint="GET")
    assert (await http("aelyst", "GET", "/contact/id:1", token="no")).status == 401
    assert [(await http("aelyst", "GET", "/contact/id:1")).status for _ in range(2)] == [503, 429]


async def _results(http: Http, seed: int, *, order: int, width: int) -> dict[str, list[str]]:
    """Send 120 creates, each twice, in a shuffled order. Return the results by path."""
    results: dict[str, list[str]] = {}
    async with Sandbox(quota="none", seed=seed, faults=["503=0.2", "reset-after=0.1", "garbage=0.1"]) as sandbox:
        client = Http(http.session, sandbox)
        paths = [f"/contact/email:p{number}@b.c" for number in range(120)] * 2
        random.Random(order).shuffle(paths)
        gate = asyncio.Semaphore(width)

        async def one(path: str) -> None:
            async with gate:
                try:
                    answer = str((await client("aelyst", "POST", path, {"firstName": "A"})).body)
                except aiohttp.ClientConnectionError:
                    answer = "reset"
                results.setdefault(path, []).append(answer)

        await asyncio.gather(*map(one, paths))
        contacts = sorted(one["email"] for one in sandbox.contacts("aelyst"))
    return {**{path: sorted(bodies) for path, bodies in results.items()}, "contacts": contacts}


async def test_same_seed_gives_each_request_the_same_fault_in_any_order(http: Http) -> None:
    first = await _results(http, 7, order=1, width=1)
    assert first == await _results(http, 7, order=2, width=32)
    assert first != await _results(http, 8, order=1, width=1)


def test_fault_rate_holds_for_different_and_repeated_requests() -> None:
    plan = FaultPlan(1, [Fault("status", rate=0.25)])
    hits = [bool(plan.strikes("aelyst", "GET /c", "GET", f"/c/{n}", b"")) for n in range(4000)]
    assert 0.22 < sum(hits) / len(hits) < 0.28
    again = [bool(plan.strikes("aelyst", "GET /c", "GET", "/c/1", b"")) for _ in range(4000)]
    assert 0.22 < sum(again) / len(again) < 0.28


def test_nth_first_and_every_select_calls() -> None:
    def hits(**when: int) -> list[int]:
        plan = FaultPlan(0, [Fault("status", **when)])  # type: ignore[arg-type]
        return [n for n in range(1, 10) if plan.strikes("aelyst", "GET /c", "GET", "/c", b"")]

    assert hits(nth=3) == [3]
    assert hits(first=2) == [1, 2]
    assert hits(every=4) == [4, 8]
    assert hits() == list(range(1, 10))


def test_log_normal_latency_has_its_median_and_sigma() -> None:
    plan = FaultPlan(5, [Fault("latency", seconds=0.2, sigma=0.5)])
    drawn = sorted(plan.strikes("aelyst", "GET /c", "GET", f"/{n}", b"")[0].delay for n in range(2001))
    assert 0.18 < drawn[1000] < 0.22
    assert 1.5 < drawn[1683] / drawn[1000] < 1.8  # e^0.5 = 1.65 at one sigma


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("503=0.1", Fault("status", status=503, rate=0.1)),
        ("latency,seconds:0.2,sigma:0.5=100%", Fault("latency", seconds=0.2, sigma=0.5, rate=1.0)),
        (
            "429,retry_after:2,form:date=every:7",
            Fault("status", status=429, retry_after=2, retry_after_form="date", every=7),
        ),
        ("html,code:500,applied:yes=first:2@POST", Fault("html", status=500, applied=True, first=2, endpoint="POST")),
        (
            "reset-after=nth:3@aelyst POST /contact/{identifier}",
            Fault("reset-after", nth=3, vendor="aelyst", endpoint="POST /contact/{identifier}"),
        ),
        ("queued=5%@dmchamp", Fault("queued", rate=0.05, vendor="dmchamp")),
    ],
)
def test_parse_fault_reads_the_command_line_syntax(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "503",
        "boom=1",
        "503=2",
        "503=x",
        "503=nth:0",
        "700=1",
        "latency,speed:1=1",
        "latency,seconds:-1=1",
        "reset,applied:yes=1",
        "latency,seconds:nan=1",
        "status,form:hours=1",
    ],
)
def test_parse_fault_rejects_malformed_text_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a fault.*such as"):
        parse_fault(text)
