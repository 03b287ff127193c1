"""Many contacts at once, over any gateway.

A fixed number of workers takes from the input, one item each, and passes outcomes on as they finish. So memory is
bounded by the concurrency, not by the input, which may be endless; a slow consumer slows the workers down; and one
failed item is an `Outcome` with an error, not the end of the run.

Leaving the loop early (``break``, an exception, a cancelled task) cancels what is in flight and waits for it, as
soon as the iterator is closed: use ``contextlib.aclosing`` where you break out and must know that all is quiet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from aelyst_async.contacts import Contact, ContactFields, WriteReceipt
from aelyst_async.errors import ConfigurationError, ContactsError
from aelyst_async.gateway import ContactGateway, ContactReader
from aelyst_async.identifiers import Identifier

__all__ = ["Outcome", "get_many", "upsert_many"]

T = TypeVar("T")
V = TypeVar("V")

Items: TypeAlias = Iterable[T] | AsyncIterable[T]


@attrs.frozen
class Outcome(Generic[V]):
    """What became of one item: the value, or the error. ``identifier`` is what was passed in."""

    identifier: Identifier | str
    value: V | None = None
    error: ContactsError | None = None

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return self.error is None


def get_many(
    gateway: ContactReader, identifiers: Items[Identifier | str], *, concurrency: int = 64
) -> AsyncGenerator[Outcome[Contact], None]:
    """Read contacts, at most `concurrency` at a time; yield one `Outcome` each, as they finish.

    `identifiers` may be any iterable or async iterable, of any length. Errors of the library become outcomes. If the
    iterable fails, what is in flight is finished and yielded, then its exception is raised; any other exception (a
    bug) ends the run at once. Raises `ConfigurationError` for a concurrency below 1, and for one text or a mapping as
    `identifiers`: their letters or keys would be taken.
    """

    async def one(identifier: Identifier | str) -> Outcome[Contact]:
        try:
            return Outcome(identifier, value=await gateway.get(identifier))
        except ContactsError as error:
            return Outcome(identifier, error=error)

    return _each(one, _check_items(identifiers), _check(concurrency))


def upsert_many(
    gateway: ContactGateway, pairs: Items[tuple[Identifier | str, ContactFields]], *, concurrency: int = 64
) -> AsyncGenerator[Outcome[WriteReceipt], None]:
    """Upsert (identifier, fields) pairs, at most `concurrency` at a time; yield one `Outcome` each, as they finish.

    Two pairs for one contact may run at the same time and in either order: make them one, or use the sync. The rest
    is as `get_many` says.
    """

    async def one(pair: tuple[Identifier | str, ContactFields]) -> Outcome[WriteReceipt]:
        identifier, fields = pair
        try:
            return Outcome(identifier, value=await gateway.upsert(identifier, fields))
        except ContactsError as error:
            return Outcome(identifier, error=error)

    return _each(one, _check_items(pairs), _check(concurrency))


def _check_items(items: Items[T]) -> Items[T]:
    # As an object: checkers know that a text is an iterable of texts, so they let it through.
    given: object = items
    if isinstance(given, Mapping):
        raise ConfigurationError("expected an iterable, got a mapping; pass its .items(), or its keys as a list")
    if isinstance(given, (str, bytes)):
        raise ConfigurationError(f"expected an iterable or async iterable of items, got {type(given).__name__}")
    return items


def _check(concurrency: int) -> int:
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise ConfigurationError(f"concurrency must be a whole number from 1, not {concurrency!r}")
    return concurrency


async def _each(
    work: Callable[[T], Awaitable[Outcome[V]]], items: Items[T], concurrency: int
) -> AsyncGenerator[Outcome[V], None]:
    source = _Source(items)
    done: asyncio.Queue[Outcome[V] | None] = asyncio.Queue(maxsize=1)
    failures: list[BaseException] = []
    closing = False

    async def worker() -> None:
        try:
            async for item in source:
                await done.put(await work(item))
        except asyncio.CancelledError as error:
            if closing:
                raise
            failures.append(error)  # not ours: something that the work awaited was cancelled
        except Exception as error:  # noqa: BLE001 - carried to the consumer and raised there
            failures.append(error)
        await done.put(None)

    # Workers are started as items come: a short input does not pay for a high concurrency.
    tasks = {asyncio.create_task(worker())}
    source.on_item = lambda: (
        tasks.add(asyncio.create_task(worker())) if len(tasks) < concurrency and not failures else None
    )
    ended = 0
    try:
        while ended < len(tasks):
            outcome = await done.get()
            if outcome is None:
                ended += 1
                if failures:
                    break
            else:
                yield outcome
    finally:
        closing = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await source.aclose()
    if source.failure is not None:
        failures.append(source.failure)
    if failures:
        raise failures[0]


class _Source(Generic[T]):
    """One iteration over (async) items that many workers may draw from, one at a time."""

    def __init__(self, items: Items[T]) -> None:
        self.on_item: Callable[[], Any] = lambda: None
        self._lock = asyncio.Lock()
        self.failure: Exception | None = None
        self._exhausted = False
        self._async: AsyncIterator[T] | None = None
        if isinstance(items, AsyncIterable):
            self._async = items.__aiter__()
        else:
            self._sync = iter(items)

    def __aiter__(self) -> _Source[T]:
        return self

    async def __anext__(self) -> T:
        async with self._lock:
            if self._exhausted:
                raise StopAsyncIteration
            try:
                item = next(self._sync) if self._async is None else await self._async.__anext__()
            except (StopIteration, StopAsyncIteration):
                self._exhausted = True
            except Exception as error:  # noqa: BLE001 - raised to the consumer when what is in flight has finished
                self.failure = error
                self._exhausted = True
            else:
                self.on_item()
                return item
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close an async generator, so that what it holds is released now."""
        close = getattr(self._async, "aclose", None)
        if close is not None:
            await close()
