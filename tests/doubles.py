"""Test doubles without sockets, for virtual time: a session with scripted responses and a limiter that never waits."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import attrs
from aiohttp import ClientSession
from multidict import CIMultiDict
from typing_extensions import Self

from aelyst_async import RateLimiter
from aelyst_async.ratelimit import Slots
from aelyst_async.ratelimit.queue import Lane

__all__ = ["Answer", "FreeLimiter", "Handler", "ScriptedSession", "Sent", "free_limiter", "scripted"]


@attrs.frozen
class Sent:
    """One request that reached the session. `at`: loop time in seconds."""

    at: float
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def name(self) -> str:
        """The last path segment, decoded."""
        return unquote(self.path.rpartition("/")[2])

    @property
    def json(self) -> Any:
        assert self.body is not None
        return json.loads(self.body)


class Answer:
    """A response of `ScriptedSession`. `body`: bytes, or any other value, which is sent as JSON."""

    def __init__(self, status: int = 200, body: object = b"", headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.headers = CIMultiDict(headers or {})
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.content = self

    async def iter_any(self) -> AsyncIterator[bytes]:
        if self._body:
            yield self._body

    def release(self) -> None:
        pass

    def close(self) -> None:
        pass


Handler: TypeAlias = Callable[[Sent], Any]
"""Takes a request; returns an `Answer` or an awaitable of one, or raises."""


class ScriptedSession:
    """Replaces `aiohttp.ClientSession`.

    `script`: answers and exceptions in order (the last one repeats), or a handler.
    """

    closed = False
    connector = None

    def __init__(self, script: Handler | list[Answer | Exception]) -> None:
        self.sent: list[Sent] = []
        self._handler = script if callable(script) else None
        self._script = deque(script if isinstance(script, list) else ())

    async def request(
        self, method: str, url: object, *, data: bytes | None = None, headers: Mapping[str, str], **_: object
    ) -> Answer:
        sent = Sent(asyncio.get_running_loop().time(), method, str(url), dict(headers), data)
        self.sent.append(sent)
        await asyncio.sleep(0)
        if self._handler is not None:
            result = self._handler(sent)
            answer = await result if inspect.isawaitable(result) else result
        else:
            answer = self._script.popleft() if len(self._script) > 1 else self._script[0]
        if isinstance(answer, BaseException):
            raise answer
        return cast("Answer", answer)

    def detach(self) -> None:
        pass

    @property
    def methods(self) -> list[str]:
        return [sent.method for sent in self.sent]

    @property
    def gaps(self) -> list[float]:
        """Seconds from each request to the next."""
        return [later.at - earlier.at for earlier, later in zip(self.sent, self.sent[1:], strict=False)]


def scripted(script: Handler | list[Answer | Exception]) -> tuple[ScriptedSession, ClientSession]:
    """Return the session twice: as `ScriptedSession`, and cast to the type that a gateway takes."""
    session = ScriptedSession(script)
    return session, cast(ClientSession, session)


class _Permit:
    waited = 0.0

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.status: int | None = None
        self.granted = False
        self.was_unsent = False
        self.left = False

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        assert self.status is None, "observed twice"
        self.status = status

    def unsent(self) -> None:
        self.was_unsent = True

    async def __aenter__(self) -> Self:
        slots: Slots | None = self.asked.get("slots")
        while slots is not None and slots.free <= 0:
            free = asyncio.Event()

            def wake(_: Lane, free: asyncio.Event = free) -> None:
                free.set()

            slots.wait(cast(Lane, free), wake)
            await free.wait()
        if slots is not None:
            slots.free -= 1
        self.granted = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.left = True
        if (slots := self.asked.get("slots")) is not None:
            slots.give_back()


class FreeLimiter:
    """Grants a permit as soon as a connection slot is free, and records the permits."""

    def __init__(self) -> None:
        self.permits: list[_Permit] = []

    def permit(self, endpoint: str, **asked: Any) -> _Permit:
        permit = _Permit({"endpoint": endpoint, **asked})
        self.permits.append(permit)
        return permit


def free_limiter() -> tuple[FreeLimiter, RateLimiter]:
    """Return the limiter twice: as `FreeLimiter`, and cast to the type that a gateway takes."""
    limiter = FreeLimiter()
    return limiter, cast(RateLimiter, limiter)
