"""Many contacts at once, over any gateway.

A fixed number of workers take one item at a time from the input and yield outcomes as they finish. So the concurrency
bounds the memory, and the input may be endless. A slow consumer slows the workers down. An item that fails is a
`Failure` and does not end the run. An outcome is a union, so that ``if outcome.ok:`` and ``match`` narrow the type of
its value::

    async for outcome in get_many(gateway, identifiers):
        match outcome:
            case Success(identifier, contact): ...
            case Failure(identifier, error): ...

If the loop ends early (``break``, an exception, a cancelled task), closing the iterator cancels the calls in flight and
waits for them. Use ``contextlib.aclosing`` to close it at once after a ``break``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import attrs

from aelyst_async.contacts import Contact, ContactFields, Tag, WriteReceipt
from aelyst_async.errors import ConfigurationError, ContactsError, UnsupportedOperationError
from aelyst_async.gateway import ContactGateway, DeletingGateway, TaggingGateway
from aelyst_async.identifiers import Identifier
from aelyst_async.waiting import uninterrupted

if TYPE_CHECKING:
    from typing_extensions import Never

__all__ = [
    "Failure",
    "Outcome",
    "Success",
    "add_tags_many",
    "delete_many",
    "get_many",
    "update_many",
    "upsert_many",
]

T = TypeVar("T")
V = TypeVar("V")
A = TypeVar("A")
C = TypeVar("C", bound=Contact)
C_co = TypeVar("C_co", bound=Contact, covariant=True)

Items: TypeAlias = Iterable[T] | AsyncIterable[T]


_NOTHING: Any = None

# At run time, ``error`` of a success and ``value`` of a failure are None. Type checkers see `Never`, which vanishes
# from the union, so ``outcome.value`` has the value's type after ``if outcome.ok:``. mypy would narrow the union
# without this, but pyright narrows only by ``is``, ``isinstance`` and ``match`` (microsoft/pyright#6113).


@attrs.frozen
class Success(Generic[V]):
    """The result of an item. ``identifier`` is the input; ``ok`` is True, ``error`` is None."""

    identifier: Identifier | str
    value: V
    ok: Literal[True] = attrs.field(default=True, init=False, repr=False)
    error: Never = attrs.field(default=_NOTHING, init=False, repr=False)


@attrs.frozen
class Failure:
    """The error of an item. ``identifier`` is the input; ``ok`` is False, ``value`` is None."""

    identifier: Identifier | str
    error: ContactsError
    ok: Literal[False] = attrs.field(default=False, init=False, repr=False)
    value: Never = attrs.field(default=_NOTHING, init=False, repr=False)


Outcome: TypeAlias = Success[V] | Failure
"""The outcome of one item."""


class _Reader(Protocol[C_co]):
    """The method of a gateway that `get_many` uses; its return type is the type of the outcomes' values."""

    async def get(self, identifier: Identifier | str) -> C_co: ...


def get_many(
    gateway: _Reader[C], identifiers: Items[Identifier | str], *, concurrency: int = 64
) -> AsyncGenerator[Outcome[C], None]:
    """Read contacts, at most `concurrency` at a time; yield one `Outcome` each, as they finish.

    `identifiers` may be any iterable or async iterable, of any length. Errors of the library become outcomes. If the
    iterable raises an `Exception`, calls in flight are finished and yielded before it is raised. Any other exception of
    the iterable or the gateway (a bug, `SystemExit`) ends the run at once and is raised. Raises `ConfigurationError`
    for a concurrency below 1, and for a `str` or a mapping as `identifiers`, because iterating it would yield
    characters or keys. Raises `UnsupportedOperationError` if the gateway lacks the operation.
    """
    _require(gateway, "get")
    return _for_each(gateway.get, identifiers, concurrency)


def upsert_many(
    gateway: ContactGateway, pairs: Items[tuple[Identifier | str, ContactFields]], *, concurrency: int = 64
) -> AsyncGenerator[Outcome[WriteReceipt], None]:
    """Upsert (identifier, fields) pairs, at most `concurrency` at a time; yield one `Outcome` each, as they finish.

    Two pairs for one contact may run at the same time and in either order: merge them, or use the sync. Inputs,
    outcomes and errors are as in `get_many`.
    """
    _require(gateway, "upsert")
    return _for_each_pair(gateway.upsert, pairs, concurrency)


def update_many(
    gateway: ContactGateway, pairs: Items[tuple[Identifier | str, ContactFields]], *, concurrency: int = 64
) -> AsyncGenerator[Outcome[WriteReceipt], None]:
    """Update existing contacts from (identifier, fields) pairs; otherwise as `upsert_many`."""
    _require(gateway, "update")
    return _for_each_pair(gateway.update, pairs, concurrency)


