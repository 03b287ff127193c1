"""Spans and metrics of gateways and jobs, for OpenTelemetry (extra ``otel``).

::

    aelyst PUT /contact/{identifier}        a call with its retries and waits            INTERNAL
    ├── PUT /contact/{identifier}           an attempt: one request                      CLIENT, 429
    └── PUT /contact/{identifier}           its repeat (http.request.resend_count)       CLIENT, 200

The attempts follow the HTTP client semantic conventions (stable, 1.23 and later) with one exception: ``url.full``
contains ``REDACTED`` instead of the contact, and no query, because the query may contain the credential.
``url.template`` is the URL as a template. No event, span or metric contains a contact's data, a body or a header.

During an attempt, the instrumentations of other libraries are suppressed by OpenTelemetry's own switch. The one of
aiohttp would report each request a second time, with the whole URL.

OpenTelemetry is imported only by `instrument`. For a gateway that is not instrumented, a call costs one truth test.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import attrs

from aelyst_async.adapter import HttpGateway
from aelyst_async.errors import ConfigurationError
from aelyst_async.ratelimit import BucketSnapshot, RateLimiter
from aelyst_async.transport.events import Call, Done, Exchange, Retry, Sending, Wait
from aelyst_async.version import __version__

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from aelyst_async.fastapi.jobs import Jobs

__all__ = ["available", "instrument", "instrument_jobs"]

_SCOPE = "aelyst_async"
_SCHEMA_URL = "https://opentelemetry.io/schemas/1.27.0"

# The conventions' advice for http.client.request.duration, in seconds.
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_WAITS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_ATTEMPTS = (1.0, 2.0, 3.0, 4.0, 5.0, 8.0)


def available() -> bool:
    """Whether OpenTelemetry's API is installed. Does not import it."""
    return importlib.util.find_spec("opentelemetry") is not None and _has("opentelemetry.trace")


def instrument(
    gateway: HttpGateway,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Callable[[], None]:
    """Trace and measure all calls of `gateway` and its views, and its rate limiter. Return a function that stops this.

    The providers default to OpenTelemetry's global ones. Raises `ConfigurationError` if OpenTelemetry is not installed
    or the gateway reports no events.
    """
    _require()
    if not isinstance(gateway, HttpGateway):
        raise ConfigurationError(f"{type(gateway).__name__} is not an HttpGateway, so it reports no events")
    from opentelemetry import trace

    tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider, _SCHEMA_URL)
    meters = _meters(meter_provider)
    watcher = _Watcher(tracer, meters)
    stop_watching = gateway.subscribe(
        watcher.response,
        on_call=watcher.call,
        on_wait=watcher.wait,
        on_request=watcher.request,
        on_retry=watcher.retry,
        on_done=watcher.done,
    )
    release = _hold(meters.limiters, gateway.limiter)

    def stop() -> None:
        stop_watching()
        release()

    return stop


def instrument_jobs(
    jobs: Jobs, *, name: str = "jobs", meter_provider: MeterProvider | None = None
) -> Callable[[], None]:
    """Measure the queue of `jobs` under `name`. Return a function that stops this. Raises as `instrument`."""
    _require()
    meters = _meters(meter_provider)
    meters.jobs[jobs] = name

    def stop() -> None:
        meters.jobs.pop(jobs, None)

    return stop


@attrs.define
class _Open:
    """A running call: its span and, during an attempt, the span of the attempt, each with its context token."""

    span: Span
    token: Any
    target: dict[str, Any]
    attempt_span: Span | None = None
    attempt_token: Any = None


