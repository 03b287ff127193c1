"""`RedisQuota` against a real Redis: who gets which slot, what is learned, and what happens when things fail."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Literal

import pytest
from redis.asyncio import Redis

import aelyst_async.ratelimit.redis as module
from aelyst_async.errors import ConfigurationError, RateLimitedError
from aelyst_async.ratelimit import Demand, Quota, RateLimiter, RedisQuota
from aelyst_async.sandbox import Sandbox
from tests.servers_external import RedisServer

E = "GET /contact/{identifier}"
TEN, FIFTY = Quota(10, per=1.0), Quota(50, per=0.5)
PATIENT = 2.0
"""Seconds for a call: on a busy machine a process may be stopped for longer than the usual time-out."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
async def quota(server: RedisServer) -> AsyncIterator[RedisQuota]:
    async with RedisQuota(server.url, timeout=PATIENT) as shared:
        yield shared


def demand(member: str = "a", *, quota: Quota | None = TEN, source: str | None = "user", **facts: Any) -> Demand:
    return Demand(**{"bucket": "account\nGET /x\n", "share": 1.0, "sent": 0, **facts}, member=member, quota=quota,
                  source=source)  # fmt: skip


def most_in(times: Sequence[float], seconds: float) -> int:
    """Return the most times in any half-open span of so many seconds."""
    ordered = sorted(times)
    return max(sum(1 for one in ordered if at <= one < at + seconds) for at in ordered)


async def take(limiter: RateLimiter, times: list[float], count: int = 1, headers: dict[str, str] | None = None) -> None:
    async def one() -> None:
        async with limiter.permit(E, account="acme") as permit:
            times.append(permit.at)
            permit.observe(200, headers or {})

    await asyncio.gather(*[one() for _ in range(count)])


@contextlib.asynccontextmanager
async def limiters(url: str, count: int, told: Quota = FIFTY, **how: Any) -> AsyncIterator[list[RateLimiter]]:
    """Yield limiters that share a quota as processes do: each has its own connection."""
    async with contextlib.AsyncExitStack() as stack:
        shared = [await stack.enter_async_context(RedisQuota(url, **{"timeout": PATIENT, **how})) for _ in range(count)]
        yield [RateLimiter(quotas={"*": told}, shared=one) for one in shared]


# -- slots -----------------------------------------------------------------------------------------------------------


async def test_slots_of_all_members_are_an_interval_apart(quota: RedisQuota) -> None:
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


async def test_members_keep_to_the_quota_together_and_nobody_starves(server: RedisServer) -> None:
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


async def test_an_idle_quota_lets_a_burst_go_at_once_and_then_keeps_to_the_law(quota: RedisQuota) -> None:
    await quota.reserve(demand(quota=FIFTY), 1)
    await asyncio.sleep(1.2)
    got = await quota.reserve(demand(quota=FIFTY), 30)
    assert (got.granted, got.every) == (30, 0.0)
    later = await quota.reserve(demand(quota=FIFTY), 30)
    first = later.first if later.granted else later.first + 0.1
    assert first - got.first == pytest.approx(30 * 0.515 / 50, abs=0.1)


async def test_a_share_is_a_part_of_the_quota(quota: RedisQuota) -> None:
    got = await quota.reserve(demand(quota=Quota(1000), share=0.25), 200)
    assert got.every == pytest.approx(2 * 1.03 / 250, rel=0.01)


@pytest.mark.slow
async def test_what_a_killed_process_leased_is_lost_for_a_moment_only(server: RedisServer) -> None:
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
async def test_four_processes_on_one_quota_are_not_refused_and_without_it_they_are(
    server: RedisServer, one_quota: bool
) -> None:
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


# -- what members tell each other ------------------------------------------------------------------------------------


async def test_a_refusal_of_one_member_pauses_all(server: RedisServer) -> None:
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


async def test_a_refusal_lowers_the_rate_by_a_tenth_and_slack_windows_raise_it(quota: RedisQuota) -> None:
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


async def test_the_newest_limit_of_the_server_counts_unless_the_user_told_one(quota: RedisQuota) -> None:
    for source, limit in (("server", 500), ("user", 1000)):
        one = demand(quota=Quota(1000), source=source, bucket=source)
        await quota.reserve(one, 1)
        await quota.report(one, 500, 400, None)
        got = await quota.reserve(one, 100)
        assert got.every == pytest.approx(2 * 1.03 / limit, rel=0.02)


async def test_what_others_outside_spend_is_left_to_them(quota: RedisQuota) -> None:
    one = demand(quota=Quota(1000), source="server")
    await quota.reserve(one, 1)
    before = (await quota.reserve(one, 100)).every
    await quota.report(one, 1000, 100, None)  # 900 are spent, and no member sent any
    after = (await quota.reserve(one, 100)).every
    assert after > 2 * before


