"""The scope of a quota: learned from fresh paths, and corrected when it was wrong."""

import asyncio
from collections.abc import Callable

from aelyst_async.ratelimit import RateLimiter
from aelyst_async.ratelimit.quota import AccountScope, PathScope
from tests.ratelimit.simulator import Server
from tests.virtual_time import virtual

E = "PUT /contact/{identifier}"


async def sync(
    limiter: RateLimiter, contacts: int, server_of: Callable[[str], Server], concurrency: int = 20
) -> tuple[float, int]:
    """Send one request for each of so many contacts; return the seconds taken and how many were refused."""
    loop = asyncio.get_running_loop()
    zero = loop.time()
    todo = iter(range(contacts))
    refused = 0

    async def work() -> None:
        nonlocal refused
        for number in todo:
            path = f"/contact/id:{number}"
            while True:
                async with limiter.permit(E, account="a", path=path) as permit:
                    await asyncio.sleep(0.002)
                    status, headers = server_of(path).ask(loop.time())
                    await asyncio.sleep(0.018)
                    permit.observe(status, headers)
                if status == 200:
                    break
                refused += 1

    await asyncio.gather(*[work() for _ in range(concurrency)])
    return loop.time() - zero, refused


@virtual
async def test_quota_per_path_is_learned_and_does_not_slow_distinct_contacts() -> None:
    limiter = RateLimiter()
    servers: dict[str, Server] = {}
    seconds, refused = await sync(
        limiter, 1000, lambda path: servers.setdefault(path, Server(kind="fixed", limit=5, window=1.0))
    )
    assert refused == 0
    assert seconds < 3  # 1,000 requests, 20 at a time, 20 ms each: 1 s; with a quota of the endpoint, 200 s
    last = limiter.snapshot()[-1]
    assert (last.scope, last.path) == ("path", "/contact/id:999")
    assert "full quota" in last.scope_reason


@virtual
async def test_quota_of_an_endpoint_is_not_taken_for_a_quota_per_path() -> None:
    limiter, server = RateLimiter(), Server(kind="fixed", limit=50, window=1.0, phase=0.2)
    seconds, refused = await sync(limiter, 600, lambda _: server)
    assert refused <= 3
    assert seconds < 15
    (bucket,) = limiter.snapshot()
    assert (bucket.scope, bucket.path) == ("endpoint", None)


@virtual
async def test_scope_is_the_endpoint_again_when_fresh_paths_are_refused() -> None:
    limiter = RateLimiter()
    servers: dict[str, Server] = {}
    shared = Server(kind="fixed", limit=5, window=1.0)

    def server_of(path: str) -> Server:
        if int(path.rpartition(":")[2]) < 200:
            return servers.setdefault(path, Server(kind="fixed", limit=5, window=1.0))
        return shared

    _, refused = await sync(limiter, 260, server_of)
    assert refused <= 40  # those under way when it became known, and those of learning anew
    bucket = limiter.snapshot()[-1]
    assert bucket.scope == "endpoint"
    assert "until a fresh path" in bucket.scope_reason


def test_path_scope_needs_fresh_paths_close_in_time() -> None:
    apart, close, same = PathScope(), PathScope(), PathScope()
    for number in range(20):
        apart.observe(f"/{number}", number * 10.0, 200, 5, 4)
        close.observe(f"/{number}", number * 0.01, 200, 5, 4)
        same.observe("/0", number * 0.01, 200, 5, 4)
    assert (apart.per_path, close.per_path, same.per_path) == (False, True, False)


def test_path_scope_learns_nothing_from_a_limit_of_one() -> None:
    scope = PathScope()
    assert not any(scope.observe(f"/{number}", number * 0.01, 200, 1, 0) for number in range(50))


def test_path_scope_needs_twice_the_proof_after_each_mistake() -> None:
    scope, number, needed = PathScope(), 0, []
    for _ in range(4):
        count = 0
        while not scope.per_path:
            number, count = number + 1, count + 1
            scope.observe(f"/{number}", number * 0.01, 200, 5, 4)
        needed.append(count)
        while scope.per_path:
            number += 1
            scope.observe(f"/{number}", number * 0.01, 429, 5, 0)
    assert needed == sorted(needed)
    assert needed[-1] >= 4 * needed[0]


def test_account_scope_pauses_only_when_two_endpoints_are_refused_at_the_same_time() -> None:
    account = AccountScope()
    assert not account.refused("a", 0.0, 5.0, unexpected=True)
    assert not account.refused("a", 1.0, 6.0, unexpected=True)
    assert not account.refused("b", 7.0, 9.0, unexpected=True)  # the pause of the other one is over
    assert account.refused("c", 8.0, 12.0, unexpected=True)
    assert account.paused_until == 12.0
    assert account.refused("d", 20.0, 25.0, unexpected=False)  # for a minute, one refusal is enough
    assert not account.refused("d", 500.0, 505.0, unexpected=False)
