"""`RateLimiter`: the order and the length of waits, pauses, cancellation, and the bounds of what it keeps."""

import asyncio
import random
import sys
import tracemalloc
from typing import Any

import pytest

import aelyst_async.ratelimit.limiter as module
from aelyst_async.errors import ConfigurationError, RateLimitedError
from aelyst_async.ratelimit import BucketSnapshot, Quota, RateLimiter
from tests.virtual_time import VirtualTimeLoop, virtual

E = "GET /contact/{identifier}"
FULL = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "9"}
EMPTY = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0"}


async def refuse(limiter: RateLimiter, seconds: float, endpoint: str = E, account: str = "") -> None:
    async with limiter.permit(endpoint, account=account) as permit:
        permit.observe(429, {"Retry-After": f"{seconds:g}"})


async def take(limiter: RateLimiter, order: list[object], name: object, **how: Any) -> None:
    async with limiter.permit(E, **how) as permit:
        order.append(name)
        permit.observe(200, FULL)


@virtual
async def test_permit_waits_for_retry_after_of_a_refusal() -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    await refuse(limiter, 7)
    began = loop.time()
    async with limiter.permit(E) as permit:
        assert loop.time() - began == pytest.approx(7, abs=0.01)
        assert permit.waited == pytest.approx(7, abs=0.01)


@virtual
async def test_permit_waits_for_the_longest_of_several_pauses() -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    for _ in range(8):  # after responses without headers, several may be out
        async with limiter.permit(E) as permit:
            permit.observe(200, {})
    began = loop.time()
    first, second = limiter.permit(E), limiter.permit(E)
    await first.__aenter__()
    await second.__aenter__()
    first.observe(429, {"Retry-After": "9"})
    second.observe(429, {"Retry-After": "2"})
    assert limiter.snapshot()[0].paused_for == pytest.approx(9, abs=0.01)
    async with limiter.permit(E):
        assert loop.time() - began >= 9


@virtual
async def test_queue_is_fifo_with_repeats_before_first_comers() -> None:
    limiter = RateLimiter()
    order: list[object] = []
    await refuse(limiter, 3)
    tasks = [asyncio.create_task(take(limiter, order, name)) for name in range(6)]
    await asyncio.sleep(1)
    tasks += [asyncio.create_task(take(limiter, order, name, retry=True)) for name in ("r1", "r2")]
    await asyncio.gather(*tasks)
    assert order == ["r1", "r2", 0, 1, 2, 3, 4, 5]


@virtual
async def test_queue_is_not_overtaken_by_newcomers() -> None:
    limiter = RateLimiter()
    order: list[object] = []

    async def newcomers() -> None:
        await asyncio.sleep(2.0)
        for name in range(100, 130):
            tasks.append(asyncio.create_task(take(limiter, order, name)))
            await asyncio.sleep(0)

    await refuse(limiter, 2)
    tasks = [asyncio.create_task(take(limiter, order, name)) for name in range(30)]
    await newcomers()
    await asyncio.gather(*tasks)
    assert order == [*range(30), *range(100, 130)]


@virtual
async def test_cancelled_waiters_neither_delay_others_nor_keep_permits() -> None:
    limiter, rng = RateLimiter(), random.Random(4)
    order: list[object] = []
    await refuse(limiter, 1)
    tasks = [asyncio.create_task(take(limiter, order, name)) for name in range(200)]
    await asyncio.sleep(0.5)
    gone = {name for name in range(200) if rng.random() < 0.5}
    for name in gone:
        tasks[name].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [name for name in range(200) if name not in gone]
    (bucket,) = limiter.snapshot()
    assert (bucket.waiting, bucket.in_flight) == (0, 0)


