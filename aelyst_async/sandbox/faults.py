"""Injected faults, reproducible.

A `Fault` has a kind, a place (vendor, endpoint) and a condition (a rate, the nth call, the first n, every nth). The
kinds, by the time at which they take effect:

    before the operation   status, html, reset, queued        nothing is written (status and html with
                                                              ``applied=True``: the write takes place)
    during it              latency, late                      the response, or the contact, is late
    after it               reset-after, truncate, garbage,    the write took place; the client gets no response or
                           slow-body, content-type            one that it cannot read

``reset-after`` causes duplicates in clients that repeat a create.

**Independent of concurrency.** One stream of random numbers would depend on the order of requests. So a rate hashes
the seed, the fault, the request (method, path, body) and the number of times this request was received. The same
request has the same outcome in any order, and a repeated request gets a new draw.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import attrs

__all__ = ["KINDS", "Fault", "FaultPlan", "Kind", "KindFacts", "Strike", "parse_fault"]

Kind = Literal[
    "status",
    "html",
    "reset",
    "queued",
    "latency",
    "late",
    "reset-after",
    "truncate",
    "garbage",
    "slow-body",
    "content-type",
]


@attrs.frozen
class KindFacts:
    """One kind of fault: its effect, the options of `Fault` that it takes, and the default of ``seconds``."""

    summary: str
    options: tuple[str, ...] = ()
    seconds: float | None = None


_STATUS_OPTIONS = ("status", "retry_after", "retry_after_form", "applied")
KINDS: dict[str, KindFacts] = {
    "status": KindFacts("an error status with the vendor's error body", _STATUS_OPTIONS),
    "html": KindFacts("an HTML error page, as sent by a proxy", _STATUS_OPTIONS),
    "reset": KindFacts("the connection is reset before the write"),
    "queued": KindFacts("449 for that path for a time; nothing is written", ("seconds",), 60.0),
    "latency": KindFacts("the response is late", ("seconds", "sigma"), 0.1),
    "late": KindFacts("a created contact is found only later", ("seconds",), 2.0),
    "reset-after": KindFacts("the write is applied, then the connection is reset"),
    "truncate": KindFacts("the write is applied, half of the body is sent"),
    "garbage": KindFacts("the write is applied, the body is not JSON"),
    "slow-body": KindFacts("the headers are sent at once, the body in pieces", ("seconds",), 1.0),
    "content-type": KindFacts("JSON declared as text/html"),
}
"""Every kind, in the order of `Kind`."""


_OPTION_NAMES = frozenset(name for facts in KINDS.values() for name in facts.options)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}: {value!r} is not a number")  # noqa: TRY004 - it comes from JSON or a command line
    return value


def _rate(_: Fault, attribute: Any, value: float | None) -> None:
    if value is not None and not 0 <= _number(attribute.name, value) <= 1:
        raise ValueError(f"{attribute.name}: {value!r} is not between 0 and 1")


def _positive(_: Fault, attribute: Any, value: int | None) -> None:
    if value is not None and (_number(attribute.name, value) < 1 or value != int(value)):
        raise ValueError(f"{attribute.name}: {value!r} is not a whole number, 1 or more")


def _status(_: Fault, attribute: Any, value: int | None) -> None:
    if value is not None and not (200 <= _number(attribute.name, value) <= 599 and value == int(value)):
        raise ValueError(f"{attribute.name}: {value!r} is not between 200 and 599")


def _duration(_: Fault, attribute: Any, value: float | None) -> None:
    if value is not None and not 0 <= _number(attribute.name, value) < 1e7:
        raise ValueError(f"{attribute.name}: {value!r} is not a number of seconds")


def _option(default: Any, validator: Any = None) -> Any:
    # Not `frozen(kw_only=True)` with an exception for `kind`: attrs knows exceptions only since 25.4.
    return attrs.field(default=default, validator=validator, kw_only=True)


@attrs.frozen
class Fault:
    """One fault. Give at most one of ``rate``, ``nth``, ``first``, ``every``; without them every call is affected.

    ``vendor`` and ``endpoint`` (``"POST /contact/{identifier}"``, or only a method) restrict it. Each kind has its own
    options (`KINDS`). ``status`` is the status of the kinds status and html. ``retry_after`` is in seconds and sent as
    seconds or as a date (``retry_after_form``). With ``applied`` the operation takes place although the response is an
    error. ``seconds`` is the length of the latency, the queue or the delay; with ``sigma`` a latency is log-normal with
    the median ``seconds``. Raises `ValueError`, also for an option that the kind does not have.
    """

    kind: Kind = attrs.field(validator=attrs.validators.in_(tuple(KINDS)))
    vendor: str | None = _option(None)
    endpoint: str | None = _option(None)
    rate: float | None = _option(None, _rate)
    nth: int | None = _option(None, _positive)
    first: int | None = _option(None, _positive)
    every: int | None = _option(None, _positive)
    status: int | None = _option(None, _status)
    retry_after: float | None = _option(None, _duration)
    retry_after_form: Literal["seconds", "date"] = _option("seconds", attrs.validators.in_(("seconds", "date")))
    seconds: float | None = _option(None, _duration)
    sigma: float = _option(0.0, _duration)
    applied: bool = _option(False, attrs.validators.in_((False, True)))

    def __attrs_post_init__(self) -> None:
        if sum(value is not None for value in (self.rate, self.nth, self.first, self.every)) > 1:
            raise ValueError("give only one of rate, nth, first and every")
        taken = KINDS[self.kind].options
        for field in attrs.fields(Fault):
            if field.name in _OPTION_NAMES - set(taken) and getattr(self, field.name) != field.default:
                raise ValueError(f"{field.name}: the kind {self.kind!r} takes {', '.join(taken) or 'no option'}")

    @property
    def code(self) -> int:
        """The HTTP status of the kinds status and html."""
        return self.status or (502 if self.kind == "html" else 500)

    def matches(self, vendor: str, endpoint: str) -> bool:
        """Whether the fault applies to calls of this endpoint."""
        if self.vendor is not None and self.vendor != vendor:
            return False
        return self.endpoint is None or self.endpoint in {endpoint, endpoint.partition(" ")[0]}

    def as_json(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        fields = attrs.fields(Fault)
        return {field.name: value for field in fields if (value := getattr(self, field.name)) != field.default}

    def __str__(self) -> str:
        return f"{self.kind} {self.code}" if self.kind in {"status", "html"} else self.kind


_OPTIONS: dict[str, tuple[str, Any]] = {
    "code": ("status", int),
    "status": ("status", int),
    "seconds": ("seconds", float),
    "median": ("seconds", float),
    "sigma": ("sigma", float),
    "retry_after": ("retry_after", float),
    "form": ("retry_after_form", str),
    "applied": ("applied", lambda text: {"yes": True, "no": False}[text]),
}
_FAULT_HELP = "write KIND[,OPTION:VALUE]…=WHEN[@[VENDOR ]METHOD /route], such as 503=0.1 or latency,seconds:0.2=100%"


def parse_fault(text: str) -> Fault:
    """Read a fault in the form of the command line.

    ``KIND[,OPTION:VALUE]…=WHEN[@WHERE]``. A number as KIND is a status. WHEN is a rate (``0.1``, ``10%``),
    ``nth:3``, ``first:2`` or ``every:7``. WHERE is an endpoint, a vendor, or both. Raises `ValueError`.
    """
    what, equals, when_where = text.partition("=")
    when, _, where = when_where.partition("@")
    kind, *options = what.strip().split(",")
    given: dict[str, Any] = {}
    if kind.isdecimal():
        given["status"], kind = int(kind), "status"
    if not equals or kind not in KINDS:
        raise ValueError(f"{text!r} is not a fault; {_FAULT_HELP}; kinds: {', '.join(KINDS)}")
    try:
        for option in options:
            name, _, value = option.partition(":")
            field, read = _OPTIONS[name.strip()]
            given[field] = read(value.strip())
        form, colon, number = when.strip().partition(":")
        if colon and form in {"nth", "first", "every"}:
            given[form] = int(number)
        elif form.endswith("%"):
            given["rate"] = float(form[:-1]) / 100
        else:
            given["rate"] = float(form)
        head, _, tail = where.strip().partition(" ")
        if head and not head.isupper():
            given["vendor"], where = head, tail
        if where.strip():
            given["endpoint"] = where.strip()
        return Fault(kind, **given)  # type: ignore[arg-type]
    except (KeyError, ValueError) as error:
        reason = f"unknown option or value {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{text!r} is not a fault: {reason}; {_FAULT_HELP}") from None


@attrs.frozen
class Strike:
    """A fault that affects one call. ``delay`` is the drawn delay in seconds; ``noise`` seeds random bytes."""

    fault: Fault
    delay: float
    noise: bytes


class _Armed:
    """A fault in force, with its counts."""

    __slots__ = ("calls", "fault", "fired", "number", "seen")

    def __init__(self, number: int, fault: Fault) -> None:
        self.number = number
        self.fault = fault
        self.calls = 0
        self.fired = 0
        self.seen: Counter[bytes] = Counter()


class FaultPlan:
    """The faults in force of one account."""

    def __init__(self, seed: int = 0, faults: Iterable[Fault] = ()) -> None:
        self.seed = seed
        self._armed: list[_Armed] = []
        self._number = 0
        self._queued: dict[str, float] = {}
        self.revision: int = 0
        """Increases when a fault is added or removed, or takes effect."""
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> int:
        """Add a fault and return its number."""
        self._number += 1
        self.revision += 1
        self._armed.append(_Armed(self._number, fault))
        return self._number

    def remove(self, number: int) -> bool:
        """Remove a fault. Returns `False` if there is none of this number."""
        before = len(self._armed)
        self.revision += 1
        self._armed = [one for one in self._armed if one.number != number]
        return len(self._armed) < before

    def clear(self) -> None:
        """Remove all faults and queues, and number new faults from 1."""
        self._armed.clear()
        self._queued.clear()
        self.revision += 1
        self._number = 0

    def armed(self) -> list[tuple[Fault, int]]:
        """Return the faults in force, each with its number."""
        return [(one.fault, one.number) for one in self._armed]

    def listing(self) -> list[dict[str, Any]]:
        """Return the faults in force as JSON-ready data, with the numbers of calls seen and affected."""
        return [
            {"number": one.number, "calls": one.calls, "fired": one.fired, **one.fault.as_json()} for one in self._armed
        ]

    def __bool__(self) -> bool:
        return bool(self._armed or self._queued)

    def queued(self, path: str, now: float) -> bool:
        """Whether a path still answers 449 because of an earlier fault."""
        until = self._queued.get(path)
        if until is None:
            return False
        if now >= until:
            del self._queued[path]
            return False
        return True

    def queue(self, path: str, until: float) -> None:
        """Have a path answer 449 until the given time."""
        self._queued[path] = until

    def strikes(self, vendor: str, endpoint: str, method: str, path: str, body: bytes) -> list[Strike]:
        """Return the faults that affect this call, in the order in which they were added."""
        hits: list[Strike] = []
        key = b""
        for one in self._armed:
            fault = one.fault
            if not fault.matches(vendor, endpoint):
                continue
            one.calls += 1
            if not key:
                key = hashlib.blake2b(
                    b"\0".join((vendor.encode(), method.encode(), path.encode("utf-8", "backslashreplace"), body)),
                    digest_size=16,
                ).digest()
            one.seen[key] += 1
            draw = hashlib.blake2b(f"{self.seed}/{one.number}/{one.seen[key]}/".encode() + key, digest_size=32).digest()
            if self._fires(one, int.from_bytes(draw[:8], "big") / 2**64):
                one.fired += 1
                uniform = (int.from_bytes(draw[8:16], "big") + 0.5) / 2**64
                hits.append(Strike(fault, _delay(fault, uniform), draw[16:]))
        if hits:
            self.revision += 1
            self._armed = [one for one in self._armed if not self._exhausted(one)]
        return hits

    @staticmethod
    def _exhausted(one: _Armed) -> bool:
        last = one.fault.first or one.fault.nth
        return last is not None and one.calls >= last

    @staticmethod
    def _fires(one: _Armed, uniform: float) -> bool:
        fault = one.fault
        if fault.rate is not None:
            return uniform < fault.rate
        if fault.nth is not None:
            return one.calls == fault.nth
        if fault.first is not None:
            return one.calls <= fault.first
        return fault.every is None or one.calls % fault.every == 0


_NORMAL = statistics.NormalDist()


def _delay(fault: Fault, uniform: float) -> float:
    seconds = fault.seconds if fault.seconds is not None else KINDS[fault.kind].seconds or 0.0
    if fault.kind == "latency" and fault.sigma:
        # Draws of 64 bits reach nine sigma, too long for a test.
        return seconds * math.exp(fault.sigma * max(-4.0, min(4.0, _NORMAL.inv_cdf(uniform))))
    return seconds