async def test_the_window_told_by_the_user_wins_over_headers_and_these_over_what_is_learned(quota: RedisQuota) -> None:
    async def known(member: str, per: float, source: str) -> float | None:
        return (await quota.reserve(demand(member, quota=Quota(10, per=per), source=source), 1)).window

    assert await known("a", 1.0, "learned") == 1.0
    assert await known("b", 2.0, "learned") == 1.0  # one member learns
    assert await known("b", 3.0, "server") == 3.0
    assert await known("a", 1.0, "learned") == 3.0
    assert await known("c", 4.0, "user") == 4.0
    assert await known("b", 3.0, "server") == 4.0


async def test_one_member_learns_and_the_others_wait_for_it(quota: RedisQuota) -> None:
    unknown: dict[str, Any] = {"quota": None, "source": None}
    now = asyncio.get_running_loop().time()
    learner = await quota.reserve(demand("a", **unknown), 3)
    assert learner.alone_until > now
    other = await quota.reserve(demand("b", **unknown), 3)
    assert (other.granted, other.alone_until) == (0, float("-inf"))
    assert other.first > now
    # It tells what it has learned. It goes on alone until that has proven itself, then its requests are a debt.
    assert (await quota.reserve(demand("a", source="learned", sent=5), 3)).alone_until > now
    assert (await quota.reserve(demand("b", **unknown), 3)).granted == 0


async def test_a_member_that_has_long_been_the_only_one_needs_no_slots(server: RedisServer, quota: RedisQuota) -> None:
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
async def test_members_survive_that_redis_is_emptied_in_mid_run(server: RedisServer, command: str) -> None:
    times: list[float] = []
    async with limiters(server.url, 2) as members, Redis.from_url(server.url) as redis:
        tasks = [asyncio.create_task(take(one, times, 40)) for one in members]
        await asyncio.sleep(0.6)
        await redis.execute_command(*command.split())  # type: ignore[no-untyped-call]
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
    assert len(times) == 80
    assert most_in(times, 0.5) <= 50


async def test_no_wall_clock_of_a_client_matters(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
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
async def test_a_round_trip_longer_than_the_horizon_neither_overdraws_nor_stalls(server: RedisServer) -> None:
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


async def test_members_send_the_quota_at_most_while_redis_is_away(
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
async def test_members_may_wait_for_redis_instead(server: RedisServer) -> None:
    times, (killed, back) = await outage(server, 2, "wait", 1.0)
    assert not [one for one in times if killed + 0.25 < one < back]
    assert [one for one in times if one > back]
    assert most_in(times, 0.5) <= 50


async def test_a_member_that_never_reached_redis_sends_nothing() -> None:
    server = RedisServer()  # not started
    async with limiters(server.url, 1, timeout=0.1) as (limiter,):
        with pytest.raises(RateLimitedError):
            async with limiter.permit(E, account="acme", max_wait=1.5):
                pass


# -- bad input -------------------------------------------------------------------------------------------------------

SECRET = "hunter2-very-secret"


def shown(error: BaseException | None) -> str:
    """Return all that a log of this error might show, its chain included."""
    found = ""
    while error is not None:
        found += "".join(traceback.format_exception(error)) + repr(error) + repr(error.args) + repr(error.__context__)
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@host:6379/0",
        f"redis://:{SECRET}@host:port/0",
        "",
        None,
        6379,
        f"redis//{SECRET}",
        f"redis://host:{SECRET}/0",
    ],
)
def test_a_wrong_url_is_an_error_at_once_and_shows_no_password(url: Any) -> None:
    with pytest.raises(ConfigurationError, match="write redis://host:6379/0") as caught:
        RedisQuota(url)
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"on_outage": "open"}, "on_outage must be"), ({"timeout": 0}, "timeout must be"), ({"timeout": True}, "timeout"),
     ({"namespace": "{a}"}, "namespace must be"), ({"namespace": ""}, "namespace"), ({"salt": ""}, "salt must be"),
     ({"salt": b"x"}, "salt must be")],
)  # fmt: skip
def test_a_wrong_setting_is_an_error_at_once(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RedisQuota("redis://127.0.0.1", **wrong)


def test_no_password_in_the_repr() -> None:
    assert SECRET not in repr(RedisQuota(f"redis://user:{SECRET}@127.0.0.1:1/0"))


def test_a_missing_redis_py_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aelyst-async\[redis\]'"):
        RedisQuota("redis://127.0.0.1")


async def refused(shared: RedisQuota) -> ConfigurationError:
    """Return the error that a caller gets who waits for a permit."""
    limiter = RateLimiter(quotas={"*": TEN}, shared=shared)
    async with shared:
        with pytest.raises(ConfigurationError) as caught:
            async with limiter.permit(E):
                pass
    assert "\n" not in str(caught.value)
    assert limiter.snapshot()[0].waiting == 0
    return caught.value


@pytest.mark.parametrize("password", ["", f"wrong-{SECRET}"])
async def test_a_wrong_password_reaches_the_caller_and_no_log(password: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RedisServer("--requirepass", SECRET) as server:
        url = server.url.replace("//", f"//:{password}@" if password else "//")
        error = await refused(RedisQuota(url, timeout=PATIENT))
    assert "refused user or password" in str(error)
    assert SECRET not in shown(error) + caplog.text


async def test_the_right_password_is_used_and_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RedisServer("--requirepass", SECRET) as server:
        async with limiters(server.url.replace("//", f"//:{SECRET}@"), 1, timeout=0.1) as (limiter,):
            await take(limiter, [])
            server.kill()
            with pytest.raises(RateLimitedError) as caught:
                async with limiter.permit(E, account="acme", max_wait=0.0):
                    pass
            await asyncio.sleep(0.5)
    assert SECRET not in shown(caught.value) + caplog.text


@pytest.mark.parametrize(
    ("command", "key"),
    [("SET {aelyst}:members x", "string"), ("HSET {aelyst}:members a b", "hash of another program"),
     ("RPUSH {aelyst}:members x", "list")],
)  # fmt: skip
async def test_a_key_of_another_program_is_left_alone(server: RedisServer, command: str, key: str) -> None:
    async with Redis.from_url(server.url) as redis:
        await redis.execute_command(*command.split())  # type: ignore[no-untyped-call]
        before = await redis.dump("{aelyst}:members")
        assert "choose another namespace" in str(await refused(RedisQuota(server.url, timeout=PATIENT)))
        assert await redis.dump("{aelyst}:members") == before, key


async def test_two_quotas_with_different_salts_are_an_error(server: RedisServer) -> None:
    async with RedisQuota(server.url, timeout=PATIENT, salt="one") as first:
        await first.reserve(demand(), 1)
    for salt in ("two", None):
        error = await refused(RedisQuota(server.url, timeout=PATIENT, salt=salt))
        assert "use one salt in all processes, or another namespace" in str(error)
    async with RedisQuota(server.url, timeout=PATIENT, salt="one", namespace="other") as other:
        await other.reserve(demand(), 1)
    async with RedisQuota(server.url, timeout=PATIENT, salt="one") as again:
        await again.reserve(demand(), 1)


async def test_a_server_that_is_too_old_is_named() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                count = int((await reader.readuntil(b"\r\n"))[1:])
                words = []
                for _ in range(count):
                    size = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(size + 2))[:-2].upper())
                info = b"redis_version:5.0.14\r\n"
                if words[0] == b"INFO":
                    writer.write(b"$%d\r\n%s\r\n" % (len(info), info))
                else:
                    writer.write(b"-ERR unknown command\r\n" if words[0] == b"HELLO" else b"+OK\r\n")
        writer.close()

    old = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{old.sockets[0].getsockname()[1]}/0?protocol=2"
    assert "this is Redis 5.0.14; use Redis 6 or later, or Valkey" in str(await refused(RedisQuota(url, timeout=2.0)))
    old.close()


