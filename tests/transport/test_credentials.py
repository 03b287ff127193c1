"""Credentials: texts, callables, rotation, and callables that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aelyst_async import errors
from aelyst_async.transport.credentials import Credential, fingerprint
from aelyst_providers.aelyst import AelystFields, AelystGateway
from aelyst_providers.dmchamp import DmChampGateway
from tests.doubles import free_limiter
from tests.servers import Connection, RawServer, Seen, reply, stop
from tests.transport.conftest import Opener

FOUND = reply(200, {"id": 1})


def sync_source() -> str:
    return "from-sync"


async def async_source() -> str:
    await asyncio.sleep(0)
    return "from-async"


class Vault:
    """A callable object whose `__call__` is async, as vault clients have it."""

    async def __call__(self) -> str:
        return "from-object"


@pytest.mark.parametrize(
    ("source", "expected"),
    [("plain", "plain"), (sync_source, "from-sync"), (async_source, "from-async"), (Vault(), "from-object")],
)
async def test_sources(aelyst: Opener, source: Any, expected: str) -> None:
    async with RawServer(FOUND) as server:
        await aelyst(server.url, source).get("id:1")
    assert server.requests[0].headers["authorization"] == f"Bearer {expected}"


async def test_a_key_in_the_query_arrives_as_it_is() -> None:
    key = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~%2B"
    async with RawServer(reply(200, {"contactId": "a"})) as server, DmChampGateway(key, base_url=server.url) as gateway:
        await gateway.get("phone:+1")
    assert server.requests[0].query == {"phoneNumber": "+1", "apiKey": key}
    assert "authorization" not in server.requests[0].headers


async def test_a_rotated_credential_is_used_by_the_next_attempt(aelyst: Opener) -> None:
    keys = iter(["one", "two", "three"])
    async with RawServer(reply(500), reply(500), FOUND) as server:
        await aelyst(server.url, lambda: next(keys)).get("id:1")
    assert [seen.headers["authorization"] for seen in server.requests] == ["Bearer one", "Bearer two", "Bearer three"]


async def test_rotation_keeps_what_the_limiter_has_learned() -> None:
    keys = iter(["one", "two", "three"])
    limiter, lent = free_limiter()
    async with (
        RawServer(FOUND) as server,
        AelystGateway(lambda: next(keys), base_url=server.url, limiter=lent) as gateway,
    ):
        await gateway.get("id:1")
        await gateway.get("id:1")
    assert len({permit.asked["account"] for permit in limiter.permits}) == 1


class VaultError(Exception):
    pass


def fails() -> str:
    raise VaultError("the secret is hunter2")


async def fails_later() -> str:
    await asyncio.sleep(0)
    raise VaultError("the secret is hunter2")


@pytest.mark.parametrize("source", [fails, fails_later])
async def test_a_source_that_fails(aelyst: Opener, source: Any) -> None:
    async with RawServer(FOUND) as server:
        with pytest.raises(errors.ConfigurationError, match="VaultError") as caught:
            await aelyst(server.url, source).get("id:1")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert server.requests == []


@pytest.mark.parametrize("value", [None, "", b"bytes", "two\nlines", "ü", 5])
async def test_a_source_that_returns_nonsense(aelyst: Opener, value: Any) -> None:
    async with RawServer(FOUND) as server:
        with pytest.raises(errors.ConfigurationError, match="token"):
            await aelyst(server.url, lambda: value).get("id:1")
    assert server.requests == []


async def test_cancelling_a_source_is_cancelling(aelyst: Opener) -> None:
    async def stuck() -> str:
        await asyncio.sleep(3600)
        return "never"

    gateway = aelyst("http://127.0.0.1:9", stuck)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(gateway.get("id:1"), 0.05)


async def test_account_names_but_does_not_tell() -> None:
    def gateway(token: Any, url: str = "https://a.example/v1") -> AelystGateway:
        return AelystGateway(token, base_url=url)

    name = await gateway("token-1").account()
    assert len(name) == 32
    assert int(name, 16) >= 0
    # Stable across processes, so it is pinned: a journal bound to an account must open again after an upgrade.
    assert name == fingerprint("token-1", "aelyst", "https://a.example/v1")
    assert name == await gateway(lambda: "token-1").account()
    others = [
        await gateway("token-2").account(),
        await gateway("token-1", "https://b.example/v1").account(),
        await DmChampGateway("token-1", base_url="https://a.example/v1").account(),
        await gateway("token-1").account(b"key"),
    ]
    assert len({name, *others}) == 5


def test_the_fingerprint_is_pinned_and_its_parts_are_kept_apart() -> None:
    assert fingerprint("secret", "aelyst", "https://api.aelyst.ai/v1") == "5eb54421ac40f923b9c988c8f9b6cc6c"
    assert fingerprint("a", "b", "c") != fingerprint("a", "bc", "") != fingerprint("ab", "", "c")


def test_reprs() -> None:
    assert "hunter2" not in repr(Credential("hunter2", "token"))
    assert "hunter2" not in repr(AelystGateway("hunter2"))


@pytest.mark.parametrize("gone", ["raises", "empty", "closed"])
async def test_a_repeat_that_cannot_be_sent_tells_of_the_attempt_before_it(aelyst: Opener, gone: str) -> None:
    """A PUT that may have been applied must not end as "the vault is down", raised before any request."""
    gateway: AelystGateway

    asked = 0

    def source() -> str:
        nonlocal asked
        asked += 1
        if asked == 1 or gone == "closed":
            return "key"
        if gone == "empty":
            return ""
        raise RuntimeError("the vault is down")

    async def drop(connection: Connection, seen: Seen) -> bool:
        if gone == "closed":
            closing.append(asyncio.ensure_future(gateway.aclose()))
        return await stop(connection, seen)

    closing: list[asyncio.Future[None]] = []
    async with RawServer(drop) as server:
        gateway = aelyst(server.url, source)
        with pytest.raises(errors.TransportError) as caught:
            await gateway.update("id:1", AelystFields(first_name="Ann"))
        await asyncio.gather(*closing)
    assert (caught.value.may_have_been_applied, caught.value.attempts, len(server.requests)) == (True, 1, 1)
    (note,) = vars(caught.value)["__notes__"]
    assert note.startswith("not repeated: ")
    assert caught.value.__context__ is None
