"""What happened: a log of the last requests, and counters that a test can assert.

The log is a ring, bounded in entries and in bytes, so a sandbox that runs for a week keeps its size. It holds what
came over the wire; `LoggedRequest` is the form that leaves it, with every credential taken out.

The counters answer what a test of a client wants to know: how many requests, by endpoint and status; the most that
arrived in any one second (of the sandbox's clock), in all and per endpoint; the most in flight at once; how many
were refused with 429.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

__all__ = ["Counters", "Evidence", "LoggedRequest", "Peak", "redact_headers", "redact_path"]

_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "set-cookie"})
_SECRET_QUERY = re.compile(r"([?&](?:api_?key|access_?token|token|key|secret|password)=)[^&#]*", re.IGNORECASE)
HIDDEN = "***"
_BODY_KEPT = 16_384
"""Bytes of a body that the log keeps."""


def redact_path(path: str) -> str:
    """Return a path and query without the values that are credentials."""
    return _SECRET_QUERY.sub(rf"\g<1>{HIDDEN}", path) if "?" in path else path


def redact_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers as a dict, credentials hidden; a scheme such as ``Bearer`` stays visible."""
    shown: dict[str, str] = {}
    for name, value in headers:
        text = _hidden(value) if name.lower() in _SECRET_HEADERS else value
        shown[name] = f"{shown[name]}, {text}" if name in shown else text
    return shown


def _hidden(value: str) -> str:
    scheme, blank, _ = value.partition(" ")
    return f"{scheme} {HIDDEN}" if blank and scheme.lower() in {"bearer", "basic"} else HIDDEN


@attrs.frozen(kw_only=True)
class LoggedRequest:
    """One exchange, credentials hidden. ``number`` counts from 1; ``at`` is the sandbox's clock in Unix seconds.

    ``path`` is as sent, still percent-encoded, from the vendor's root on; ``endpoint`` is the method and the route,
    or empty where no route fits. ``status`` is `None` where no answer was sent. ``fault`` names what was injected.
    Bodies are cut at 16,384 bytes.
    """

    number: int
    at: float
    vendor: str
    method: str
    path: str
    endpoint: str
    status: int | None
    duration: float
    fault: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    answer_headers: Mapping[str, str] = attrs.field(repr=False)
    answer: bytes = attrs.field(repr=False)

    @property
    def json(self) -> Any:
        """The request's body, decoded. Raises `ValueError` if it is not JSON."""
        return json.loads(self.body)

    def summary(self) -> dict[str, Any]:
        """Return what a line of a list shows."""
        return {
            "number": self.number,
            "at": self.at,
            "vendor": self.vendor,
            "method": self.method,
            "path": self.path,
            "endpoint": self.endpoint,
            "status": self.status,
            "duration": self.duration,
            "fault": self.fault,
        }


class Entry:
    """One exchange as the log holds it: filled in while the request goes through, formatted only when looked at."""

    __slots__ = (
        "answer",
        "answer_headers",
        "at",
        "body",
        "duration",
        "endpoint",
        "fault",
        "headers",
        "method",
        "number",
        "path",
        "status",
        "vendor",
    )

    def __init__(self, number: int, at: float, vendor: str, method: str, path: str) -> None:
        self.number: int = number
        self.at: float = at
        self.vendor: str = vendor
        self.method: str = method
        self.path: str = path
        self.endpoint: str = ""
        self.status: int | None = None
        self.duration: float = 0.0
        self.fault: str = ""
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self.body: bytes = b""
        self.answer_headers: Mapping[str, str] = {}
        self.answer: bytes = b""

    def size(self) -> int:
        """Return about how many bytes it occupies."""
        return 600 + len(self.body) + len(self.answer) + sum(len(n) + len(v) for n, v in self.headers)

    def freeze(self) -> LoggedRequest:
        """Return it for people and tests."""
        decoded = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers)
        return LoggedRequest(
            number=self.number,
            at=self.at,
            vendor=self.vendor,
            method=self.method,
            path=redact_path(self.path),
            endpoint=self.endpoint,
            status=self.status,
            duration=self.duration,
            fault=self.fault,
            headers=redact_headers(decoded),
            body=self.body,
            answer_headers=redact_headers(self.answer_headers.items()),
            answer=self.answer,
        )


class Peak:
    """The most events in any span of one second, exactly, in memory proportional to that number."""

    __slots__ = ("_times", "value")

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self.value: int = 0

    def add(self, at: float) -> None:
        """Count an event; `at` never goes back."""
        times = self._times
        times.append(at)
        horizon = at - 1.0
        while times[0] <= horizon:
            times.popleft()
        if len(times) > self.value:
            self.value = len(times)


