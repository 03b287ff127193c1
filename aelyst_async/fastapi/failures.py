"""Classification of a job's error: temporary or not, the length of the pause, and what may be shown of it.

**Temporary** errors are those of `TEMPORARY` and the statuses 408 and 425. An exception group is temporary if all its
members are. The pause grows from ``retry_base`` to ``retry_cap`` seconds, with full jitter. Retry-After is obeyed (of a
group the longest) up to an hour; see `pauses` for longer ones. Invalid values are ignored.

**Shown** are the class of the error and a message (`message_of`). Messages of exceptions may quote personal data. So
strings that look like a person, an address, a number or a credential are replaced, and so are the job's own arguments
and key. This does not find everything: do not put secrets or personal data into exceptions.
"""

from __future__ import annotations

import asyncio
import math
import re
import traceback
from collections.abc import Iterator
from typing import Any

from aelyst_async.errors import ContactsError, QueuedError, RateLimitedError, ServerError, TransportError
from aelyst_async.fastapi.store import JobQueueFullError, JobsClosedError, JournalError, Outcome, Started

__all__ = [
    "LONGEST_WAIT",
    "TEMPORARY",
    "frames_of",
    "is_temporary",
    "leaves",
    "message_of",
    "outcome_of",
    "retry_after",
    "status_of",
]

TEMPORARY: tuple[type[BaseException], ...] = (
    RateLimitedError,
    QueuedError,
    ServerError,
    TransportError,
    JobQueueFullError,
    JobsClosedError,
    JournalError,
    TimeoutError,
    asyncio.TimeoutError,  # another class before Python 3.11
    ConnectionError,
)
"""Errors after which a job is retried."""

LONGEST_WAIT = 3600.0
"""Longest Retry-After in seconds that is waited for without a probe."""

_MAX_MESSAGE = 300
_MAX_TEXT = 20_000
_MAX_LEAVES = 100
_MAX_VALUES = 500
_MASK = "[…]"

_PERSONAL = re.compile(
    r"""[a-z][a-z0-9+.-]*://\S+                                                       # a URL
    | [^\s@<>"'(),;:]+@[^\s@<>"'(),;:]+                                               # an e-mail
    | (?:bearer|basic|token|api.?key|secret|password|authorization)["']?[\s:=]+\S+    # a credential
    | \+?\d(?:[\s().-]*\d){5,}                                                        # a phone or another number
    | [\w+/=~-]*\d[\w+/=~-]{15,}                                                      # a token
    """,
    re.IGNORECASE | re.VERBOSE,
)


def leaves(error: BaseException) -> list[BaseException]:
    """Return the errors in an exception group, at every depth; for another error a list with that error.

    Supports the backport for Python 3.10.
    """
    found: list[BaseException] = []
    pending, seen = [error], {id(error)}
    while pending and len(found) < _MAX_LEAVES:
        one = pending.pop()
        inner: Any = _attribute(one, "exceptions")
        if isinstance(inner, (tuple, list)) and inner and all(isinstance(part, BaseException) for part in inner):
            fresh = [part for part in inner if id(part) not in seen]
            seen.update(map(id, fresh))
            pending.extend(reversed(fresh))
        else:
            found.append(one)
    return found


def is_temporary(error: BaseException) -> bool:
    """Return whether the error is temporary."""
    return all(isinstance(leaf, TEMPORARY) or status_of(leaf) in {408, 425} for leaf in leaves(error))


def retry_after(error: BaseException) -> float | None:
    """Return the longest valid Retry-After of the error in seconds, or None."""
    told = (_attribute(leaf, "retry_after") for leaf in leaves(error))
    usable = [float(wait) for wait in told if isinstance(wait, (int, float)) and 0 <= wait < math.inf]
    return max(usable, default=None)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of one of this library's errors, or None."""
    status = _attribute(error, "status") if isinstance(error, ContactsError) else None
    return status if isinstance(status, int) else None


def outcome_of(error: BaseException, job: Started) -> Outcome:
    """Return the outcome of a job that raised `error`."""
    statuses = (status_of(leaf) for leaf in leaves(error))
    status = next((status for status in statuses if status is not None), None)
    return Outcome("failed", type(error).__name__, status, message_of(error, job))


def message_of(error: BaseException, job: Started) -> str:
    """Return the error's message in one line, without strings that look like personal data or a credential."""
    parts = leaves(error)
    if parts == [error]:
        return _redact(_text(error), job)
    return _redact("; ".join(f"{type(leaf).__name__}: {_text(leaf)}" for leaf in parts), job)


def frames_of(error: BaseException) -> str:
    """Return the stack frames of the errors without values. Empty if all are of this library."""
    foreign = [leaf for leaf in leaves(error) if not isinstance(leaf, ContactsError)]
    return "".join("\n" + "".join(traceback.format_tb(leaf.__traceback__, -20)).rstrip() for leaf in foreign[:5])


def _attribute(error: BaseException, name: str) -> object:
    try:
        return getattr(error, name, None)
    except BaseException:  # noqa: BLE001 - a property may raise anything
        return None


def _text(error: BaseException) -> str:
    # Only the vendor's message of an API's error: the rest contains the request, and so the contact.
    for name in ("message", "problem") if isinstance(error, ContactsError) else ():
        told = _attribute(error, name)
        if isinstance(told, str):
            return told
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - so may __str__
        return f"(str() of {type(error).__name__} failed)"


def _redact(text: str, job: Started) -> str:
    text = text[:_MAX_TEXT]
    # Each value as it is and as repr() writes it.
    own = {form for value in _values([job.key, job.arguments]) for form in (value, repr(value)[1:-1]) if len(form) > 2}
    if own:
        longest_first = "|".join(map(re.escape, sorted(own, key=len, reverse=True)))
        text = re.sub(rf"(?<!\w)(?:{longest_first})(?!\w)", _MASK, text, flags=re.IGNORECASE)
    text = _PERSONAL.sub(_MASK, text[: 3 * _MAX_MESSAGE])[:_MAX_MESSAGE]
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _values(pending: list[Any]) -> Iterator[str]:
    """Yield the strings and numbers in JSON-like data, at most `_MAX_VALUES`."""
    for _ in range(_MAX_VALUES):
        if not pending:
            return
        one = pending.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, (int, float)) and not isinstance(one, bool):
            yield repr(one)
        elif isinstance(one, dict):
            pending.extend(one.values())
        elif isinstance(one, (list, tuple, set, frozenset)):
            pending.extend(one)
