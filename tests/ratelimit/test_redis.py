"""`RedisQuota` with a real Redis: slots, what members learn from each other, and failures."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from redis.asyncio import Redis

from aelyst_async.errors import RateLimitedError
from aelyst_async.ratelimit import Quota, RedisQuota
from aelyst_async.sandbox import Sandbox
from tests.ratelimit.members import FIFTY, E, demand, limiters, most_in, take
from tests.servers_external import RedisServer

# -- slots -----------------------------------------------------------------------------------------------------------


async def test_slots_of_all_members_are_evenly_spaced(quota: RedisQuota) -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()
    for number in range(60):
        got = await quota.reserve(demand(f"m{number % 3}", quota=Quota(200)), 4)
        first = got.first + quota._clock._offset  # by Redis' clock: our idea of it may change in between
        times += [first + got.every * place for place in range(got.granted)]
        assert got.granted <= 4
        if not got.granted:
            await asyncio.sleep(max(0.0, got.first - loop.time()))
    times.sort()
    assert len(times) > 20
    assert min(b - a for a, b in itertools.pairwise(times)) > 0.999 * 1.03 / 200


async def test_members_keep_the_quota_together_and_each_gets_a_part(server: RedisServer) -> None:
    times: list[list[float]] = [[], [], []]
    async with limiters(server.url, 3) as members:
        tasks = [asyncio.create_task(take(one, each, 500)) for one, each in zip(members, times, strict=True)]
        while sum(map(len, times)) < 90:  # noqa: ASYNC110 - a second on an idle machine
            await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    everything = list(itertools.chain(*times))
    assert most_in(everything, 0.5) <= 50
    assert min(map(len, times)) > len(everything) / 6


async def test_idle_quota_grants_a_burst_and_then_even_slots(quota: RedisQuota) -> None:
    await quota.reserve(demand(quota=FIFTY), 1)
    await asyncio.sleep(1.2)
    got = await quota.reserve(demand(quota=FIFTY), 30)
    assert (got.granted, got.every) == (30, 0.0)
    later = await quota.reserve(demand(quota=FIFTY), 30)
    first = later.first if later.granted else later.first + 0.1
    assert first - got.first == pytest.approx(30 * 0.515 / 50, abs=0.1)


async def test_share_reduces_the_rate(quota: RedisQuota) -> None:
    got = await quota.reserve(demand(quota=Quota(1000), share=0.25), 200)
    assert got.every == pytest.approx(2 * 1.03 / 250, rel=0.01)


@pytest.mark.slow
async def test_slots_of_a_killed_process_lapse_soon(server: RedisServer) -> None:
    script = f"""
        import asyncio
        from aelyst_async.ratelimit import Quota, RateLimiter, RedisQuota

        async def main():
            limiter = RateLimiter(quotas={{"*": Quota(50, per=0.5)}}, shared=RedisQuota({server.url!r}, timeout=2.0))
            async def one():
                async with limiter.permit({E!r}, account="acme") as permit:
                    print("sent", flush=True)
                    permit.observe(200, {{}})
            await asyncio.gather(*[one() for _ in range(1000)])

        asyncio.run(main())
    """
    command = (sys.executable, "-c", textwrap.dedent(script))
    other = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert other.stdout is not None
    for _ in range(20):
        assert await other.stdout.readline()
    other.kill()
    await other.communicate()
    times: list[float] = []
    began = time.monotonic()
    async with limiters(server.url, 1) as (limiter,):
        await asyncio.wait_for(take(limiter, times, 60), 30)
    assert times[0] - began < 10
    assert most_in(times, 0.5) <= 50


WORKER = """
import asyncio, contextlib, sys
from aelyst_async import Quota, RateLimiter, RetryPolicy
from aelyst_async.errors import ContactsError
from aelyst_async.ratelimit import RedisQuota
from aelyst_providers.aelyst import AelystGateway

async def main(base_url, token, url, seconds):
    shared = RedisQuota(url, timeout=2.0) if url else None
    limiter = RateLimiter(quotas={"*": Quota(40, per=4.0)}, shared=shared)
    retry = RetryPolicy(max_attempts=1)
    async with AelystGateway(token, base_url=base_url, limiter=limiter, retry=retry) as gateway:
        async def send():
            while True:
                with contextlib.suppress(ContactsError):
                    await gateway.get("id:1")
        tasks = [asyncio.create_task(send()) for _ in range(20)]
        await asyncio.sleep(float(seconds))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if shared is not None:
        await shared.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("one_quota", [True, False])
