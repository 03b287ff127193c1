"""No frame of a traceback holds the credential: cancelled calls, timeouts, refused settings.

Error trackers and `pytest --showlocals` record the local variables of a traceback's frames, of the error itself and of
its causes and contexts.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import types
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from multidict import MultiMapping
from yarl import URL

from aelyst_async import errors, open_gateway
from aelyst_async.fastapi import TenantGateways
from aelyst_async.transport.credentials import Secret
from aelyst_providers.aelyst import AelystFields, AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway
from tests.doubles import free_limiter
from tests.servers import Answer, RawServer, hang, head, raw

pytestmark = pytest.mark.hostile

modern: Any = asyncio  # includes the additions of Python 3.11

SECRET = "hunter2hunter2/+%41"
SLOW_BODY = raw(head(200, [("Content-Length", "90")]) + b'{"id"', *[b" "] * 60, pause=0.5)


def holds(value: object, depth: int = 4) -> bool:
    """Whether a local variable shows the credential, directly or in its items."""
    if isinstance(value, Secret):
        return False  # shows nothing
    if isinstance(value, str):
        return "hunter2" in value
    if isinstance(value, (bytes, bytearray)):
        return b"hunter2" in value
    if isinstance(value, URL):
        return "hunter2" in str(value)
    if depth and isinstance(value, (Mapping, MultiMapping)):
        return any(holds(key, depth - 1) or holds(item, depth - 1) for key, item in value.items())
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return any(holds(item, depth - 1) for item in value)
    if isinstance(value, (aiohttp.ClientRequest, aiohttp.ClientResponse)):
        return True
    return "hunter2" in repr(value)


def error_chain(error: BaseException, seen: dict[int, BaseException]) -> dict[int, BaseException]:
    """Return the error and its causes and contexts."""
    if id(error) not in seen:
        seen[id(error)] = error
        for other in (error.__cause__, error.__context__, *error.args, *getattr(error, "exceptions", ())):
            if isinstance(other, BaseException):
                error_chain(other, seen)
    return seen


def frames(error: BaseException) -> Iterator[types.FrameType]:
    for one in error_chain(error, {}).values():
        step = one.__traceback__
        while step is not None:
            yield step.tb_frame
            step = step.tb_next


def assert_shown_nowhere(error: BaseException) -> None:
    for frame in frames(error):
        if "/tests/" in frame.f_code.co_filename or "/asyncio/" in frame.f_code.co_filename:
            continue  # the caller's own variables
        for name, value in frame.f_locals.items():
            assert not holds(value), f"{frame.f_code.co_filename}:{frame.f_lineno} {name}"


def test_holds_finds_the_credential_in_every_container() -> None:
    for value in (SECRET, SECRET.encode(), URL(f"http://x/?k={SECRET}"), {"a": [SECRET]}, (b"hunter2",)):
        assert holds(value)


async def by_timeout(call: Callable[[], Awaitable[Any]], after: float) -> None:
    if sys.version_info >= (3, 11):
        async with modern.timeout(after):
            await call()
    else:
        await asyncio.wait_for(call(), after)


async def by_wait_for(call: Callable[[], Awaitable[Any]], after: float) -> None:
    await asyncio.wait_for(call(), after)


async def by_cancel(call: Callable[[], Awaitable[Any]], after: float) -> None:
    task = asyncio.ensure_future(call())
    await asyncio.sleep(after)
    task.cancel("from outside")
    await task


async def by_gather(call: Callable[[], Awaitable[Any]], after: float) -> None:
    together = asyncio.gather(call(), call())
    asyncio.get_running_loop().call_later(after, together.cancel)
    await together


INTERRUPTIONS = {"timeout": by_timeout, "wait_for": by_wait_for, "cancel": by_cancel, "gather": by_gather}
CALLS: dict[str, tuple[Any, Callable[[Any], Awaitable[Any]]]] = {
    "aelyst get": (AelystGateway, lambda gateway: gateway.get("id:1")),
    "aelyst create": (
        AelystGateway,
        lambda gateway: gateway.create(AelystFields(first_name="Ann"), identifier="phone:+1"),
    ),
    "dmchamp get": (DmChampGateway, lambda gateway: gateway.get("phone:+1")),
    "callab get": (CallabGateway, lambda gateway: gateway.get("id:1")),
}


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("stage", ["sending", "reading"])
async def test_cancelled_call_drops_the_frames_that_saw_the_credential(
    interruption: str, call: str, stage: str
) -> None:
    kind, make = CALLS[call]
    answer: Answer = hang if stage == "sending" else SLOW_BODY
    async with RawServer(answer) as server, kind(SECRET, base_url=server.url, limiter=free_limiter()[1]) as gateway:
        after = 0.05
        while True:  # on a busy machine it takes longer until the request is sent
            with pytest.raises((asyncio.CancelledError, asyncio.TimeoutError)) as caught:
                await INTERRUPTIONS[interruption](lambda: make(gateway), after)
            assert_shown_nowhere(caught.value)
            if server.requests:
                break
            after *= 3
    if interruption == "cancel" and sys.version_info >= (3, 11):  # before, asyncio itself loses the message
        assert caught.value.args == ("from outside",)


@pytest.mark.parametrize("borrowed", [False, True])
async def test_cancellation_keeps_its_message_and_the_task_state(borrowed: bool) -> None:
    """Message, task state and `cancelling()` are the same as without this library."""
    async with RawServer(hang) as server, aiohttp.ClientSession() as session:
        gateway = AelystGateway(
            SECRET, base_url=server.url, limiter=free_limiter()[1], session=session if borrowed else None
        )
        caught_args: list[Any] = []

        async def caller() -> None:
            try:
                await gateway.get("id:1")
            except asyncio.CancelledError as error:
                caught_args.append(error.args)
                raise

        task: Any = asyncio.create_task(caller())
        await server.saw(1)
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught_args == [("why",)]
        assert task.cancelled()
        if sys.version_info >= (3, 11):
            assert task.cancelling() == 1
        assert_shown_nowhere(caught.value)
        await gateway.aclose()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is new in 3.11")
async def test_nested_timeouts_expire_independently() -> None:
    async with RawServer(hang) as server, AelystGateway(SECRET, base_url=server.url) as gateway:
        async with modern.timeout(30) as outer:
            with pytest.raises(TimeoutError):
                async with modern.timeout(0.05):
                    await gateway.get("id:1")
        assert not outer.expired()
        assert modern.current_task().cancelling() == 0


async def test_cancelled_call_leaves_no_reference_cycle() -> None:
    async with RawServer(hang) as server, AelystGateway(SECRET, base_url=server.url) as gateway:
        cycles: list[object] = []
        for _ in range(2):  # the first round imports modules and fills caches
            gc.collect()
            gc.disable()
            try:
                task = asyncio.create_task(gateway.get("id:1"))
                await server.saw(1)
                await asyncio.sleep(0.02)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                del task
                await asyncio.sleep(0.02)
                gc.set_debug(gc.DEBUG_SAVEALL)
                gc.collect()
                cycles = [item for item in gc.garbage if isinstance(item, (BaseException, types.FrameType))]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()
    assert cycles == []


async def test_cancelled_credential_callable_is_in_no_frame() -> None:
    async def source() -> str:
        token = SECRET
        await asyncio.sleep(3600)
        return token

    gateway = AelystGateway(source, base_url="http://127.0.0.1:9")
    with pytest.raises(asyncio.TimeoutError) as caught:
        await asyncio.wait_for(gateway.get("id:1"), 0.05)
    assert_shown_nowhere(caught.value)
    assert not any(frame.f_code.co_name == "source" for frame in frames(caught.value))


@pytest.mark.parametrize("value", [SECRET + "\n", SECRET + "é", SECRET.encode()])
async def test_invalid_credential_from_a_callable_is_in_no_frame(value: Any) -> None:
    gateway = AelystGateway(lambda: value, base_url="http://127.0.0.1:9")
    with pytest.raises(errors.ConfigurationError) as caught:
        await gateway.get("id:1")
    assert_shown_nowhere(caught.value)


PASSWORD = "https://user:hunter2@api.example.com/v1"
REFUSED: dict[str, Callable[[], Any]] = {
    "bytes": lambda: open_gateway("aelyst", token=SECRET.encode()),
    "a line break": lambda: open_gateway("aelyst", token=SECRET + "\n"),
    "an unknown setting": lambda: open_gateway("aelyst", token=SECRET, tokens=SECRET),
    "a password in the URL": lambda: open_gateway("aelyst", token=SECRET, base_url=PASSWORD),
    "a wrong setting": lambda: open_gateway("aelyst", token=SECRET, timeout=-1),
    "direct, bytes": lambda: AelystGateway(SECRET.encode()),  # type: ignore[arg-type]
    "direct, a password": lambda: DmChampGateway(SECRET, base_url=PASSWORD),
    "direct, a key in the query": lambda: CallabGateway(SECRET, base_url="https://x.example/?key=hunter2"),
    "direct, a fragment": lambda: CallabGateway(SECRET, base_url="https://x.example/#hunter2"),
    "direct, another scheme": lambda: CallabGateway(SECRET, base_url="ftp://u:hunter2@x.example"),
    "direct, no URL": lambda: AelystGateway(SECRET, base_url="u:hunter2@x.example"),
    "direct, a slash too few": lambda: AelystGateway(SECRET, base_url="https:/u:hunter2@x.example"),
    "direct, a slash too many": lambda: AelystGateway(SECRET, base_url="https:///u:hunter2@x.example"),
    "direct, a wrong settle": lambda: AelystGateway(SECRET, settle=-1),
}


@pytest.mark.parametrize("refusal", REFUSED)
def test_refused_setting_keeps_the_credential_out_of_frames(refusal: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        REFUSED[refusal]()
    assert "hunter2" not in str(caught.value)
    assert_shown_nowhere(caught.value)


def test_password_in_the_base_url_variable_is_in_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AELYST_TOKEN", SECRET)
    monkeypatch.setenv("AELYST_BASE_URL", PASSWORD)
    with pytest.raises(errors.ConfigurationError) as caught:
        open_gateway("aelyst")
    assert_shown_nowhere(caught.value)


@pytest.mark.parametrize("token", [SECRET + " ", SECRET.encode()])
async def test_tenants_gateways_keep_no_plain_token(token: Any) -> None:
    tenants = TenantGateways(AelystGateway, base_url="http://127.0.0.1:9")
    async with tenants.lifespan():
        first = tenants.get(SECRET)
        assert tenants.get(SECRET) is first
        assert tenants.get("hunter2-other") is not first
        assert tenants.get(SECRET, key="acme") is not first
        assert not any(holds(value, 6) for value in vars(tenants).values())
        for key in (None, "acme"):
            with pytest.raises(errors.ConfigurationError) as caught:
                tenants.get(token, key=key)
            assert_shown_nowhere(caught.value)
