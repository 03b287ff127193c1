"""`RedisQuota` with wrong settings, passwords, servers and keys: an error of one line, which shows no password."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import traceback
from typing import Any

import pytest
from redis.asyncio import Redis

import aelyst_async.ratelimit.shared.redis as module
from aelyst_async.errors import ConfigurationError, RateLimitedError
from aelyst_async.ratelimit import Quota, RateLimiter, RedisQuota
from tests.ratelimit.members import PATIENT, TEN, E, demand, limiters, take
from tests.servers_external import RedisServer

# -- settings and servers --------------------------------------------------------------------------------------------

SECRET = "hunter2-very-secret"


def shown(error: BaseException | None) -> str:
    """Return all that a log of this error might show, with its chain."""
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
def test_wrong_url_is_rejected_without_showing_the_password(url: Any) -> None:
    with pytest.raises(ConfigurationError, match="write redis://host:6379/0") as caught:
        RedisQuota(url)
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"on_outage": "open"}, "on_outage must be"), ({"timeout": 0}, "timeout must be"), ({"timeout": True}, "timeout"),
     ({"namespace": "{a}"}, "namespace must be"), ({"namespace": ""}, "namespace"), ({"salt": ""}, "salt must be"),
     ({"salt": b"x"}, "salt must be")],
)  # fmt: skip
def test_wrong_setting_is_rejected(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RedisQuota("redis://127.0.0.1", **wrong)


def test_repr_shows_no_password() -> None:
    assert SECRET not in repr(RedisQuota(f"redis://user:{SECRET}@127.0.0.1:1/0"))


def test_missing_redis_py_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aelyst-async\[redis\]'"):
        RedisQuota("redis://127.0.0.1")


async def refused(shared: RedisQuota) -> ConfigurationError:
    """Return the error that is raised to callers that wait for a permit."""
    limiter = RateLimiter(quotas={"*": TEN}, shared=shared)
    async with shared:
        with pytest.raises(ConfigurationError) as caught:
            async with limiter.permit(E):
                pass
    assert "\n" not in str(caught.value)
    assert limiter.snapshot()[0].waiting == 0
    return caught.value


@pytest.mark.parametrize("password", ["", f"wrong-{SECRET}"])
async def test_wrong_password_is_raised_to_the_caller_and_not_shown(
    password: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with RedisServer("--requirepass", SECRET) as server:
        url = server.url.replace("//", f"//:{password}@" if password else "//")
        error = await refused(RedisQuota(url, timeout=PATIENT))
    assert "refused user or password" in str(error)
    assert SECRET not in shown(error) + caplog.text


async def test_right_password_is_used_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
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
async def test_key_of_another_program_is_not_changed(server: RedisServer, command: str, key: str) -> None:
    async with Redis.from_url(server.url) as redis:
        await redis.execute_command(*command.split())  # type: ignore[no-untyped-call]
        before = await redis.dump("{aelyst}:members")
        assert "choose another namespace" in str(await refused(RedisQuota(server.url, timeout=PATIENT)))
        assert await redis.dump("{aelyst}:members") == before, key


async def test_different_salts_are_rejected(server: RedisServer) -> None:
    async with RedisQuota(server.url, timeout=PATIENT, salt="one") as first:
        await first.reserve(demand(), 1)
    for salt in ("two", None):
        error = await refused(RedisQuota(server.url, timeout=PATIENT, salt=salt))
        assert "use one salt in all processes, or another namespace" in str(error)
    async with RedisQuota(server.url, timeout=PATIENT, salt="one", namespace="other") as other:
        await other.reserve(demand(), 1)
    async with RedisQuota(server.url, timeout=PATIENT, salt="one") as again:
        await again.reserve(demand(), 1)


async def test_too_old_server_is_rejected() -> None:
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


async def test_keys_contain_no_names_have_one_hash_tag_and_expire(server: RedisServer) -> None:
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


def test_clock_uses_the_fastest_reply_and_notices_a_clock_that_was_set() -> None:
    clock = module._Clock()
    clock.answered(100.0, 100.2, 1100.1)  # 0.1 s each way
    assert clock.loop_time(1100.1) == pytest.approx(100.2)
    clock.answered(110.2, 110.22, 1110.21)  # a faster one is adopted slowly
    assert clock.loop_time(1110.21) == pytest.approx(110.31 - 0.09, abs=0.011)
    clock.answered(111.0, 111.4, 1111.2)  # a slow one changes little
    assert clock.loop_time(1111.2) == pytest.approx(111.22, abs=0.011)
    assert clock.lead == pytest.approx(0.19, abs=0.02)
    clock.answered(113.0, 113.02, 603.01)  # set back by 500 s
    assert clock.loop_time(603.01) == pytest.approx(113.02)
    clock.answered(114.0, 114.02, 2604.01)  # set forward
    assert clock.loop_time(2604.01) == pytest.approx(114.02)


def test_importing_the_limiter_imports_neither_redis_nor_the_shared_quota() -> None:
    check = (
        "import sys, aelyst_async.ratelimit; print(*[one for one in sys.modules if 'redis' in one or 'shared' in one])"
    )
    assert subprocess.check_output([sys.executable, "-c", check], text=True).strip() == ""
