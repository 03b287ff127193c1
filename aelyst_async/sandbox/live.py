"""The inspector page's stream of server-sent events.

A stream polls the account a few times a second and sends what is new, so its cost does not grow with the number of
requests. There is no queue, only a position in the log, so a slow reader delays nothing. The event's id is that
position; after a lost connection a page continues from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import attrs
from aiohttp import web

from aelyst_async.sandbox.account import Account
from aelyst_async.sandbox.guard import SECURITY_HEADERS
from aelyst_async.sandbox.http import MARK
from aelyst_async.sandbox.store import dump_json

__all__ = ["stream"]

_INTERVAL = 0.2
"""Seconds between two polls of the account."""
_IDLE = 1.0
"""Seconds after which an event is sent without a change, since quotas refill and the clock advances."""
_MOST = 300
"""Largest number of requests in one event: as many as the page shows. Of more, the newest are sent and the others are
counted in ``skipped``."""


class _Tally:
    """The number of contacts, counted so seldom that counting takes at most 5 % of the time."""

    __slots__ = ("_account", "_due", "_value")

    def __init__(self, account: Account) -> None:
        self._account = account
        self._due = 0.0
        self._value: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def now(self) -> tuple[dict[str, int], dict[str, int]]:
        begun = time.monotonic()
        if begun >= self._due:
            self._value = self._account.tally()
            ended = time.monotonic()
            self._due = ended + 20 * (ended - begun)
        return self._value


async def stream(request: web.BaseRequest, account: Account, stopping: asyncio.Event, since: str) -> web.StreamResponse:
    """Send events until the client disconnects or the server stops."""
    headers = {**SECURITY_HEADERS, **MARK, "Content-Type": "text/event-stream; charset=utf-8"}
    response = web.StreamResponse(headers=headers)
    response.force_close()
    await response.prepare(request)
    evidence = account.evidence
    tally = _Tally(account)
    known = since.isascii() and since.isdecimal() and int(since[:18]) <= evidence.finished
    seen = int(since) if known else evidence.finished
    state: tuple[int, ...] = ()
    waited = _IDLE
    with contextlib.suppress(ConnectionError):
        while not stopping.is_set():
            now_state = (
                evidence.finished,
                evidence.generation,
                account.store.revision,
                account.settings.revision,
                account.plan.revision,
                account.limiters.revision,
            )
            if now_state != state or waited >= _IDLE:
                event = _event(account, tally, seen, first=not state)
                seen, state, waited = evidence.finished, now_state, 0.0
                await response.write(f"id: {seen}\ndata: {dump_json(event)}\n\n".encode())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stopping.wait(), _INTERVAL)
            waited += _INTERVAL
    return response


def _event(account: Account, tally: _Tally, seen: int, *, first: bool) -> dict[str, Any]:
    evidence = account.evidence
    new = evidence.finished - seen
    shown = [] if first and not new else [one.summary() for one in evidence.newest(min(new, _MOST))]
    return {
        "finished": evidence.finished,
        "generation": evidence.generation,
        "requests": shown,
        "skipped": max(0, new - len(shown)),
        "counters": evidence.counters(*tally.now()).as_json(),
        "quotas": [attrs.asdict(gauge) for gauge in account.quotas(_MOST)],
        "limiters": account.limiters.listing(),
        "faults": account.plan.listing(),
        "tokens": account.shown_tokens(),
        "contacts_revision": account.store.revision,
        "switches_revision": account.settings.revision,
        "clock": {"now": account.clock.now(), "frozen": account.clock.frozen},
    }
