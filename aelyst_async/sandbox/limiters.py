"""The quotas that clients' rate limiters have learned, as reported by the clients, with the enforced quotas.

A client sends ``PUT limiters/NAME`` with its limiter's snapshot, at most twice a second (see `report_limiter`). The
enforced quota is looked up at the same time. A client that stops reporting is dropped after 15 seconds, one that has
reported its end after 5 minutes.

A report is untrusted input: strings, numbers and the number of reports are checked and bounded. `account` identifies a
credential and might be one, so it is replaced by a short hash with a random key. Queries are removed from paths,
because some APIs take their key there.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

__all__ = ["MOST_BUCKETS", "PATH_BOUND", "REPORT_BOUND", "TEXT_BOUND", "Enforced", "Limiters", "label"]

MOST_BUCKETS = 16
"""Largest number of buckets in one report. With one quota for each path a limiter may have thousands."""
TEXT_BOUND = 300
"""Largest number of characters of a string."""
PATH_BOUND = 1000
"""Largest number of characters of a path."""
REPORT_BOUND = 512 << 10
"""Largest number of bytes of a report. Enough for `MOST_BUCKETS` with strings of full length, all escaped."""

_MOST_CLIENTS = 8
_SILENT = 15.0
"""Seconds without a report after which a client is dropped."""
_ENDED = 300.0
"""Seconds for which a client is kept after it reported its end."""
_MOST = 1e15
"""Largest number: JavaScript's arithmetic is exact up to here."""
_CLIENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@attrs.frozen(kw_only=True)
class Enforced:
    """The quota that is enforced, which a limiter should learn. ``limit`` is `None` where there is none.

    ``window`` is in seconds. ``scope`` is what shares a quota: endpoint, path or account. ``rule`` is the way of
    counting: fixed, sliding or token. ``remaining`` is `None` where several credentials have their own quotas.
    """

    limit: int | None
    window: float | None = None
    rate: float | None = None
    remaining: int | None = None
    scope: str = ""
    rule: str = ""


@attrs.define(slots=True)
class _Client:
    name: str
    at: float
    ended: bool
    more: int
    buckets: list[dict[str, Any]]

    def gone(self, now: float) -> bool:
        """Whether the client is to be dropped."""
        return now - self.at > (_ENDED if self.ended else _SILENT)


def label(text: str, key: bytes) -> str:
    """Return eight hex digits that distinguish one string from another without revealing it."""
    encoded = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=4, key=key, person=b"aelyst-async").hexdigest()


class Limiters:
    """The reports of the clients of one account. ``revision`` changes with every change.

    ``enforced`` returns the vendor and the quota of an endpoint and a path, or `None` if no vendor has the endpoint.
    ``clock`` returns seconds of real time, not of the account's clock, which a test may stop.
    """

    def __init__(
        self,
        enforced: Callable[[str, str | None], tuple[str, Enforced] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.revision: int = 0
        self._enforced = enforced
        self._clock = clock
        self._key = secrets.token_bytes(16)
        self._clients: dict[str, _Client] = {}

    def report(self, client: str, value: Mapping[str, Any]) -> None:
        """Replace a client's report. Raises `ValueError` for a wrong one."""
        if not _CLIENT.fullmatch(client):
            raise ValueError("the name of a client is 1 to 64 characters of A-Z a-z 0-9 _ . -")
        buckets = value.get("buckets")
        if not isinstance(buckets, list) or not all(isinstance(one, dict) for one in buckets):
            raise ValueError("buckets must be an array of objects with the fields of BucketSnapshot")
        if len(buckets) > MOST_BUCKETS:
            raise ValueError(
                f"{len(buckets)} buckets are more than {MOST_BUCKETS}; leave some out and count them in more"
            )
        ended = value.get("ended", False)
        if not isinstance(ended, bool):
            raise ValueError("ended must be true or false")  # noqa: TRY004 - every bad request is a ValueError
        told = _Client(
            name=_text(value, "name") or client,
            at=self._clock(),
            ended=ended,
            more=_count(value, "more") or 0,
            buckets=[self._read(one) for one in buckets],
        )
        self._forget()
        self._clients.pop(client, None)
        self._clients[client] = told
        if len(self._clients) > _MOST_CLIENTS:
            # Ended clients are dropped first, then those silent for the longest time.
            del self._clients[min(self._clients, key=lambda one: (not self._clients[one].ended, self._clients[one].at))]
        self.revision += 1

    def listing(self) -> list[dict[str, Any]]:
        """Return the reports as JSON-ready data, ordered by the name of the client, then by its id."""
        self._forget()
        now = self._clock()
        return [
            {
                "client": client,
                "name": told.name,
                "ended": told.ended,
                "silent": round(now - told.at, 1),
                "more": told.more,
                "buckets": told.buckets,
            }
            for client, told in sorted(self._clients.items(), key=lambda item: (item[1].ended, item[1].name, item[0]))
        ]

    def clear(self) -> None:
        """Drop all reports. Running clients report again."""
        self._clients.clear()
        self.revision += 1

    def _forget(self) -> None:
        now = self._clock()
        gone = [client for client, told in self._clients.items() if told.gone(now)]
        for client in gone:
            del self._clients[client]
        self.revision += bool(gone)

    def _read(self, bucket: Mapping[str, Any]) -> dict[str, Any]:
        endpoint = _without_query(_text(bucket, "endpoint") or "")
        if not endpoint:
            raise ValueError("a bucket needs an endpoint, such as GET /contact/{identifier}")
        path = _text(bucket, "path", PATH_BOUND)
        path = None if path is None else _without_query(path)
        account = _text(bucket, "account", PATH_BOUND)
        found = self._enforced(endpoint, path)
        return {
            "endpoint": endpoint,
            "path": path,
            "account": label(account, self._key) if account else "",
            **{name: _text(bucket, name) or "" for name in ("scope", "scope_reason", "state", "source")},
            **{name: _count(bucket, name) for name in ("limit", "remaining")},
            **{name: _number(bucket, name) for name in ("rate", "window")},
            **{name: _count(bucket, name) or 0 for name in ("waiting", "in_flight", "sent", "refused")},
            "paused_for": _number(bucket, "paused_for") or 0.0,
            "vendor": None if found is None else found[0],
            "enforced": None if found is None else attrs.asdict(found[1]),
        }


def _without_query(text: str) -> str:
    return text.partition("?")[0]


def _text(value: Mapping[str, Any], name: str, most: int = TEXT_BOUND) -> str | None:
    text = value.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > most:
        raise ValueError(f"{name} must be a string of at most {most} characters")
    return text


def _number(value: Mapping[str, Any], name: str) -> float | None:
    number = value.get(name)
    # In Python a `bool` is an `int`, and 1e999 in JSON is infinite.
    if number is None or (isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= _MOST):
        return number
    raise ValueError(f"{name} must be a number, 0 or more")


def _count(value: Mapping[str, Any], name: str) -> int | None:
    number = _number(value, name)
    if isinstance(number, float):
        raise ValueError(f"{name} must be a whole number, 0 or more")  # noqa: TRY004 - every bad request is a ValueError
    return number