class _Watcher:
    """Converts the events of calls to spans and measurements. One for each gateway."""

    def __init__(self, tracer: Tracer, meters: _Meters) -> None:
        from opentelemetry import context

        self._tracer = tracer
        self._meters = meters
        self._calls: dict[Call, _Open] = {}
        # OpenTelemetry's switch has no public name. Versions without it have no instrumentation to suppress.
        self._silence: str | None = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", None)

    def call(self, call: Call) -> None:
        from opentelemetry import context, trace

        target = _target(call)
        span = self._tracer.start_span(
            f"{call.provider} {call.method} {call.endpoint}",
            kind=trace.SpanKind.INTERNAL,
            attributes={"aelyst.provider": call.provider, **target},
        )
        self._calls[call] = _Open(span, context.attach(trace.set_span_in_context(span)), target)

    def wait(self, event: Wait) -> None:
        self._calls[event.call].span.add_event(
            "rate limit", {"aelyst.wait": event.waited, "aelyst.attempt": event.attempt}
        )

    def request(self, event: Sending) -> None:
        from opentelemetry import context, trace

        call, known = event.call, self._calls[event.call]
        attributes: dict[str, Any] = {**known.target, "url.full": _redacted_url(call), "aelyst.wait": event.waited}
        if event.attempt > 1:
            attributes["http.request.resend_count"] = event.attempt - 1
        span = self._tracer.start_span(
            f"{call.method} {call.endpoint}", kind=trace.SpanKind.CLIENT, attributes=attributes
        )
        current = trace.set_span_in_context(span)
        if self._silence is not None:
            current = context.set_value(self._silence, True, current)
        known.attempt_span, known.attempt_token = span, context.attach(current)

    def response(self, event: Exchange) -> None:
        from opentelemetry import context

        known = self._calls[event.call]
        span, known.attempt_span = known.attempt_span, None
        assert span is not None
        context.detach(known.attempt_token)
        attributes = dict(known.target)
        error = _error_type(event.status, event.error)
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
            span.set_attribute("http.response.status_code", event.status)
        if error is not None:
            attributes["error.type"] = error
        _end(span, error)
        self._meters.duration.record(event.duration, attributes)
        self._meters.wait.record(event.waited, _route(event.call))

    def retry(self, event: Retry) -> None:
        self._calls[event.call].span.add_event(
            "retry", {"error.type": event.error, "aelyst.delay": event.delay, "aelyst.attempt": event.attempt}
        )

    def done(self, event: Done) -> None:
        from opentelemetry import context

        known = self._calls.pop(event.call)
        context.detach(known.token)
        known.span.set_attribute("aelyst.attempts", event.attempt)
        _end(known.span, event.error)
        attributes = _route(event.call)
        if event.error is not None:
            attributes["error.type"] = event.error
        self._meters.call_duration.record(event.duration, attributes)
        self._meters.attempts.record(event.attempt, attributes)


def _end(span: Span, error: str | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _error_type(status: int | None, error: str | None) -> str | None:
    """Return ``error.type`` of an attempt: the status from 400 on, else the name of the error class."""
    return str(status) if status is not None and status >= 400 else error


def _target(call: Call) -> dict[str, Any]:
    parts = urlsplit(call.base_url)
    return {
        "http.request.method": call.method,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        "url.template": call.endpoint,
    }


def _route(call: Call) -> dict[str, Any]:
    return {"aelyst.provider": call.provider, "http.request.method": call.method, "url.template": call.endpoint}


def _redacted_url(call: Call) -> str:
    return call.base_url + re.sub(r"\{[^}]*\}", "REDACTED", call.endpoint)


class _Meters:
    """The instruments of one meter provider, created once, because OpenTelemetry warns of duplicates."""

    def __init__(self, meter: Meter) -> None:
        self.limiters: WeakKeyDictionary[RateLimiter, int] = WeakKeyDictionary()
        self.jobs: WeakKeyDictionary[Jobs, str] = WeakKeyDictionary()
        self.duration = _histogram(
            meter, "http.client.request.duration", "s", "Duration of HTTP client requests: one attempt.", _DURATIONS
        )
        self.call_duration = _histogram(
            meter, "aelyst.call.duration", "s", "Duration of a call, repeats and waits included.", _WAITS
        )
        self.attempts = _histogram(meter, "aelyst.call.attempts", "{request}", "Requests sent for a call.", _ATTEMPTS)
        self.wait = _histogram(
            meter, "aelyst.limiter.wait", "s", "Time that a request waited for the rate limit.", _WAITS
        )
        for name, unit, description, read in _OF_LIMITER:
            meter.create_observable_gauge(name, [_observer(self._of_limiters, read)], unit, description)
        for name, unit, description, read_jobs in _OF_JOBS:
            meter.create_observable_gauge(name, [_observer(self._of_jobs, read_jobs)], unit, description)
        meter.create_observable_counter(
            "aelyst.jobs.finished", [self._finished], "{job}", "Jobs that ended, by how they ended."
        )

    def _of_limiters(self, read: Callable[[list[BucketSnapshot]], float | None]) -> Iterator[Observation]:
        from opentelemetry.metrics import Observation

        for limiter in tuple(self.limiters):
            for (account, endpoint), buckets in _by_endpoint(_snapshot(limiter)).items():
                value = read(buckets)
                if value is not None:
                    method, _, template = endpoint.partition(" ")
                    yield Observation(
                        value,
                        {"aelyst.account": account, "http.request.method": method, "url.template": template},
                    )

    def _of_jobs(self, read: Callable[[Any], int]) -> Iterator[Observation]:
        from opentelemetry.metrics import Observation

        for jobs, name in tuple(self.jobs.items()):
            yield Observation(read(jobs.stats()), {"aelyst.queue": name})

    def _finished(self, _: CallbackOptions) -> Iterator[Observation]:
        from opentelemetry.metrics import Observation

        for jobs, name in tuple(self.jobs.items()):
            stats = jobs.stats()
            for state in ("done", "failed", "merged", "refused", "retried"):
                yield Observation(getattr(stats, state), {"aelyst.queue": name, "aelyst.job.state": state})


def _histogram(meter: Meter, name: str, unit: str, description: str, bounds: tuple[float, ...]) -> Histogram:
    try:
        return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)
    except TypeError:
        # OpenTelemetry before 1.30, in a program without our extra.
        return meter.create_histogram(name, unit, description)