def delete_many(
    gateway: DeletingGateway, identifiers: Items[Identifier | str], *, concurrency: int = 64
) -> AsyncGenerator[Outcome[WriteReceipt], None]:
    """Delete contacts; a contact that does not exist is a `Failure` with `ContactNotFoundError`.

    If the loop ends early, a delete in flight may or may not have been applied.
    """
    _require(gateway, "delete")
    return _for_each(gateway.delete, identifiers, concurrency)


def add_tags_many(
    gateway: TaggingGateway, pairs: Items[tuple[Identifier | str, Iterable[Tag | str]]], *, concurrency: int = 64
) -> AsyncGenerator[Outcome[WriteReceipt], None]:
    """Add tags from (identifier, tags) pairs: ``("id:1", ["vip", "lead"])``."""
    _require(gateway, "add_tags")
    return _for_each_pair(gateway.add_tags, pairs, concurrency)


def _for_each(
    call: Callable[[Identifier | str], Awaitable[V]], identifiers: Items[Identifier | str], concurrency: int
) -> AsyncGenerator[Outcome[V], None]:
    async def one(identifier: Identifier | str) -> Outcome[V]:
        try:
            return Success(identifier, await call(identifier))
        except ContactsError as error:
            return Failure(identifier, error)

    return each(one, _check_items(identifiers), _check(concurrency))


def _for_each_pair(
    call: Callable[[Identifier | str, A], Awaitable[V]], pairs: Items[tuple[Identifier | str, A]], concurrency: int
) -> AsyncGenerator[Outcome[V], None]:
    async def one(pair: tuple[Identifier | str, A]) -> Outcome[V]:
        identifier, argument = pair
        try:
            return Success(identifier, await call(identifier, argument))
        except ContactsError as error:
            return Failure(identifier, error)

    return each(one, _check_items(pairs), _check(concurrency))


def _require(gateway: object, method: str) -> None:
    if not hasattr(gateway, method):
        name = getattr(gateway, "provider", type(gateway).__name__)
        raise UnsupportedOperationError(f"{name} has no {method}, so it cannot do this for many contacts either")


def _check_items(items: Items[T]) -> Items[T]:
    # Typed as `object`, because type checkers accept a `str` as an iterable of `str`.
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


async def each(work: Callable[[T], Awaitable[V]], items: Items[T], concurrency: int) -> AsyncGenerator[V, None]:
    """Call `work` for each item, at most `concurrency` at a time; yield its results (never None) as they finish."""
    source = _Source(items)
    done: asyncio.Queue[V | None] = asyncio.Queue(maxsize=1)
    failures: list[BaseException] = []
    closing = False

    async def put(outcome: V | None) -> None:
        # Nothing takes from the queue any longer when a worker comes here whose cancellation was ignored.
        if not closing:
            await done.put(outcome)

    async def worker() -> None:
        try:
            async for item in source:
                await put(await work(item))
        except BaseException as error:  # noqa: BLE001 - raised to the consumer: in a task, some would end the loop
            if closing:
                return  # cancelled by us, or failed while it was
            failures.append(error)
        await put(None)

    # Workers are started as items arrive, so a short input starts few of them.
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
        closing = source.exhausted = True
        for task in tasks:
            task.cancel()
        try:
            await uninterrupted(asyncio.gather(*tasks, return_exceptions=True))
        finally:
            await source.aclose()
    if source.failure is not None:
        failures.append(source.failure)
    if failures:
        try:
            raise failures[0]
        finally:
            failures.clear()  # breaks the reference cycle of exception and frame


class _Source(Generic[T]):
    """One iteration over (async) items, shared by many workers; one of them reads at a time."""

    def __init__(self, items: Items[T]) -> None:
        self.on_item: Callable[[], Any] = lambda: None
        self._lock = asyncio.Lock()
        self.failure: Exception | None = None
        self.exhausted = False
        self._async: AsyncIterator[T] | None = None
        if isinstance(items, AsyncIterable):
            self._async = items.__aiter__()
        else:
            self._sync = iter(items)

    def __aiter__(self) -> _Source[T]:
        return self

    async def __anext__(self) -> T:
        async with self._lock:
            if self.exhausted:
                raise StopAsyncIteration
            try:
                item = next(self._sync) if self._async is None else await self._async.__anext__()
            except (StopIteration, StopAsyncIteration):
                self.exhausted = True
            except Exception as error:  # noqa: BLE001 - raised to the consumer when what is in flight has finished
                self.failure = error
                self.exhausted = True
            except BaseException:
                self.exhausted = True
                raise
            else:
                if not self.exhausted:  # it was ended while the iterable ignored a cancellation
                    self.on_item()
                    return item
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close an async generator, so that its resources are released now."""
        close = getattr(self._async, "aclose", None)
        if close is not None:
            await close()