async def test_keys_name_nobody_have_one_hash_tag_and_expire(server: RedisServer) -> None:
    async with RedisQuota(server.url, timeout=PATIENT) as shared, Redis.from_url(server.url) as redis:
        limiter = RateLimiter(shared=shared, quotas={"*": Quota(10, scope="path")})
        path = "/contact/phone:+60123456789"
        async with limiter.permit(E, account="secret-account", path=path) as permit:
            permit.observe(200, {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "9"})
        keys = [key async for key in redis.scan_iter()]
        assert len(keys) == 2
        for key in keys:
            assert key.startswith(b"{aelyst}:")
            assert await redis.ttl(key) > 0
            stored = repr(key) + repr(await redis.hgetall(key))
            assert not [secret for secret in ("secret-account", "60123456789", "contact") if secret in stored]


# -- the clock -------------------------------------------------------------------------------------------------------


def test_clock_keeps_the_fastest_reply_and_notices_a_clock_set_back() -> None:
    clock = module._Clock()
    clock.answered(100.0, 100.2, 1100.1)  # 0.1 s each way
    assert clock.loop_time(1100.1) == pytest.approx(100.2)
    clock.answered(110.2, 110.22, 1110.21)  # a faster one is believed by and by
    assert clock.loop_time(1110.21) == pytest.approx(110.31 - 0.09, abs=0.011)
    clock.answered(111.0, 111.4, 1111.2)  # a slow one changes little
    assert clock.loop_time(1111.2) == pytest.approx(111.22, abs=0.011)
    assert clock.lead == pytest.approx(0.19, abs=0.02)
    clock.answered(113.0, 113.02, 603.01)  # set back by 500 s
    assert clock.loop_time(603.01) == pytest.approx(113.02)
    clock.answered(114.0, 114.02, 2604.01)  # set forward
    assert clock.loop_time(2604.01) == pytest.approx(114.02)


def test_importing_the_limiter_does_not_import_redis() -> None:
    check = "import sys, aelyst_async.ratelimit; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
