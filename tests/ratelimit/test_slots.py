"""`Slots`: permit and connection are taken in one step, so no caller holds one while it waits for the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from aelyst_async.errors import ConfigurationError, RateLimitedError
from aelyst_async.ratelimit import Permit, RateLimiter, Slots
from tests.ratelimit.simulator import Latency, Server, simulate
from tests.virtual_time import virtual

A, B = "GET /a/{identifier}", "GET /b/{identifier}"
FULL = {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "999"}


async def ask(limiter: RateLimiter, slots: Slots, order: list[str], endpoint: str = A, seconds: float = 1.0) -> float:
    async with limiter.permit(endpoint, slots=slots) as permit:
        order.append(endpoint)
        await asyncio.sleep(seconds)
        permit.observe(200, FULL)
        return permit.waited


async def learned(limiter: RateLimiter, *endpoints: str) -> None:
    for endpoint in endpoints:
        async with limiter.permit(endpoint) as permit:
            permit.observe(200, FULL)


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "3"])
def test_slots_reject_values_that_are_not_whole_numbers(number: object) -> None:
    with pytest.raises(ConfigurationError, match="whole number"):
        Slots(number)  # type: ignore[arg-type]


def test_permit_rejects_a_number_as_slots() -> None:
    with pytest.raises(ConfigurationError, match=r"Slots\(100\)"):
        RateLimiter().permit(A, slots=100)  # type: ignore[arg-type]


@virtual
async def test_waiter_for_a_slot_takes_no_permit() -> None:
    limiter, slots = RateLimiter(), Slots(2)
    await learned(limiter, A)
    tasks = [asyncio.create_task(ask(limiter, slots, [])) for _ in range(6)]
    await asyncio.sleep(0.5)
    (bucket,) = limiter.snapshot()
    assert (bucket.in_flight, bucket.waiting) == (2, 4)
    waited = await asyncio.gather(*tasks)
    assert waited == pytest.approx([0, 0, 1, 1, 2, 2], abs=0.1)
    assert slots.free == 2


@virtual
async def test_paused_lane_takes_no_slot_from_another_lane() -> None:
    limiter, slots = RateLimiter(), Slots(1)
    await learned(limiter, A, B)
    async with limiter.permit(A) as permit:
        permit.observe(429, {"Retry-After": "60"})
    order: list[str] = []
    tasks = [asyncio.create_task(ask(limiter, slots, order, endpoint)) for endpoint in [A] * 5 + [B] * 3]
    await asyncio.sleep(10)
    assert order == [B] * 3
    await asyncio.gather(*tasks)
    assert order == [B] * 3 + [A] * 5


@virtual
async def test_lanes_take_turns_on_slots() -> None:
    limiter, slots, order = RateLimiter(), Slots(1), list[str]()
    await learned(limiter, A, B)
    await asyncio.gather(*[ask(limiter, slots, order, endpoint) for endpoint in [A] * 4 + [B] * 4])
    assert order == [A, A, B, A, B, A, B, B]


@virtual
async def test_limiters_that_share_slots_take_turns() -> None:
    one, other, slots, order = RateLimiter(), RateLimiter(), Slots(1), list[str]()
    await asyncio.gather(learned(one, A), learned(other, B))
    await asyncio.gather(
        *[ask(one, slots, order, A) for _ in range(3)], *[ask(other, slots, order, B) for _ in range(3)]
    )
    assert sorted(order) == [A] * 3 + [B] * 3
    assert slots.free == 1


@virtual
async def test_cancelled_waiter_gives_back_permit_and_slot() -> None:
    limiter, slots = RateLimiter(), Slots(1)
    await learned(limiter, A)
    busy = asyncio.create_task(ask(limiter, slots, []))
    await asyncio.sleep(0)
    waiting, handed = asyncio.create_task(ask(limiter, slots, [])), asyncio.create_task(ask(limiter, slots, []))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await busy  # its slot goes to the next in this step
    handed.cancel()
    await asyncio.gather(waiting, handed, return_exceptions=True)
    assert handed.cancelled()
    assert slots.free == 1
    assert limiter.snapshot()[0].in_flight == 0
    assert await ask(limiter, slots, []) < 0.1


@virtual
@pytest.mark.parametrize("how", ["cancelled", "out of patience"])
async def test_next_waiter_goes_when_the_first_gives_up_waiting_for_a_slot(how: str) -> None:
    """Two sessions of one account: the first waiter needs a slot that is not given back, the second another one."""
    limiter, hanging, other, order = RateLimiter(), Slots(1), Slots(1), list[str]()
    await learned(limiter, A)
    busy = asyncio.create_task(ask(limiter, hanging, [], seconds=1000))
    await asyncio.sleep(0)

    async def first() -> None:
        async with limiter.permit(A, slots=hanging, max_wait=None if how == "cancelled" else 1.0):
            raise AssertionError("there is no connection")

    waiting = asyncio.create_task(first())
    await asyncio.sleep(0)
    behind = asyncio.create_task(ask(limiter, other, order))
    await asyncio.sleep(0.5)
    assert not order
    if how == "cancelled":
        waiting.cancel()
    await asyncio.sleep(1)
    assert order == [A]
    busy.cancel()
    await asyncio.gather(busy, waiting, behind, return_exceptions=True)


def test_permit_left_in_a_closed_loop_gives_its_slot_back() -> None:
    limiter, slots = RateLimiter(), Slots(1)

    async def leave() -> tuple[Permit, Coroutine[Any, Any, Permit]]:
        held = await limiter.permit(A, slots=slots).__aenter__()
        held.observe(200, FULL)
        waiting = limiter.permit(A, slots=slots).__aenter__()
        waiting.send(None).add_done_callback(lambda _: None)  # as a task has one, which needs the loop
        return held, waiting

    held, waiting = asyncio.run(leave())
    with pytest.raises(StopIteration):
        held.__aexit__(None, None, None).send(None)
    waiting.close()
    assert slots.free == 1


@virtual
async def test_max_wait_bounds_the_wait_for_a_slot() -> None:
    limiter, slots = RateLimiter(max_wait=2), Slots(1)
    await learned(limiter, A)
    busy = asyncio.create_task(ask(limiter, slots, [], seconds=9))
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    with pytest.raises(RateLimitedError, match="not sent"):
        await ask(limiter, slots, [])
    assert asyncio.get_running_loop().time() - began == pytest.approx(2, abs=0.01)
    await busy
    assert await ask(limiter, slots, []) < 0.1


@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
@pytest.mark.parametrize(("limit", "connections", "up"), [(200, 100, 0.45), (50, 10, 0.15), (200, 10, 0.01)])
def test_few_connections_use_the_whole_quota_without_refusals(
    kind: str, limit: int, connections: int, up: float
) -> None:
    """If permits were taken before slots, requests would reach the server much later than the bucket notes."""
    run = simulate(
        Server(kind=kind, limit=limit, window=1.0, phase=0.3),
        windows=20,
        latency=Latency(up=up / 2, least=up / 2, down=0.02),
        concurrency=4 * connections,
        connections=connections,
    )
    # Learning a log takes most of such a run where few connections spread its requests.
    assert run.late > 0.85
    assert run.refused <= 1