@virtual
async def test_permit_goes_back_when_its_task_is_cancelled_before_it_resumes() -> None:
    limiter = RateLimiter()
    order: list[object] = []
    await refuse(limiter, 1)
    tasks = [asyncio.create_task(take(limiter, order, name)) for name in range(3)]
    await asyncio.sleep(0)
    (lane,) = limiter._lanes.values()
    first = lane.first()
    assert first is not None
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.advance(1.5)
    limiter._pump(lane)
    assert first._future.done()  # handed over, and the task has not run yet
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert tasks[0].cancelled()
    assert order == [1, 2]
    (bucket,) = limiter.snapshot()
    assert (bucket.waiting, bucket.in_flight, bucket.sent) == (0, 0, 3)  # the refused one and two


@virtual
async def test_unsent_gives_the_permit_back() -> None:
    limiter = RateLimiter()
    async with limiter.permit(E) as permit:
        permit.unsent()
    (bucket,) = limiter.snapshot()
    assert (bucket.sent, bucket.in_flight) == (0, 0)


@pytest.mark.parametrize("headers", [None, ["X-RateLimit-Limit"]])
@virtual
async def test_observe_rejects_wrong_headers_and_keeps_the_permit(headers: Any) -> None:
    limiter = RateLimiter()
    with pytest.raises(ConfigurationError, match="headers must map str to str"):
        async with limiter.permit(E) as permit:
            permit.observe(200, headers)
    assert limiter.snapshot()[0].in_flight == 0
    async with limiter.permit(E) as permit:
        with pytest.raises(ConfigurationError):
            permit.observe(200, headers)
        permit.observe(200, FULL)
    assert limiter.snapshot()[0].remaining == 9


@virtual
async def test_request_without_a_response_counts_as_sent() -> None:
    limiter = RateLimiter()
    broken = RuntimeError("the connection broke")
    permit = await limiter.permit(E).__aenter__()
    await permit.__aexit__(RuntimeError, broken, None)
    (bucket,) = limiter.snapshot()
    assert (bucket.sent, bucket.in_flight) == (1, 0)


@virtual
async def test_only_the_first_observe_or_unsent_counts() -> None:
    limiter = RateLimiter()
    async with limiter.permit(E) as permit:
        permit.observe(200, FULL)
        permit.observe(429, {"Retry-After": "99"})
        permit.unsent()
    (bucket,) = limiter.snapshot()
    assert (bucket.sent, bucket.in_flight, bucket.paused_for, bucket.remaining) == (1, 0, 0.0, 9)


@virtual
async def test_permit_fails_at_once_when_a_pause_outlasts_its_deadline() -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    await refuse(limiter, 7)
    began = loop.time()
    with pytest.raises(RateLimitedError) as caught:
        async with limiter.permit(E, deadline=began + 5):
            pass
    assert loop.time() == began
    assert (caught.value.attempts, caught.value.status) == (0, 429)
    assert caught.value.retry_after == pytest.approx(7)
    assert (caught.value.method, caught.value.url) == ("GET", "/contact/{identifier}")


@virtual
async def test_waiters_fail_at_once_when_a_new_pause_outlasts_their_deadline() -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    order: list[object] = []
    out = limiter.permit(E)
    await out.__aenter__()
    late = asyncio.create_task(take(limiter, order, "late", deadline=loop.time() + 60))
    soon = asyncio.create_task(take(limiter, order, "soon", deadline=loop.time() + 5))
    await asyncio.sleep(0.1)
    out.observe(429, {"Retry-After": "20"})
    with pytest.raises(RateLimitedError):
        await soon
    assert loop.time() == pytest.approx(1000.1)
    await late
    assert order == ["late"]


@virtual
async def test_max_wait_bounds_the_wait() -> None:
    limiter, loop = RateLimiter(max_wait=2), asyncio.get_running_loop()
    order: list[object] = []
    async with limiter.permit(E) as permit:
        permit.observe(200, {"X-RateLimit-Limit": "1", "X-RateLimit-Remaining": "0"})
    holder = limiter.permit(E)
    await holder.__aenter__()  # waited for the only slot
    began = loop.time()
    with pytest.raises(RateLimitedError) as caught:
        await take(limiter, order, "x", max_wait=0.25)
    assert loop.time() - began == pytest.approx(0.25)
    assert caught.value.attempts == 0
    (bucket,) = limiter.snapshot()
    assert bucket.waiting == 0


