"""Credentials: strings, callables, rotation, and callables that fail."""

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
    """A callable object whose `__call__` is async, as in clients of secret stores."""

    async def __call__(self) -> str:
        return "from-object"


@pytest.mark.parametrize(
    ("source", "expected"),
    [("plain", "plain"), (sync_source, "from-sync"), (async_source, "from-async"), (Vault(), "from-object")],
)
async def test_credential_may_be_a_string_or_a_callable(aelyst: Opener, source: Any, expected: str) -> None:
    async with RawServer(FOUND) as server:
        await aelyst(server.url, source).get("id:1")
    assert server.requests[0].headers["authorization"] == f"Bearer {expected}"


async def test_query_key_with_special_characters_arrives_unchanged() -> None:
    key = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~%2B"
    async with RawServer(reply(200, {"contactId": "a"})) as server, DmChampGateway(key, base_url=server.url) as gateway:
        await gateway.get("phone:+1")
    assert server.requests[0].query == {"phoneNumber": "+1", "apiKey": key}
    assert "authorization" not in server.requests[0].headers


async def test_next_attempt_uses_a_rotated_credential(aelyst: Opener) -> None:
    keys = iter(["one", "two", "three"])
    async with RawServer(reply(500), reply(500), FOUND) as server:
        await aelyst(server.url, lambda: next(keys)).get("id:1")
    assert [seen.headers["authorization"] for seen in server.requests] == ["Bearer one", "Bearer two", "Bearer three"]


async def test_rotation_keeps_the_limiter_account() -> None:
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
async def test_failing_callable_raises_configuration_error_without_its_text(aelyst: Opener, source: Any) -> None:
    async with RawServer(FOUND) as server:
        with pytest.raises(errors.ConfigurationError, match="VaultError") as caught:
            await aelyst(server.url, source).get("id:1")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert server.requests == []


@pytest.mark.parametrize("value", [None, "", b"bytes", "two\nlines", "ü", 5])
async def test_callable_with_an_invalid_result_raises_configuration_error(aelyst: Opener, value: Any) -> None:
    async with RawServer(FOUND) as server:
        with pytest.raises(errors.ConfigurationError, match="token"):
            await aelyst(server.url, lambda: value).get("id:1")
    assert server.requests == []


async def test_call_can_be_cancelled_while_the_callable_runs(aelyst: Opener) -> None:
    async def stuck() -> str:
        await asyncio.sleep(3600)
        return "never"

    gateway = aelyst("http://127.0.0.1:9", stuck)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(gateway.get("id:1"), 0.05)


class Hanging:
    """An async callable that returns `good` times and then hangs. It ignores the first cancellation."""

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
async def test_hanging_callable_times_out_and_holds_no_permit(aelyst: Opener, settings: dict[str, Any]) -> None:
    limiter, lent = free_limiter()
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(errors.RequestTimeoutError, match="token: the callable") as caught:
        await aelyst("http://127.0.0.1:9", Hanging(), limiter=lent, **settings).get("id:1")
    assert 0.15 < loop.time() - began < 4
    assert (caught.value.attempts, caught.value.may_have_been_applied) == (0, False)
    assert limiter.permits == []


async def test_hanging_callable_before_a_retry_keeps_the_earlier_error(aelyst: Opener) -> None:
    limiter, lent = free_limiter()
    async with RawServer(reply(500)) as server:
        with pytest.raises(errors.ServerError) as caught:
            await aelyst(server.url, Hanging(1), limiter=lent, timeout=0.3).get("id:1")
    assert (caught.value.attempts, len(server.requests)) == (1, 1)
    assert "took longer than" in vars(caught.value)["__notes__"][0]
    assert all(permit.left for permit in limiter.permits)


class Rotating:
    """Returns the tokens in turn, and then the last one forever."""

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
async def test_call_is_retried_once_after_401_with_a_rotated_credential(aelyst: Opener, retry: RetryPolicy) -> None:
    source = Rotating("old", "new")
    limiter, lent = free_limiter()
    async with RawServer(only("new", reply(200, {"code": "200", "message": "ok"}))) as server:
        gateway = aelyst(server.url, source, retry=retry, limiter=lent)
        receipt = await gateway.create(AelystFields(first_name="Ann"), identifier="phone:+1")
    assert receipt.created is True
    assert [seen.headers["authorization"] for seen in server.requests] == ["Bearer old", "Bearer new"]
    assert source.asked == 2
    assert len(limiter.permits) == 2


async def test_call_is_retried_only_once_after_401(aelyst: Opener) -> None:
    source = Rotating("a", "b", "c", "d")
    async with RawServer(only("z", FOUND)) as server:
        with pytest.raises(errors.AuthenticationError) as caught:
            await aelyst(server.url, source).get("id:1")
    assert caught.value.attempts == len(server.requests) == 2


@pytest.mark.parametrize("source", ["same", Rotating("same"), Rotating("same", "")])
async def test_call_is_not_retried_after_401_with_the_same_credential(aelyst: Opener, source: Any) -> None:
    async with RawServer(reply(401)) as server:
        with pytest.raises(errors.AuthenticationError) as caught:
            await aelyst(server.url, source).get("id:1")
    assert caught.value.attempts == len(server.requests) == 1
    assert caught.value.__context__ is None


async def test_call_is_not_retried_after_403(aelyst: Opener) -> None:
    source = Rotating("a", "b")
    async with RawServer(reply(403)) as server:
        with pytest.raises(errors.AuthenticationError):
            await aelyst(server.url, source).get("id:1")
    assert (len(server.requests), source.asked) == (1, 1)


@virtual
async def test_credential_is_fetched_again_after_waiting_for_a_permit() -> None:
    """A token that was valid when the call began may have expired while the call waited for its permit."""

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


async def test_account_uses_the_account_attribute_of_a_callable() -> None:
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


async def test_account_is_a_stable_hash_per_credential_provider_and_url() -> None:
    def gateway(token: Any, url: str = "https://a.example/v1") -> AelystGateway:
        return AelystGateway(token, base_url=url)

    name = await gateway("token-1").account()
    assert len(name) == 32
    assert int(name, 16) >= 0
    # The value must never change: a journal bound to an account must open again after an upgrade.
    assert name == fingerprint("token-1", "aelyst", "https://a.example/v1")
    assert name == await gateway(lambda: "token-1").account()
    others = [
        await gateway("token-2").account(),
        await gateway("token-1", "https://b.example/v1").account(),
        await DmChampGateway("token-1", base_url="https://a.example/v1").account(),
        await gateway("token-1").account(b"key"),
    ]
    assert len({name, *others}) == 5


def test_fingerprint_is_stable_and_separates_its_parts() -> None:
    assert fingerprint("secret", "aelyst", "https://api.aelyst.ai/v1") == "5eb54421ac40f923b9c988c8f9b6cc6c"
    assert fingerprint("a", "b", "c") != fingerprint("a", "bc", "") != fingerprint("ab", "", "c")


def test_repr_hides_the_credential() -> None:
    assert "hunter2" not in repr(Credential("hunter2", "token"))
    assert "hunter2" not in repr(AelystGateway("hunter2"))


@pytest.mark.parametrize("gone", ["raises", "empty", "closed"])
async def test_unsendable_retry_raises_the_error_of_the_earlier_attempt(aelyst: Opener, gone: str) -> None:
    """A PUT that may have been applied must not end as an error that is raised before any request."""
    gateway: AelystGateway

    asked = 0

    def source() -> str:
        nonlocal asked
        asked += 1
        if asked == 1 or gone == "closed":
            return "key"
        if gone == "empty":
            return ""
        raise RuntimeError("the secret store is down")

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