async def test_four_processes_are_refused_only_without_a_shared_quota(server: RedisServer, one_quota: bool) -> None:
    switches = {"aelyst.quota_window": "sliding"}
    async with Sandbox(quota="40/4s", switches=switches) as sandbox:
        arguments = (sandbox.base_url("aelyst"), sandbox.token("aelyst"), server.url if one_quota else "", "14")
        workers = [await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, *arguments) for _ in range(4)]
        assert [await worker.wait() for worker in workers] == [0, 0, 0, 0]
        requests = sandbox.requests
    refused = sum(one.status == 429 for one in requests)
    if one_quota:
        assert refused == 0
        assert most_in([one.at for one in requests], 4.0) <= 40
        assert len(requests) > 60
    else:
        assert refused > 0


# -- what members report ---------------------------------------------------------------------------------------------


async def test_refusal_of_one_member_pauses_all_members(server: RedisServer) -> None:
    async with limiters(server.url, 2) as (one, other):
        times: list[float] = []
        await take(other, times)
        async with one.permit(E, account="acme") as permit:
            permit.observe(429, {"Retry-After": "1"})
        refused = asyncio.get_running_loop().time()
        await asyncio.sleep(0.2)
        times.clear()
        with pytest.raises(RateLimitedError):
            async with other.permit(E, account="acme", max_wait=0.1):
                pass
        await take(other, times, 3)
        assert times[0] - refused > 0.9
        assert other.snapshot()[0].sent == 4


async def test_refusal_lowers_the_rate_by_a_tenth_and_windows_with_rest_raise_it(quota: RedisQuota) -> None:
    told = Quota(1000)
    await quota.reserve(demand(quota=told), 1)
    await asyncio.sleep(1.2)  # the first window has half the rate

    async def every() -> float:
        await quota.reserve(demand(quota=told), 1)  # an idle quota grants a burst
        return (await quota.reserve(demand(quota=told), 5)).every

    before = await every()
    await quota.report(demand(quota=told), 1000, 950, 0.0)
    await quota.report(demand(quota=told), 1000, 950, 0.0)  # of the same event
    assert await every() == pytest.approx(before / 0.9, rel=0.02)
    for _ in range(2):  # the first of these windows holds the refusal
        await asyncio.sleep(1.05)
        await quota.report(demand(quota=told), 1000, 900, None)
    assert await every() == pytest.approx(before / 0.9 / 1.02, rel=0.01)


async def test_limit_of_the_server_is_used_unless_the_user_told_one(quota: RedisQuota) -> None:
    for source, limit in (("server", 500), ("user", 1000)):
        one = demand(quota=Quota(1000), source=source, bucket=source)
        await quota.reserve(one, 1)
        await quota.report(one, 500, 400, None)
        got = await quota.reserve(one, 100)
        assert got.every == pytest.approx(2 * 1.03 / limit, rel=0.02)


async def test_requests_of_other_programs_lower_the_rate(quota: RedisQuota) -> None:
    one = demand(quota=Quota(1000), source="server")
    await quota.reserve(one, 1)
    before = (await quota.reserve(one, 100)).every
    await quota.report(one, 1000, 100, None)  # 900 are spent, and no member sent any
    after = (await quota.reserve(one, 100)).every
    assert after > 2 * before


async def test_window_of_the_user_wins_over_the_servers_and_that_over_the_learned_one(quota: RedisQuota) -> None:
    async def known(member: str, per: float, source: str) -> float | None:
        return (await quota.reserve(demand(member, quota=Quota(10, per=per), source=source), 1)).window

    assert await known("a", 1.0, "learned") == 1.0
    assert await known("b", 2.0, "learned") == 1.0  # one member learns
    assert await known("b", 3.0, "server") == 3.0
    assert await known("a", 1.0, "learned") == 3.0
    assert await known("c", 4.0, "user") == 4.0
    assert await known("b", 3.0, "server") == 4.0


async def test_one_member_learns_the_window_while_the_others_wait(quota: RedisQuota) -> None:
    unknown: dict[str, Any] = {"quota": None, "source": None}
    now = asyncio.get_running_loop().time()
    learner = await quota.reserve(demand("a", **unknown), 3)
    assert learner.alone_until > now
    other = await quota.reserve(demand("b", **unknown), 3)
    assert (other.granted, other.alone_until) == (0, float("-inf"))
    assert other.first > now
    # It reports what it has learned, and sends alone until that is confirmed.
    assert (await quota.reserve(demand("a", source="learned", sent=5), 3)).alone_until > now
    assert (await quota.reserve(demand("b", **unknown), 3)).granted == 0


