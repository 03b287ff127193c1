"""The log of the last requests, and counters that a test can assert.

The log is a ring buffer, bounded in entries and in bytes. It holds requests as they were received; `LoggedRequest` is
the form in which they are read, without credentials, and `as_curl` repeats one in a shell.

The counters are the numbers of requests by endpoint and status, of refused requests (429), the peak of requests in
one second of the sandbox's clock (in all and by endpoint), and the peak of concurrent requests.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

import attrs

from aelyst_async.sandbox.vendors import vendors

__all__ = ["Counters", "Evidence", "LoggedRequest", "Peak", "as_curl", "redact_headers", "redact_path"]

_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "set-cookie"})
_SECRET_PARAMETERS = frozenset(
    {"api_key", "apikey", "access_token", "accesstoken", "token", "key", "secret", "password"}
)
_PARAMETER = re.compile(r"([?&])([^=&#]*)=[^&#]*")
HIDDEN = "***"
_BODY_KEPT = 16_384
"""Number of bytes of a body that the log keeps."""


def redact_path(path: str, names: frozenset[str] = frozenset()) -> str:
    """Return a path and query with the credentials hidden. `names`: further parameters that hold one, in lower case."""

    def hide(found: re.Match[str]) -> str:
        name = unquote_plus(found[2]).lower()
        return f"{found[1]}{found[2]}={HIDDEN}" if name in _SECRET_PARAMETERS or name in names else found[0]

    return _PARAMETER.sub(hide, path) if "?" in path else path


def redact_headers(headers: Iterable[tuple[str, str]], names: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return headers as a dict with the credentials hidden; a scheme such as ``Bearer`` stays visible.

    `names`: further headers that hold one, in lower case.
    """
    shown: dict[str, str] = {}
    for name, value in headers:
        text = _hidden(value) if name.lower() in _SECRET_HEADERS or name.lower() in names else value
        shown[name] = f"{shown[name]}, {text}" if name in shown else text
    return shown


def _hidden(value: str) -> str:
    scheme, blank, _ = value.partition(" ")
    return f"{scheme} {HIDDEN}" if blank and scheme.lower() in {"bearer", "basic"} else HIDDEN


@attrs.frozen(kw_only=True)
class LoggedRequest:
    """One exchange, credentials hidden. ``number`` counts from 1; ``at`` is the sandbox's clock in Unix seconds.

    ``path`` is percent-encoded as sent, without the vendor's prefix. ``endpoint`` is the method and the route, or empty
    if no route matches. ``status`` is `None` if no response was sent. ``fault`` names the injected fault. ``answer`` is
    the body of the response. Bodies are cut at 16,384 bytes.
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
        """Return the fields for a list."""
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
    """One exchange in the log. It is filled in while the request is handled, and formatted only when it is read."""

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
        """Return the approximate size in bytes."""
        return 600 + len(self.body) + len(self.answer) + sum(len(n) + len(v) for n, v in self.headers)

    def freeze(self) -> LoggedRequest:
        """Return a copy without credentials."""
        vendor = vendors().get(self.vendor)
        names = vendor.secret_names if vendor is not None else frozenset[str]()
        decoded = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers)
        return LoggedRequest(
            number=self.number,
            at=self.at,
            vendor=self.vendor,
            method=self.method,
            path=redact_path(self.path, names),
            endpoint=self.endpoint,
            status=self.status,
            duration=self.duration,
            fault=self.fault,
            headers=redact_headers(decoded, names),
            body=self.body,
            answer_headers=redact_headers(self.answer_headers.items(), names),
            answer=self.answer,
        )


class Peak:
    """The largest number of events in any span of one second. Needs memory in proportion to that number."""

    __slots__ = ("_times", "value")

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self.value: int = 0

    def add(self, at: float) -> None:
        """Count an event; `at` must not decrease."""
        times = self._times
        times.append(at)
        horizon = at - 1.0
        while times[0] <= horizon:
            times.popleft()
        if len(times) > self.value:
            self.value = len(times)


@attrs.frozen(kw_only=True)
class Counters:
    """Counters of one account. ``by_status`` maps (endpoint, status) to a number; status 0 means no response.

    ``peak`` is the largest number of requests received in any one second, ``peak_by_endpoint`` the same by endpoint,
    ``in_flight_peak`` the largest number of concurrent requests. ``duplicates`` is the number of contacts that share
    their e-mail address or phone number with an older one.
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
        """Return the number of requests with this endpoint and this status; `None` matches all."""
        return sum(
            number
            for (name, code), number in self.by_status.items()
            if endpoint in {None, name} and status in {None, code}
        )

    def as_json(self) -> dict[str, Any]:
        """Return JSON-ready data, with ``by_status`` as endpoint → status → number."""
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
        """Number of exchanges logged so far, cleared ones included. A reader compares it with what it has seen."""
        self.generation: int = 0
        """Increases when the log is cleared."""
        self._in_flight = 0
        self.clear()

    def clear(self) -> None:
        """Clear the log and the counters. Requests in progress continue, and numbers are not reused."""
        self._ring.clear()
        self._size = 0
        self._by_status: Counter[tuple[str, int]] = Counter()
        self._peak = Peak()
        self._peaks: dict[str, Peak] = {}
        self.generation += 1
        self._in_flight_peak = self._in_flight
        self._requests = 0

    def begin(self, at: float, vendor: str, method: str, path: str, endpoint: str) -> Entry:
        """Count a request that was received."""
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
        """Log a finished exchange, answered or not."""
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
        """Return the log in the order in which the exchanges ended."""
        return tuple(entry.freeze() for entry in self._ring)

    def find(self, number: int) -> LoggedRequest | None:
        """Return one exchange, or `None` if the log no longer has it."""
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
        """Return the present counters."""
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


_TOKEN = '"${TOKEN:-sandbox-token}"'  # noqa: S105 - the default of the sandbox
_LEFT_OUT = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding", "user-agent"})


def as_curl(request: LoggedRequest, base_url: str) -> str:
    """Return a curl command that repeats a request. `base_url` is the vendor's.

    The credential comes from the shell variable TOKEN, else it is the sandbox's default. All data from the network are
    quoted.
    """
    parts = ["curl", "-sS", "--path-as-is", "-g", "-X", _quote(request.method), _spliced(base_url + request.path)]
    for name, value in request.headers.items():
        if name.lower() not in _LEFT_OUT:
            parts += ["-H", _spliced(f"{name}: {value}")]
    if not request.body:
        return " ".join(parts)
    try:
        text = request.body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        encoded = base64.b64encode(request.body).decode()
        return f"echo {encoded} | base64 -d | {' '.join(parts)} --data-binary @-"
    return f"{' '.join(parts)} --data-raw {_quote(text)}"


def _quote(text: str) -> str:
    # A terminal could act on pasted control characters.
    if any(ord(character) < 32 and character not in "\n\t" for character in text) or "\x7f" in text:
        escaped = "".join(f"\\x{ord(one):02x}" if ord(one) < 32 or one in "\x7f'\\" else one for one in text)
        return f"$'{escaped}'"
    return shlex.quote(text)


def _spliced(text: str) -> str:
    """Quote `text`, with the shell variable in place of a hidden credential."""
    before, hidden, after = text.partition(HIDDEN)
    if not hidden:
        return _quote(text)
    return _quote(before) + _TOKEN + (_quote(after) if after else "")
