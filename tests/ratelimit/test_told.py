"""Quotas set by the user or a header, quotas shared through a `SharedQuota`, and the aiohttp middleware."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aelyst_async import Quota as ExportedQuota
from aelyst_async.errors import ConfigurationError, RateLimitedError
from aelyst_async.ratelimit import Demand, Quota, RateLimiter, Reservation
from tests.ratelimit.simulator import ENDPOINT, Server
from tests.virtual_time import virtual

E = ENDPOINT
PATH = "/contact/id:1"


async def burst(limiter: RateLimiter, number: int, server: Server | None = None, **how: Any) -> list[float]:
    """Send `number` requests as soon as they may go; return when each went, in seconds from now."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    times: list[float] = []

    async def one() -> None:
        async with limiter.permit(how.get("endpoint", E), path=how.get("path")) as permit:
            times.append(loop.time() - began)
            await asyncio.sleep(0.01)
            permit.observe(*(server.ask(loop.time()) if server is not None else (200, {})))

    await asyncio.gather(*[one() for _ in range(number)])
    return times


def test_quota_is_exported_from_the_package() -> None:
    assert ExportedQuota is Quota


@virtual
async def test_burst_below_a_told_quota_is_sent_at_once() -> None:
    times = await burst(RateLimiter(quotas={E: Quota(50, per=1.0)}), 20)
    assert max(times) == 0


@virtual
async def test_told_quota_is_not_exceeded_in_any_window() -> None:
    times = await burst(RateLimiter(quotas={E: Quota(10, per=2.0)}), 60)
    assert all(later - earlier >= 2.0 for earlier, later in zip(times, times[10:], strict=False))
    assert times[-1] == pytest.approx(10, abs=0.2)


@virtual
async def test_told_quota_wins_over_the_servers() -> None:
    limiter, server = RateLimiter(quotas={E: Quota(5, per=1.0)}), Server(kind="sliding", limit=100, window=9.0)
    server.headers = "window"
    times = await burst(limiter, 20, server)
    assert times[-1] == pytest.approx(3, abs=0.2)
    (bucket,) = limiter.snapshot()
    assert (bucket.limit, bucket.window, bucket.source, bucket.rate) == (5, 1.0, "user", 5.0)


@virtual
async def test_window_in_a_header_wins_over_the_learned_one() -> None:
    limiter = RateLimiter()
    await burst(limiter, 20, Server(kind="sliding", limit=10, window=3.0, headers="window"))
    (bucket,) = limiter.snapshot()
    assert (bucket.limit, bucket.window, bucket.source) == (10, 3.0, "server")


@virtual
async def test_snapshot_says_that_the_window_is_learned() -> None:
    limiter = RateLimiter()
    await burst(limiter, 40, Server(kind="sliding", limit=10, window=1.0))
    (bucket,) = limiter.snapshot()
    assert (bucket.window, bucket.source, bucket.state) == (1.0, "learned", "known")


@pytest.mark.parametrize("told", [True, False])
@virtual
async def test_share_bounds_the_use_of_the_quota(told: bool) -> None:
    limiter = RateLimiter(quotas={E: Quota(100, per=1.0)} if told else None, share=0.5)
    server = Server(kind="sliding", limit=100, window=1.0)
    await burst(limiter, 500, server)
    accepted = server.accepted
    # Requests that are sent in different windows may arrive within one, by the time that the way takes.
    assert all(later - earlier >= 0.98 for earlier, later in zip(accepted, accepted[51:], strict=False))
    assert accepted[-1] - accepted[0] < 12


@virtual
async def test_told_scope_separates_paths_or_joins_endpoints() -> None:
    limiter = RateLimiter(quotas={E: Quota(2, per=1.0, scope="path"), "*": Quota(2, per=1.0, scope="account")})
    times = await asyncio.gather(*[burst(limiter, 2, path=f"/contact/{number}") for number in range(5)])
    assert max(max(one) for one in times) == 0
    first, second = await asyncio.gather(*[burst(limiter, 2, endpoint=name) for name in ("GET /a", "GET /b")])
    assert max(first + second) >= 1.0
    scopes = {(bucket.endpoint, bucket.scope) for bucket in limiter.snapshot()}
    assert scopes == {(E, "path"), ("*", "account")}