async def test_only_member_sends_without_slots_until_another_comes(server: RedisServer, quota: RedisQuota) -> None:
    await quota.reserve(demand(), 1)
    async with Redis.from_url(server.url) as redis:
        now = int((await redis.time())[0]) * 1_000_000
        await redis.hset("{aelyst}:members", "several_at", str(now - 60_000_000))
    alone = await quota.reserve(demand(sent=4), 1)
    assert alone.alone_until > asyncio.get_running_loop().time()
    # A second member comes: it waits until the first has told what it sent.
    assert (await quota.reserve(demand("b"), 1)).granted == 0
    assert (await quota.reserve(demand(sent=3), 1)).granted == 0
    began = asyncio.get_running_loop().time()
    settled = await quota.reserve(demand(sent=2), 1)
    assert settled.granted == 0
    assert settled.first + 0.1 - began == pytest.approx(9 * 0.103, abs=0.1)


# -- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["FLUSHALL", "SCRIPT FLUSH"])
async def test_members_keep_the_quota_when_redis_is_emptied(server: RedisServer, command: str) -> None:
    times: list[float] = []
    async with limiters(server.url, 2) as members, Redis.from_url(server.url) as redis:
        tasks = [asyncio.create_task(take(one, times, 40)) for one in members]
        await asyncio.sleep(0.6)
        await redis.execute_command(*command.split())  # type: ignore[no-untyped-call]
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
    assert len(times) == 80
    assert most_in(times, 0.5) <= 50


async def test_wall_clocks_of_clients_do_not_matter(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: rng.uniform(0, 4e9))
    times: list[float] = []
    async with limiters(server.url, 2) as members:
        await asyncio.wait_for(asyncio.gather(*[take(one, times, 25) for one in members]), 30)
    assert len(times) == 50
    assert most_in(times, 0.5) <= 50


@contextlib.asynccontextmanager
async def slow_way(port: int, seconds: float) -> AsyncIterator[str]:
    """Yield the URL of a proxy that holds all bytes back for so long, both ways."""
    tasks: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    asyncio.get_running_loop().call_later(seconds, writer.write, data)
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        for work in (pipe(reader, ours), pipe(theirs, writer)):
            tasks.add(asyncio.create_task(work))

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/0"
    finally:
        proxy.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(seconds)


@pytest.mark.slow
async def test_long_round_trips_neither_exceed_the_quota_nor_stop_a_member(server: RedisServer) -> None:
    times: list[list[float]] = [[], []]
    async with (
        slow_way(server.port, 0.07) as far,
        limiters(server.url, 1) as (near,),
        limiters(far, 1) as (distant,),
    ):
        tasks = [asyncio.create_task(take(one, each, 400)) for one, each in zip((near, distant), times, strict=True)]
        await asyncio.sleep(2.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert most_in(list(itertools.chain(*times)), 0.5) <= 50
    assert len(times[1]) > 20


async def outage(
    server: RedisServer, count: int, on_outage: Literal["local", "wait"], seconds: float
) -> tuple[list[float], list[float]]:
    """Kill Redis under limiters that are busy, start it again empty; return the times of sending, and both events."""
    times: list[float] = []
    loop = asyncio.get_running_loop()
    async with limiters(server.url, count, on_outage=on_outage) as members:
        tasks = [asyncio.create_task(take(one, times, 1000)) for one in members]
        while min(one.snapshot()[0].sent if one.snapshot() else 0 for one in members) < 8:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        server.kill()
        killed = loop.time()
        await asyncio.sleep(seconds)
        server.start()
        back = loop.time()
        await asyncio.sleep(1.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return times, [killed, back]


async def test_members_keep_the_quota_while_redis_is_down(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    times, (killed, back) = await outage(server, 3, "local", 2.2)
    away = [one for one in times if killed + 1.2 < one < back]
    assert len(away) > 5  # of 100
    assert most_in(times, 0.5) <= 50
    assert [one for one in times if one > back + 0.6]
    said = [one.getMessage() for one in caplog.records if one.name == "aelyst_async.ratelimit"]
    assert sum("does not answer" in one for one in said) == 3  # one line each, and three members
    assert sum("answers again" in one for one in said) == 3
    assert len(said) == 6


@pytest.mark.slow
async def test_on_outage_wait_sends_nothing_while_redis_is_down(server: RedisServer) -> None:
    times, (killed, back) = await outage(server, 2, "wait", 1.0)
    assert not [one for one in times if killed + 0.25 < one < back]
    assert [one for one in times if one > back]
    assert most_in(times, 0.5) <= 50


async def test_member_that_never_reached_redis_sends_nothing_and_says_why() -> None:
    server = RedisServer()  # not started
    async with limiters(server.url, 1, timeout=0.1) as (limiter,):
        with pytest.raises(
            RateLimitedError, match=r"shared quota cannot be reached \(Redis: ConnectionError\)"
        ) as caught:
            async with limiter.permit(E, account="acme", max_wait=1.5):
                pass
    assert caught.value.retry_after is None
    assert "127.0.0.1" not in str(caught.value)