@virtual
async def test_max_wait_fails_at_once_when_the_queue_is_too_long() -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    from tests.ratelimit.simulator import Server

    server, zero = Server(kind="token", limit=10, window=1.0), loop.time()

    async def one() -> None:
        async with limiter.permit(E) as permit:
            await asyncio.sleep(0.01)
            permit.observe(*server.ask(loop.time() - zero))

    await asyncio.gather(*[one() for _ in range(40)])
    crowd = [asyncio.create_task(one()) for _ in range(500)]
    await asyncio.sleep(0.01)
    began = loop.time()
    with pytest.raises(RateLimitedError) as caught:
        async with limiter.permit(E, max_wait=5):
            pass
    assert loop.time() == began
    assert caught.value.retry_after is not None
    assert 30 < caught.value.retry_after < 80
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", True])
def test_max_wait_rejects_values_that_are_not_seconds(value: Any) -> None:
    with pytest.raises(ConfigurationError):
        RateLimiter(max_wait=value)


@virtual
async def test_account_pauses_when_two_endpoints_are_refused_unexpectedly() -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    for endpoint in ("GET /a", "GET /b", "GET /c"):
        async with limiter.permit(endpoint, account="one") as permit:
            permit.observe(200, FULL)
    await asyncio.sleep(0.1)
    for endpoint in ("GET /a", "GET /b"):
        async with limiter.permit(endpoint, account="one") as permit:
            permit.observe(429, {"Retry-After": "8"})
        async with limiter.permit("GET /x", account="two") as permit:
            permit.observe(200, FULL)
    began = loop.time()
    async with limiter.permit("GET /c", account="one"):
        assert loop.time() - began == pytest.approx(8, abs=0.05)
    async with limiter.permit("GET /x", account="two") as permit:
        assert permit.waited < 1


@virtual
async def test_refusal_of_one_endpoint_does_not_pause_another() -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    await refuse(limiter, 8, "GET /a", "one")
    began = loop.time()
    async with limiter.permit("GET /b", account="one"):
        assert loop.time() == began


@virtual
async def test_hanging_request_does_not_block_others() -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    hangs = limiter.permit(E)
    await hangs.__aenter__()
    began = loop.time()
    async with limiter.permit(E) as permit:
        assert loop.time() - began <= 2.5
        permit.observe(200, FULL)


@virtual
async def test_suspended_host_causes_neither_burst_nor_stall() -> None:
    from tests.ratelimit.simulator import Server

    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    server, zero = Server(kind="fixed", limit=20, window=1.0, phase=0.3), loop.time()

    async def work() -> None:
        while loop.time() - zero < 120:
            async with limiter.permit(E) as permit:
                await asyncio.sleep(0.01)
                permit.observe(*server.ask(loop.time() - zero))

    tasks = [asyncio.create_task(work()) for _ in range(16)]
    await asyncio.sleep(10)
    before = len(server.refused)
    loop.advance(60)
    await asyncio.gather(*tasks)
    assert len(server.refused) - before <= 1
    assert sum(at > 75 for at in server.accepted) >= 0.9 * 45 * 20


@virtual
async def test_limiter_drops_the_least_recently_used_buckets_but_none_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BUCKETS", 50)
    limiter = RateLimiter()
    held = limiter.permit("GET /held")
    await held.__aenter__()
    await refuse(limiter, 1000, "GET /paused")
    for number in range(300):
        async with limiter.permit(f"GET /{number}") as permit:
            permit.observe(200, FULL)
    names = [bucket.endpoint for bucket in limiter.snapshot()]
    assert len(names) <= 51
    assert {"GET /held", "GET /paused", "GET /299"} <= set(names)
    assert "GET /0" not in names