@attrs.frozen(kw_only=True)
class Counters:
    """What a test asserts. ``by_status`` maps (endpoint, status) to a number, status 0 where no answer was sent.

    ``peak`` is the most requests that arrived in any one second, ``peak_by_endpoint`` the same per endpoint;
    ``in_flight_peak`` the most at the same time. ``duplicates`` is the number of contacts that share their e-mail
    address or phone with an older one.
    """

    requests: int
    by_status: Mapping[tuple[str, int], int]
    refused: int
    peak: int
    peak_by_endpoint: Mapping[str, int]
    in_flight: int
    in_flight_peak: int
    contacts: Mapping[str, int]
    duplicates: Mapping[str, int]

    def count(self, *, endpoint: str | None = None, status: int | None = None) -> int:
        """Return how many requests had this endpoint and this status (`None`: any)."""
        return sum(
            number
            for (name, code), number in self.by_status.items()
            if endpoint in {None, name} and status in {None, code}
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-ready data: ``by_status`` as endpoint → status → number."""
        nested: dict[str, dict[str, int]] = {}
        for (endpoint, status), number in sorted(self.by_status.items()):
            nested.setdefault(endpoint, {})[str(status)] = number
        return {**attrs.asdict(self), "by_status": nested}


class Evidence:
    """The log and the counters of one account."""

    def __init__(self, *, entries: int = 10_000, size: int = 64 << 20) -> None:
        self._ring: deque[Entry] = deque()
        self._entries = entries
        self._size_bound = size
        self._size = 0
        self._number = 0
        self.finished: int = 0
        """How many exchanges were logged, ever: a reader that saw N of them knows how many are new."""
        self.generation: int = 0
        """Grows when the log is cleared."""
        self._in_flight = 0
        self.clear()

    def clear(self) -> None:
        """Forget the log and the counters; requests in flight go on, and numbers too."""
        self._ring.clear()
        self._size = 0
        self._by_status: Counter[tuple[str, int]] = Counter()
        self._peak = Peak()
        self._peaks: dict[str, Peak] = {}
        self.generation += 1
        self._in_flight_peak = self._in_flight
        self._requests = 0

    def begin(self, at: float, vendor: str, method: str, path: str, endpoint: str) -> Entry:
        """Count a request that has arrived."""
        self._number += 1
        self._requests += 1
        self._in_flight += 1
        if self._in_flight > self._in_flight_peak:
            self._in_flight_peak = self._in_flight
        self._peak.add(at)
        if endpoint:
            peak = self._peaks.get(endpoint)
            if peak is None:
                peak = self._peaks[endpoint] = Peak()
            peak.add(at)
        entry = Entry(self._number, at, vendor, method, path)
        entry.endpoint = endpoint
        return entry

    def finish(self, entry: Entry) -> None:
        """Log an exchange that is over, answered or not."""
        self._in_flight -= 1
        self._by_status[entry.endpoint or f"{entry.method} (no such route)", entry.status or 0] += 1
        if len(entry.body) > _BODY_KEPT:
            entry.body = entry.body[:_BODY_KEPT]
        if len(entry.answer) > _BODY_KEPT:
            entry.answer = entry.answer[:_BODY_KEPT]
        self._ring.append(entry)
        self._size += entry.size()
        while len(self._ring) > self._entries or self._size > self._size_bound:
            self._size -= self._ring.popleft().size()
        self.finished += 1

    def requests(self) -> tuple[LoggedRequest, ...]:
        """Return the log, in the order in which the exchanges ended."""
        return tuple(entry.freeze() for entry in self._ring)

    def find(self, number: int) -> LoggedRequest | None:
        """Return one exchange, if the ring still holds it."""
        for entry in reversed(self._ring):
            if entry.number == number:
                return entry.freeze()
        return None

    def newest(self, count: int) -> Iterator[LoggedRequest]:
        """Yield the last `count` exchanges, oldest first."""
        start = max(0, len(self._ring) - count)
        for position in range(start, len(self._ring)):
            yield self._ring[position].freeze()

    def counters(self, contacts: Mapping[str, int], duplicates: Mapping[str, int]) -> Counters:
        """Return the counters as they stand."""
        return Counters(
            requests=self._requests,
            by_status=dict(self._by_status),
            refused=sum(number for (_, status), number in self._by_status.items() if status == 429),
            peak=self._peak.value,
            peak_by_endpoint={endpoint: peak.value for endpoint, peak in self._peaks.items()},
            in_flight=self._in_flight,
            in_flight_peak=self._in_flight_peak,
            contacts=contacts,
            duplicates=duplicates,
        )
