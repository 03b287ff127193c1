"""`Listing`: fetches one page ahead, stops at repeated cursors, and leaves no request when closed early."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from aelyst_async import Contact, Page, errors
from aelyst_async.listing import Listing
from tests.virtual_time import virtual


def contact(number: int) -> Contact:
    return Contact(id=str(number))


def pages_of(
    count: int, started: list[str | None], *, seconds: float = 0.0
) -> Callable[[str | None], Awaitable[Page[Contact]]]:
    """Return a fetch function for `count` pages of one contact each. It appends each requested cursor to `started`."""

    async def fetch(cursor: str | None) -> Page[Contact]:
        started.append(cursor)
        await asyncio.sleep(seconds)
        number = int(cursor or 0)
        return Page((contact(number),), str(number + 1) if number + 1 < count else None)

    return fetch


@virtual
async def test_listing_restarts_for_each_iteration() -> None:
    started: list[str | None] = []
    listing = Listing(pages_of(3, started))
    assert started == []
    for _ in range(2):
        assert [one.id async for one in listing] == ["0", "1", "2"]
    assert started == [None, "1", "2"] * 2


@virtual
async def test_page_cursor_resumes_after_the_page() -> None:
    pages = [page async for page in Listing(pages_of(3, [])).pages()]
    assert [page.cursor for page in pages] == ["1", "2", None]
    assert [one.id async for one in Listing(pages_of(3, []), pages[0].cursor)] == ["1", "2"]


@virtual
async def test_listing_fetches_exactly_one_page_ahead() -> None:
    started: list[str | None] = []
    loop = asyncio.get_running_loop()
    began = loop.time()
    async for page in Listing(pages_of(4, started, seconds=1.0)).pages():
        await asyncio.sleep(1.0)
        assert len(started) == min(int(page.items[0].id) + 2, 4)
    assert loop.time() - began == pytest.approx(5.0)  # not 8: requests overlap with the caller's work


@pytest.mark.parametrize(
    "chain", [{None: "a", "a": "a"}, {None: "a", "a": "b", "b": "a"}, {None: "a", "a": "b", "b": "b"}]
)
@virtual
async def test_listing_ends_and_logs_when_a_cursor_repeats(
    chain: dict[str | None, str], caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str | None] = []

    async def fetch(cursor: str | None) -> Page[Contact]:
        asked.append(cursor)
        return Page((contact(len(asked)),), chain[cursor])

    pages = [page async for page in Listing(fetch).pages()]
    assert asked == list(chain)
    assert len(pages) == len(chain)
    assert pages[-1].cursor is None
    assert "repeated the cursor" in caplog.text


@virtual
async def test_listing_ends_when_its_start_cursor_repeats() -> None:
    async def fetch(cursor: str | None) -> Page[Contact]:
        return Page((contact(1),), "a")

    assert len([one async for one in Listing(fetch, "a")]) == 1


@virtual
async def test_listing_raises_a_failure_after_the_earlier_pages() -> None:
    async def fetch(cursor: str | None) -> Page[Contact]:
        if cursor is not None:
            raise errors.ServerError(status=500)
        return Page((contact(1), contact(2)), "next")

    seen = []

    async def read() -> None:
        async for one in Listing(fetch):
            seen.append(one.id)

    with pytest.raises(errors.ServerError):
        await read()
    assert seen == ["1", "2"]


@pytest.mark.parametrize("fails", [False, True])
@virtual
async def test_listing_closed_early_cancels_the_request_ahead(fails: bool) -> None:
    cancelled = asyncio.Event()

    async def fetch(cursor: str | None) -> Page[Contact]:
        if cursor is None:
            return Page((contact(1),), "next")
        try:
            if fails:
                raise errors.ServerError(status=500)
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        raise AssertionError("the request was not cancelled")

    async with aclosing(Listing(fetch).pages()) as pages:
        async for _ in pages:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            break
    assert cancelled.is_set()
    assert len(asyncio.all_tasks()) == 1


@virtual
async def test_listing_continues_after_empty_pages() -> None:
    async def fetch(cursor: str | None) -> Page[Contact]:
        following = {None: "a", "a": "b", "b": None}[cursor]
        return Page(() if cursor != "b" else (contact(1),), following)

    assert [one.id async for one in Listing(fetch)] == ["1"]
