"""`Portal`: iterators without `aclose`, an interrupt before the call was submitted, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aelyst_async.errors import ConfigurationError
from aelyst_async.portal import Feed, Portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal()
    yield made
    made.stop()


class Plain:
    """An async iterator that cannot be closed."""

    def __init__(self) -> None:
        self.number = 0

    def __aiter__(self) -> Plain:
        return self

    async def __anext__(self) -> int:
        if self.number == 3:
            raise StopAsyncIteration
        self.number += 1
        return self.number


def test_iterate_takes_an_iterator_without_aclose(portal: Portal) -> None:
    assert list(portal.iterate(Plain, Feed(()))) == [1, 2, 3]
    begun = portal.iterate(Plain, Feed(()))
    assert next(begun) == 1
    begun.close()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def test_iterate_raises_what_the_function_raises(portal: Portal) -> None:
    def make() -> Plain:
        raise LookupError("no listing")

    with pytest.raises(LookupError, match="no listing"):
        next(portal.iterate(make, Feed(())))


def test_interrupt_before_the_call_is_submitted_runs_nothing(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    async def work() -> int:
        ran.append("work")
        return 5

    def interrupted(_: Callable[..., object], *__: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(portal, "_call_soon", interrupted)
    with pytest.raises(KeyboardInterrupt):
        portal.run(work)
    assert ran == []
    assert portal.run(work) == 5


def test_stopped_portal_refuses_calls_and_may_be_stopped_again(portal: Portal) -> None:
    begun = portal.iterate(Plain, Feed(()))
    assert next(begun) == 1
    portal.stop()
    portal.stop()
    assert not portal.alive
    begun.close()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ConfigurationError, match="the interpreter is exiting: no call can be made"):
        portal.run(lambda: asyncio.sleep(0))