@virtual
async def test_permit_waits_for_the_reset_of_the_server() -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    headers = {"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "37"}
    async with limiter.permit(E) as permit:
        permit.observe(200, headers)
    began = loop.time()
    async with limiter.permit(E):
        assert 37 <= loop.time() - began <= 39


@pytest.mark.parametrize("arguments", [(0,), (1.5,), (True,), (5, 0), (5, -1.0), (5, float("inf")), (5, 1.0, "host")])
def test_quota_rejects_wrong_values(arguments: Any) -> None:
    with pytest.raises(ConfigurationError, match="Quota"):
        Quota(*arguments)


@pytest.mark.parametrize("quotas", [5, {"/contact": Quota(5)}, {E: 5}, {1: Quota(5)}, [E]])
def test_limiter_rejects_wrong_quotas(quotas: Any) -> None:
    with pytest.raises(ConfigurationError, match="quotas"):
        RateLimiter(quotas=quotas)


@pytest.mark.parametrize("share", [0, 1.5, True, "half", float("nan")])
def test_limiter_rejects_a_wrong_share(share: Any) -> None:
    with pytest.raises(ConfigurationError, match="share"):
        RateLimiter(share=share)


def test_limiter_rejects_a_shared_quota_without_its_methods_and_shows_no_password() -> None:
    with pytest.raises(ConfigurationError, match=r"shared must be a SharedQuota such as RedisQuota\(url\), not str$"):
        RateLimiter(shared="redis://:hunter2@127.0.0.1")  # type: ignore[arg-type]


# -- a quota that several processes share ----------------------------------------------------------------------------


class Reserve:
    """A `SharedQuota` in memory: a theoretical arrival time for each bucket (GCRA with a burst of one)."""

    def __init__(self) -> None:
        self.next: dict[str, float] = {}
        self.trips = 0
        self.broken = False
        self.pauses: list[float] = []

    async def reserve(self, demand: Demand, want: int) -> Reservation:
        await asyncio.sleep(0.002)
        if self.broken:
            raise OSError("gone")
        assert demand.quota is not None
        self.trips += 1
        now, every = asyncio.get_running_loop().time(), 1.02 * demand.quota.per / demand.quota.limit
        begin = max(now, self.next.get(demand.bucket, now))
        if begin - now > 0.1 or not want:
            return Reservation(first=begin - 0.1)
        want = min(want, 1 + int((now + 0.1 - begin) / every))
        self.next[demand.bucket] = begin + want * every
        return Reservation(want, begin, every)

    async def report(self, demand: Demand, limit: int | None, remaining: int | None, pause: float | None) -> None:
        if pause is not None:
            self.pauses.append(pause)
            self.next[demand.bucket] = asyncio.get_running_loop().time() + pause


@virtual
async def test_limiters_with_a_shared_quota_keep_it_together() -> None:
    reserve, server, loop = Reserve(), Server(kind="sliding", limit=100, window=1.0), asyncio.get_running_loop()
    limiters = [RateLimiter(quotas={E: Quota(100, per=1.0)}, shared=reserve) for _ in range(4)]
    began = loop.time()
    await asyncio.gather(*[burst(limiter, 250, server) for limiter in limiters])
    assert loop.time() - began == pytest.approx(10, abs=0.8)
    assert len(server.refused) <= 1
    assert reserve.trips < 500


@virtual
async def test_limiter_sends_nothing_while_its_shared_quota_fails(caplog: pytest.LogCaptureFixture) -> None:
    reserve, loop = Reserve(), asyncio.get_running_loop()
    reserve.broken = True
    limiter = RateLimiter(quotas={E: Quota(10, per=1.0)}, shared=reserve)
    began = loop.time()
    task = asyncio.create_task(burst(limiter, 5))
    await asyncio.sleep(9.5)
    assert not task.done()
    assert limiter.snapshot()[0].sent == 0
    with pytest.raises(RateLimitedError, match=r"shared quota cannot be reached \(Reserve: OSError\)") as caught:
        async with limiter.permit(E, max_wait=0.0):
            pass
    assert caught.value.retry_after is None
    reserve.broken = False
    await task
    assert loop.time() - began == pytest.approx(10.4, abs=0.2)
    assert len(caplog.records) == 1


@virtual
async def test_shared_quota_is_told_of_refusals_and_cancelled_callers_do_no_harm() -> None:
    reserve = Reserve()
    limiter = RateLimiter(quotas={E: Quota(10, per=1.0)}, shared=reserve)
    async with limiter.permit(E) as permit:
        permit.observe(429, {"Retry-After": "3"})
    await asyncio.sleep(0)
    assert reserve.pauses == [3.0]
    waiting = [asyncio.create_task(burst(limiter, 1)) for _ in range(5)]
    await asyncio.sleep(0.1)
    for task in waiting[:4]:
        task.cancel()
    assert 2.8 <= (await waiting[4])[0] <= 3.5
    assert limiter.snapshot()[0].waiting == 0


# -- as aiohttp middleware -------------------------------------------------------------------------------------------


middlewares = pytest.mark.skipif(
    not hasattr(aiohttp, "ClientMiddlewareType"), reason="client middlewares came with aiohttp 3.12"
)


@middlewares
async def test_middleware_waits_for_permits_and_learns() -> None:
    limiter = RateLimiter(quotas={"GET /thing/{id}": Quota(10, per=60.0)})
    app = web.Application()

    async def thing(_: web.Request) -> web.Response:
        return web.Response(headers={"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "3"})

    app.router.add_get("/thing/{id}", thing)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        middleware = limiter.middleware(endpoint="GET /thing/{id}")
        async with (
            aiohttp.ClientSession(middlewares=[middleware]) as session,
            session.get(f"{url}/thing/1") as response,
        ):
            assert response.status == 200
        (bucket,) = limiter.snapshot()
        assert (bucket.endpoint, bucket.remaining, bucket.sent) == ("GET /thing/{id}", 3, 1)
        by_request = limiter.middleware(lambda request: f"{request.method} {request.url.path}", account="me")
        both = [by_request, limiter.middleware()]
        async with aiohttp.ClientSession(middlewares=both) as session, session.get(f"{url}/thing/2") as response:
            assert response.status == 200
        names = {(bucket.account, bucket.endpoint) for bucket in limiter.snapshot()}
        assert {("me", "GET /thing/2"), (url[7:], f"GET {url[7:]}")} <= names
    finally:
        await runner.cleanup()


@middlewares
async def test_middleware_gives_the_permit_back_when_it_cannot_connect() -> None:
    limiter = RateLimiter()
    async with aiohttp.ClientSession(middlewares=[limiter.middleware("GET /x")]) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://127.0.0.1:9/x")
    (bucket,) = limiter.snapshot()
    assert (bucket.sent, bucket.in_flight) == (0, 0)


def test_middleware_rejects_an_aiohttp_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(aiohttp, "ClientMiddlewareType", raising=False)
    with pytest.raises(ConfigurationError, match=r"3\.12"):
        RateLimiter().middleware()