def test_limiter_works_in_a_second_loop_after_the_first_is_closed() -> None:
    limiter = RateLimiter()

    async def use() -> None:
        async with limiter.permit(E) as permit:
            permit.observe(200, EMPTY)

    for _ in range(2):
        asyncio.run(asyncio.wait_for(use(), 5))
    assert len(limiter.snapshot()) == 1


def test_limiter_rejects_two_loops_at_once() -> None:
    limiter = RateLimiter()

    async def other() -> None:
        async with limiter.permit(E):
            pass

    async def main() -> None:
        async with limiter.permit(E):
            with pytest.raises(ConfigurationError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, other())

    asyncio.run(main())


def test_limiter_is_constructed_without_a_loop() -> None:
    assert RateLimiter().snapshot() == ()


@virtual
async def test_waiter_takes_little_memory_and_constant_time() -> None:
    limiter = RateLimiter()
    await refuse(limiter, 5)
    permits = [limiter.permit(E) for _ in range(10)]
    entering = [permit.__aenter__() for permit in permits]
    for one in entering:  # warm up: caches of the interpreter
        one.send(None)

    async def enter(count: int) -> list[Any]:
        coroutines = []
        for _ in range(count):
            waiting = limiter.permit(E).__aenter__()
            waiting.send(None)
            coroutines.append(waiting)
        return coroutines

    async def calls(count: int) -> int:
        """Return the Python calls that so many more waiters make."""
        made = 0

        def called(_: Any, event: str, __: Any) -> None:
            nonlocal made
            made += event in {"call", "c_call"}

        sys.setprofile(called)
        try:
            held.extend(await enter(count))
        finally:
            sys.setprofile(None)
        return made

    held: list[Any] = []
    first = await calls(1_000)
    tracemalloc.start()
    held += await enter(20_000)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / 20_000 < 1200  # coroutine frame, permit and future together; 1,080 bytes on Python 3.10
    assert await calls(1_000) <= 1.1 * first
    for one in held + entering:
        one.close()


@virtual
async def test_pause_of_the_account_holds_for_an_endpoint_that_is_used_for_the_first_time() -> None:
    limiter = RateLimiter(quotas={"GET /c": Quota(100)})
    for endpoint in ("GET /a", "GET /b"):
        async with limiter.permit(endpoint) as permit:
            permit.observe(200, FULL)
    await asyncio.sleep(0.1)
    for endpoint in ("GET /a", "GET /b"):
        await refuse(limiter, 8, endpoint)
    async with limiter.permit("GET /c") as permit:
        assert permit.waited == pytest.approx(8, abs=0.05)


@virtual
async def test_waiters_ask_again_in_order_when_the_scope_changes() -> None:
    limiter = RateLimiter()
    order: list[object] = []
    await refuse(limiter, 60)
    tasks = [asyncio.create_task(take(limiter, order, name, path="/same", max_wait=99)) for name in range(5)]
    await asyncio.sleep(0.1)
    tasks[2].cancel()
    (lane,) = limiter._lanes.values()
    lane.scope.per_path = True
    limiter._rescope(lane, "/same")
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 1, 3, 4]
    assert [(bucket.path, bucket.waiting) for bucket in limiter.snapshot()] == [("/same", 0)]


@virtual
async def test_on_change_is_called_with_the_latest_snapshot_not_for_every_response() -> None:
    limiter = RateLimiter()
    snapshots: list[BucketSnapshot] = []
    limiter.on_change = snapshots.append
    for _ in range(20):
        async with limiter.permit(E, account="a") as permit:
            permit.observe(200, {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "900"})
    await asyncio.sleep(0.2)
    assert 1 <= len(snapshots) < 20
    last = snapshots[-1]
    assert (last.account, last.endpoint, last.limit, last.remaining) == ("a", E, 1000, 900)
