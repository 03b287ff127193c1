"""One event loop in a background thread, for code that has no event loop or must not block its own.

::

    caller's thread                          the loop's thread (a daemon)
    ---------------                          ----------------------------
    Portal.run(work) ── call_soon_threadsafe ──▶ task: await work(feed)
        waits on a queue ◀──── WANT ──────────────── feed.__anext__
        next(items)      ────── item ─────────────▶
        returns or raises ◀──── result ───────────── the task has ended

The process has one portal, started at its first use and stopped at exit. One is sufficient, because calls mostly wait
for the network. More than one would break a shared `RateLimiter`, which belongs to one event loop.

Input iterables are read in the caller's thread, because database cursors (sqlite3, Django's ORM) cannot be used in
another thread, and Django's ORM cannot be used in a thread that runs an event loop.

A forked child has only the thread that forked. It gets its own portal. Objects that were opened before the fork raise
an error there, because their connections belong to the parent.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

from aelyst_async.errors import ConfigurationError

__all__ = ["Feed", "Portal", "portal"]

T = TypeVar("T")
V = TypeVar("V")


class _Want:
    """A message that asks the caller's thread for the next input item."""


class _Ended:
    """The task has ended. ``error`` is what it raised."""

    def __init__(self, value: Any, error: BaseException | None) -> None:
        self.value = value
        self.error = error


class Feed(Generic[T]):
    """An async iterator over items that the caller's thread reads, one at a time, while it waits in `Portal`."""

    def __init__(self, items: Iterable[T]) -> None:
        self.items: Iterator[T] = iter(items)
        self.inbox: SimpleQueue[_Want | _Ended] = SimpleQueue()
        self._next: asyncio.Future[Callable[[], T]] | None = None

    def __aiter__(self) -> Feed[T]:
        return self

    async def __anext__(self) -> T:
        self._next = asyncio.get_running_loop().create_future()
        self.inbox.put(_Want())
        return (await self._next)()

    def read(self) -> Callable[[], T]:
        """Read one item, in the caller's thread. Return a function that returns the item or raises the error of reading
        it.
        """
        try:
            item = next(self.items)
        except StopIteration:
            return _stop
        except Exception as error:  # noqa: BLE001 - raised by the function that reads the feed
            return _raiser(error)
        return lambda: item

    def give(self, item: Callable[[], T]) -> None:
        """Deliver the item, in the loop's thread."""
        if self._next is not None and not self._next.done():
            self._next.set_result(item)


def _stop() -> Any:
    raise StopAsyncIteration


def _raiser(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


class Portal:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, name="aelyst-async-blocking", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` in the loop and return its result; like `feed`, but without input."""
        return self.feed(work, Feed(()))

    def feed(self, work: Callable[[], Coroutine[Any, Any, T]], feed: Feed[Any]) -> T:
        """Run `work` in the loop, read the items for its `feed` in this thread, and return its result.

        The task sees the caller's context variables. An exception that a signal handler raises here
        (`KeyboardInterrupt`) cancels the task and is raised once the task has ended; a second one is raised at once.

        Raises `ConfigurationError` in the loop's own thread, in a forked child, and when the portal is stopped.
        """
        self.check_usable()
        task: asyncio.Task[None] | None = None

        def begin() -> None:
            nonlocal task
            task = self._loop.create_task(_report(work, feed.inbox))

        def cancel() -> None:
            if task is None:  # interrupted before `begin` was scheduled, so it never runs
                feed.inbox.put(_Ended(None, None))
            else:
                task.cancel()

        try:
            self._call_soon(begin)
            while True:
                message = feed.inbox.get()
                if isinstance(message, _Ended):
                    break
                self._call_soon(feed.give, feed.read())
        except BaseException:
            self._call_soon(cancel)
            while not isinstance(feed.inbox.get(), _Ended):
                pass
            raise
        if message.error is None:
            return cast(T, message.value)
        if isinstance(message.error, asyncio.CancelledError) and self._stopped:
            raise ConfigurationError("the interpreter is exiting: the call was cancelled")
        try:
            raise message.error
        finally:
            del message  # breaks the reference cycle of frame, traceback and error

    def iterate(self, make: Callable[[], AsyncIterable[V]], feed: Feed[Any]) -> Iterator[V]:
        """Call `make` in the loop and iterate over the async iterator that it returns. Closing this iterator closes
        that one.
        """
        stream: AsyncIterator[V] | None = None

        async def advance() -> tuple[bool, V | None]:
            nonlocal stream
            if stream is None:
                stream = make().__aiter__()
            try:
                return True, await stream.__anext__()
            except StopAsyncIteration:
                return False, None

        async def close() -> None:
            aclose = getattr(stream, "aclose", None)
            if aclose is not None:
                await aclose()

        try:
            while True:
                found, item = self.feed(advance, feed)
                if not found:
                    return
                yield cast(V, item)
        finally:
            if threading.current_thread() is self._thread:  # closed by the garbage collector
                self._loop.create_task(close())
            elif self.alive:
                self.run(close)

    @property
    def alive(self) -> bool:
        """Whether the loop runs in this process."""
        return not self._stopped and self._pid == os.getpid()

    def check_usable(self) -> None:
        """Raise `ConfigurationError` if a call would never return."""
        if self._pid != os.getpid():
            raise ConfigurationError(
                "this blocking gateway was opened before the process was forked; open one in each worker process"
            )
        if threading.current_thread() is self._thread:
            raise ConfigurationError(
                "a blocking call from a callback of the gateway would wait for itself; use `await` on the gateway there"
            )
        if self._stopped:
            raise ConfigurationError("the interpreter is exiting: no call can be made")

    def stop(self) -> None:
        """Cancel running calls, close open gateways, and end the thread. Idempotent. Does nothing in a forked child."""
        with self._lock:
            if self._stopped or self._pid != os.getpid():
                return
            self._stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        with self._lock:  # so that calls submitted before `stop` run before the loop stops
            if self._stopped:
                raise ConfigurationError("the interpreter is exiting: no call can be made")
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _serve(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


async def _report(work: Callable[[], Coroutine[Any, Any, Any]], inbox: SimpleQueue[Any]) -> None:
    try:
        inbox.put(_Ended(await work(), None))
    except BaseException as error:  # noqa: BLE001 - raised in the caller's thread; here some would end the loop
        inbox.put(_Ended(None, error))


_lock = threading.Lock()
_portal: Portal | None = None
_parents: list[Portal] = []
"""Portals of parent processes. They are kept, because closing a copy of an event loop would change the parent's epoll
set.
"""


def portal() -> Portal:
    """Return the portal of this process; start it if necessary."""
    global _portal  # noqa: PLW0603 - one for the process
    with _lock:
        if _portal is None:
            _portal = Portal()
            atexit.register(_portal.stop)
        return _portal


def _after_fork() -> None:
    global _portal, _lock  # noqa: PLW0603 - see `portal`
    _lock = threading.Lock()  # another thread of the parent may have held it
    if _portal is not None:
        _parents.append(_portal)
        _portal = None


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
