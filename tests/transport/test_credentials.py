"""Credentials: texts, callables, rotation, and callables that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aelyst_async import RetryPolicy, errors
from aelyst_async.transport.credentials import Credential, fingerprint
from aelyst_providers.aelyst import AelystFields, AelystGateway
from aelyst_providers.dmchamp import DmChampGateway
from tests.doubles import Answer as Answered
from tests.doubles import free_limiter, scripted
from tests.servers import Answer, Connection, RawServer, Seen, reply, stop
from tests.transport.conftest import Opener
from tests.virtual_time import virtual

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


class Hanging:
    """An async callable that answers `good` times, and then hangs; it ignores the first cancellation, as some do."""

    def __init__(self, good: int = 0) -> None:
        self.left = good

    async def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            return f"key-{self.left}"
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(5)
        return "late"


@pytest.mark.parametrize(
    "settings", [{"timeout": 0.2}, {"retry": RetryPolicy(total=0.2)}, {"timeout": 0.2, "retry": RetryPolicy(total=1)}]
)
async def test_a_source_that_hangs_is_inside_the_time_out_and_holds_no_permit(
    aelyst: Opener, settings: dict[str, Any]
) -> None:
    limiter, lent = free_limiter()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(errors.RequestTimeoutError, match="token: the callable") as caught:
        await aelyst("http://127.0.0.1:9", Hanging(), limiter=lent, **settings).get("id:1")
    assert 0.15 < loop.time() - began < 4
    assert (caught.value.attempts, caught.value.may_have_been_applied) == (0, False)
    assert limiter.permits == []


async def test_a_source_that_hangs_before_a_repeat_leaves_the_error_of_the_attempt(aelyst: Opener) -> None:
    limiter, lent = free_limiter()
    async with RawServer(reply(500)) as server:
        with pytest.raises(errors.ServerError) as caught:
            await aelyst(server.url, Hanging(1), limiter=lent, timeout=0.3).get("id:1")
    assert (caught.value.attempts, len(server.requests)) == (1, 1)
    assert "took longer than" in vars(caught.value)["__notes__"][0]
    assert all(permit.left for permit in limiter.permits)


class Rotating:
    """Returns the tokens in turn, the last one for ever."""

    def __init__(self, *tokens: str, account: str | None = None) -> None:
        self.tokens = list(tokens)
        self.asked = 0
        if account is not None:
            self.account = account

    def __call__(self) -> str:
        self.asked += 1
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]


def only(token: str, good: Answer) -> Answer:
    async def answer(connection: Connection, seen: Seen) -> bool:
        refused = seen.headers["authorization"] != f"Bearer {token}"
        return await (reply(401, {"code": 401, "message": "expired"}) if refused else good)(connection, seen)

    return answer


@pytest.mark.parametrize("retry", [RetryPolicy(max_attempts=1), RetryPolicy()], ids=["once", "default"])
async def test_a_401_is_repeated_once_with_a_credential_that_has_rotated(aelyst: Opener, retry: RetryPolicy) -> None:
    source = Rotating("old", "new")
    limiter, lent = free_limiter()
    async with RawServer(only("new", reply(200, {"code": "200", "message": "ok"}))) as server:
        gateway = aelyst(server.url, source, retry=retry, limiter=lent)
        receipt = await gateway.create(AelystFields(first_name="Ann"), identifier="phone:+1")
    assert receipt.created is True
    assert [seen.headers["authorization"] for seen in server.requests] == ["Bearer old", "Bearer new"]
    assert source.asked == 2
    assert len(limiter.permits) == 2


async def test_a_401_is_not_repeated_more_than_once(aelyst: Opener) -> None:
    source = Rotating("a", "b", "c", "d")
    async with RawServer(only("z", FOUND)) as server:
        with pytest.raises(errors.AuthenticationError) as caught:
            await aelyst(server.url, source).get("id:1")
    assert caught.value.attempts == len(server.requests) == 2


@pytest.mark.parametrize("source", ["same", Rotating("same"), Rotating("same", "")])
async def test_a_401_with_the_same_credential_is_final(aelyst: Opener, source: Any) -> None:
    async with RawServer(reply(401)) as server:
        with pytest.raises(errors.AuthenticationError) as caught:
            await aelyst(server.url, source).get("id:1")
    assert caught.value.attempts == len(server.requests) == 1
    assert caught.value.__context__ is None


async def test_a_403_is_final(aelyst: Opener) -> None:
    source = Rotating("a", "b")
    async with RawServer(reply(403)) as server:
        with pytest.raises(errors.AuthenticationError):
            await aelyst(server.url, source).get("id:1")
    assert (len(server.requests), source.asked) == (1, 1)


@virtual
async def test_a_credential_that_waited_in_the_queue_is_asked_for_again_without_the_permit() -> None:
    """What was a fresh token when the call began may have expired when its turn comes."""

    class Slow:
        def __init__(self) -> None:
            self.number = 0
            self.holding: list[int] = []

        async def __call__(self) -> str:
            self.number += 1
            self.holding.append(sum(permit.granted and not permit.left for permit in limiter.permits))
            await asyncio.sleep(0.1)
            return f"key-{self.number}"

    limiter, lent = free_limiter()
    source = Slow()
    session, borrowed = scripted([Answered(200, {"id": 1})])
    gateway = AelystGateway(source, base_url="http://127.0.0.1:9", limiter=lent, session=borrowed)
    make = limiter.permit

    def slow_permit(endpoint: str, **asked: Any) -> Any:
        permit = make(endpoint, **asked)
        permit.waited = 5.0 if len(limiter.permits) == 1 else 0.0
        return permit

    vars(limiter)["permit"] = slow_permit
    await gateway.get("id:1")
    assert [sent.headers["Authorization"] for sent in session.sent] == ["Bearer key-2"]
    assert source.holding == [0, 0]
    assert [permit.was_unsent for permit in limiter.permits] == [True, False]
    assert [permit.asked["retry"] for permit in limiter.permits] == [False, True]


async def test_a_callable_may_name_its_account() -> None:
    def account(source: Any) -> Any:
        return AelystGateway(source, base_url="https://a.example/v1").account()

    name = await account(Rotating("one", account="acme"))
    assert name == await account(Rotating("two", account="acme"))
    assert name != await account(Rotating("one", account="other"))
    assert name != await account("acme")
    source = Rotating("one", "two", account="acme")
    gateway = AelystGateway(source, base_url="https://a.example/v1")
    assert await gateway.account(b"key") == await gateway.account(b"key") != name
    assert source.asked == 0
    with pytest.raises(errors.ConfigurationError, match="account"):
        AelystGateway(Rotating("one", account=""))


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