_OF_LIMITER: tuple[tuple[str, str, str, Callable[[list[BucketSnapshot]], float | None]], ...] = (
    ("aelyst.limiter.limit", "{request}", "Requests per window, as the server said last.",
     lambda buckets: max((one.limit for one in buckets if one.limit is not None), default=None)),
    ("aelyst.limiter.remaining", "{request}", "Requests left, as the server said last; of several paths the least.",
     lambda buckets: min((one.remaining for one in buckets if one.remaining is not None), default=None)),
    ("aelyst.limiter.waiting", "{request}", "Requests that wait for the rate limit.",
     lambda buckets: sum(one.waiting for one in buckets)),
)  # fmt: skip

_OF_JOBS: tuple[tuple[str, str, str, Callable[[Any], int]], ...] = (
    ("aelyst.jobs.waiting", "{job}", "Jobs that wait.", lambda stats: stats.waiting),
    ("aelyst.jobs.running", "{job}", "Jobs that run.", lambda stats: stats.running),
    ("aelyst.jobs.capacity", "{job}", "Unfinished jobs before new ones are refused.", lambda stats: stats.capacity),
)


def _observer(
    observe: Callable[[Any], Iterator[Observation]], read: Any
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: observe(read)


def _by_endpoint(buckets: Iterable[BucketSnapshot]) -> dict[tuple[str, str], list[BucketSnapshot]]:
    """Group by account and endpoint, because the name of a bucket for a path contains a contact."""
    grouped: dict[tuple[str, str], list[BucketSnapshot]] = {}
    for bucket in buckets:
        grouped.setdefault((bucket.account, bucket.endpoint), []).append(bucket)
    return grouped


def _snapshot(limiter: RateLimiter) -> tuple[BucketSnapshot, ...]:
    # Runs in the exporter's thread, while the event loop may add a bucket.
    for _ in range(10):
        with contextlib.suppress(RuntimeError):  # "changed size during iteration"
            return limiter.snapshot()
    return ()


_by_provider: WeakKeyDictionary[Any, _Meters] = WeakKeyDictionary()


def _meters(provider: MeterProvider | None) -> _Meters:
    from opentelemetry import metrics

    provider = metrics.get_meter_provider() if provider is None else provider
    found = _by_provider.get(provider)
    if found is None:
        found = _by_provider[provider] = _Meters(metrics.get_meter(_SCOPE, __version__, provider, _SCHEMA_URL))
    return found


def _hold(limiters: WeakKeyDictionary[RateLimiter, int], limiter: RateLimiter) -> Callable[[], None]:
    """Count one more gateway that uses `limiter`. Its gauges are reported as long as there is one."""
    limiters[limiter] = limiters.get(limiter, 0) + 1

    def release() -> None:
        left = limiters.get(limiter, 0) - 1
        if left > 0:
            limiters[limiter] = left
        else:
            limiters.pop(limiter, None)

    return release


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def _require() -> None:
    if not available():
        raise ConfigurationError("OpenTelemetry is not installed: pip install 'aelyst-async[otel]'")
