"""Spans and metrics, read from OpenTelemetry's in-memory exporters."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.metrics import Meter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from aelyst_async import RateLimiter, RetryPolicy
from aelyst_async.errors import ConfigurationError, ContactNotFoundError, RequestTimeoutError
from aelyst_async.fastapi import AppGateway, Jobs, TenantGateways
from aelyst_async.sandbox import Sandbox
from aelyst_async.telemetry import available, instrument, instrument_jobs
from aelyst_providers.aelyst import AelystFields, AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway

QUICK = RetryPolicy(base=0.01, cap=0.02)


@attrs.frozen
class Telemetry:
    """The providers of one test, with the exported spans and metrics."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    def spans(self) -> list[ReadableSpan]:
        """Return the finished spans, ordered by start time."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def points(self, name: str) -> list[Any]:
        """Return the data points of a metric."""
        data = self.reader.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def telemetry() -> Telemetry:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Telemetry(tracer_provider, MeterProvider([reader]), exporter, reader)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(quota="none") as running:
        running.add_contact("aelyst", {"firstName": "Ann", "email": "ann@example.com"})
        yield running


@pytest.fixture
async def gateway(sandbox: Sandbox, telemetry: Telemetry) -> AsyncIterator[AelystGateway]:
    async with AelystGateway(
        sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), retry=QUICK, settle=0
    ) as running:
        watch(running, telemetry)
        yield running


def span_id(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def parent_id(span: ReadableSpan) -> tuple[int, int]:
    assert span.parent is not None
    return span.parent.trace_id, span.parent.span_id


def watch(gateway: Any, telemetry: Telemetry) -> Any:
    return instrument(gateway, tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider)


async def test_call_is_a_span_with_a_child_span_per_attempt(
    gateway: AelystGateway, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    sandbox.fail_next(503)
    await gateway.get("email:ann@example.com")
    call, first, second = telemetry.spans()
    port = int(sandbox.url.rpartition(":")[2])
    assert (call.name, call.kind, call.parent) == ("aelyst GET /contact/{identifier}", SpanKind.INTERNAL, None)
    for attempt in (first, second):
        assert (attempt.name, attempt.kind) == ("GET /contact/{identifier}", SpanKind.CLIENT)
        assert parent_id(attempt) == span_id(call)
    shared = {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.full": f"{gateway.base_url}/contact/REDACTED",
        "url.template": "/contact/{identifier}",
        "aelyst.wait": 0.0,
    }
    assert dict(first.attributes or {}) == {**shared, "http.response.status_code": 503, "error.type": "503"}
    assert dict(second.attributes or {}) == {
        **shared, "http.response.status_code": 200, "http.request.resend_count": 1,
    }  # fmt: skip
    assert (first.status.status_code, second.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert dict(call.attributes or {}) == {
        "aelyst.provider": "aelyst",
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.template": "/contact/{identifier}",
        "aelyst.attempts": 2,
    }
    assert call.status.status_code == StatusCode.UNSET
    assert [(event.name, (event.attributes or {})["error.type"]) for event in call.events] == [("retry", "ServerError")]
    assert call.start_time <= first.start_time <= first.end_time <= second.start_time <= call.end_time  # type: ignore[operator]


async def test_call_span_has_the_error_class_of_the_caller(
    gateway: AelystGateway, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    with pytest.raises(ContactNotFoundError):
        await gateway.get("email:nobody@example.com")
    call, attempt = telemetry.spans()
    assert call.status.status_code == attempt.status.status_code == StatusCode.ERROR
    assert (call.attributes or {})["error.type"] == "ContactNotFoundError"
    assert (attempt.attributes or {})["error.type"] == "404"
    telemetry.exporter.clear()

    sandbox.add_fault("latency,seconds:5=100%")
    async with AelystGateway(
        sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), timeout=0.05, retry=RetryPolicy(max_attempts=1)
    ) as impatient:
        watch(impatient, telemetry)
        with pytest.raises(RequestTimeoutError):
            await impatient.get("email:ann@example.com")
    call, attempt = telemetry.spans()
    assert (attempt.attributes or {})["error.type"] == "RequestTimeoutError"
    assert "http.response.status_code" not in (attempt.attributes or {})
    telemetry.exporter.clear()

    task = asyncio.create_task(gateway.get("email:ann@example.com"))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [(span.attributes or {})["error.type"] for span in telemetry.spans()] == ["CancelledError"] * 2


async def test_error_in_a_200_response_marks_only_the_call_span(sandbox: Sandbox, telemetry: Telemetry) -> None:
    async with CallabGateway(sandbox.token("callab"), base_url=sandbox.base_url("callab")) as gateway:
        watch(gateway, telemetry)
        with pytest.raises(ContactNotFoundError):
            await gateway.get("id:nobody")
    call, attempt = telemetry.spans()
    assert (attempt.attributes or {})["http.response.status_code"] in {200, 404}
    assert (call.attributes or {})["error.type"] == "ContactNotFoundError"


async def test_call_spans_are_children_of_the_callers_span(gateway: AelystGateway, telemetry: Telemetry) -> None:
    tracer = telemetry.tracer_provider.get_tracer("test")

    async def one(name: str) -> None:
        with tracer.start_as_current_span(name) as mine:
            await gateway.upsert("email:ann@example.com", AelystFields(first_name=name))
            assert trace.get_current_span() is mine

    await asyncio.gather(*[one(f"span {n}") for n in range(10)])
    spans = telemetry.spans()
    parents = {span_id(span): span for span in spans}
    calls = [span for span in spans if span.kind is SpanKind.INTERNAL and span.name.startswith("aelyst")]
    assert len(calls) == 10
    assert sorted(parents[parent_id(span)].name for span in calls) == sorted(f"span {n}" for n in range(10))
    assert not trace.get_current_span().get_span_context().is_valid


async def test_other_instrumentations_are_suppressed_during_attempts_only(
    gateway: AelystGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    key = otel_context._SUPPRESS_HTTP_INSTRUMENTATION_KEY
    gateway.subscribe(
        lambda _: None,
        on_call=lambda _: seen.append(otel_context.get_value(key)),
        on_request=lambda _: seen.append(otel_context.get_value(key)),
        on_done=lambda _: seen.append(otel_context.get_value(key)),
    )
    await gateway.get("email:ann@example.com")
    assert seen == [None, True, None]


async def test_metrics_have_the_documented_values_and_attributes(
    gateway: AelystGateway, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    sandbox.assume(quota="100/s")
    sandbox.fail_next(503)
    for _ in range(3):
        await gateway.get("email:ann@example.com")
    with pytest.raises(ContactNotFoundError):
        await gateway.get("email:nobody@example.com")

    durations = {
        point.attributes.get("http.response.status_code"): point
        for point in telemetry.points("http.client.request.duration")
    }
    assert {status: point.count for status, point in durations.items()} == {503: 1, 200: 3, 404: 1}
    assert durations[503].attributes == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": int(sandbox.url.rpartition(":")[2]),
        "url.template": "/contact/{identifier}",
        "http.response.status_code": 503,
        "error.type": "503",
    }
    assert durations[200].explicit_bounds[0] == 0.005
    assert 0 < durations[200].sum < 5
    route = {"aelyst.provider": "aelyst", "http.request.method": "GET", "url.template": "/contact/{identifier}"}
    attempts = telemetry.points("aelyst.call.attempts")
    assert [(point.attributes, point.count, point.sum) for point in attempts] == [
        (route, 3, 4), ({**route, "error.type": "ContactNotFoundError"}, 1, 1),
    ]  # fmt: skip
    assert sum(point.count for point in telemetry.points("aelyst.call.duration")) == 4
    assert sum(point.count for point in telemetry.points("aelyst.limiter.wait")) == 5

    (limit,) = telemetry.points("aelyst.limiter.limit")
    (remaining,) = telemetry.points("aelyst.limiter.remaining")
    (waiting,) = telemetry.points("aelyst.limiter.waiting")
    assert (limit.value, waiting.value) == (100, 0)
    assert 90 <= remaining.value < 100
    account = await gateway.account()
    assert limit.attributes == {
        "aelyst.account": account, "http.request.method": "GET", "url.template": "/contact/{identifier}",
    }  # fmt: skip


async def test_limiter_waiting_metric_follows_the_queue(
    gateway: AelystGateway, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    sandbox.assume(quota="2/m")
    calls = [asyncio.create_task(gateway.get("email:ann@example.com")) for _ in range(10)]
    await asyncio.sleep(0.3)
    (waiting,) = telemetry.points("aelyst.limiter.waiting")
    assert waiting.value >= 7
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    (waiting,) = telemetry.points("aelyst.limiter.waiting")
    assert waiting.value == 0


async def test_spans_and_metrics_contain_no_personal_data_and_no_credential(
    sandbox: Sandbox, telemetry: Telemetry
) -> None:
    sandbox.assume(quota="50/s", quota_scope="path")
    sandbox.add_contact("dmchamp", {"phoneNumber": "+60123456789"})
    async with (
        AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), settle=0, retry=QUICK) as one,
        DmChampGateway(sandbox.token("dmchamp"), base_url=sandbox.base_url("dmchamp"), settle=0, retry=QUICK) as two,
    ):
        for gateway in (one, two):
            watch(gateway, telemetry)
        sandbox.fail_next(503, times=2)
        await one.upsert("email:zoe@example.com", AelystFields(first_name="Zoe", phone="+60987654321"))
        await two.get("phone:+60123456789")
        for _ in range(3):
            with pytest.raises(ContactNotFoundError):
                await one.get("email:mallory@example.com")
        everything = "".join(span.to_json() for span in telemetry.spans())
        data = telemetry.reader.get_metrics_data()
        assert data is not None
        everything += data.to_json()
    assert "/contacts" in everything
    assert "limiter.remaining" in everything
    for secret in (
        sandbox.token("aelyst"),
        "zoe",
        "Zoe",
        "mallory",
        "60987654321",
        "60123456789",
        "apiKey",
        "%40",
        "%2B",
    ):
        assert secret not in everything


async def test_instrument_jobs_reports_job_metrics(telemetry: Telemetry) -> None:
    gate = asyncio.Event()

    async def hold() -> None:
        await gate.wait()

    async def fail() -> None:
        raise ValueError

    async with Jobs(concurrency=1, capacity=3, drain_timeout=5) as jobs:
        stop = instrument_jobs(jobs, name="webhooks", meter_provider=telemetry.meter_provider)
        await jobs.submit("a", hold)
        await jobs.submit("b", fail)
        await jobs.submit("b", fail)
        await asyncio.sleep(0.01)

        def value(name: str, **attributes: str) -> list[float]:
            wanted = {"aelyst.queue": "webhooks", **{f"aelyst.job.{key}": text for key, text in attributes.items()}}
            return [point.value for point in telemetry.points(name) if point.attributes == wanted]

        assert value("aelyst.jobs.running") == [1]
        assert value("aelyst.jobs.waiting") == [1]
        assert value("aelyst.jobs.capacity") == [3]
        assert value("aelyst.jobs.finished", state="merged") == [1]
        gate.set()
        await asyncio.sleep(0.05)
        assert value("aelyst.jobs.finished", state="done") == [1]
        assert value("aelyst.jobs.finished", state="failed") == [1]
        assert value("aelyst.jobs.waiting") == [0]
    stop()
    stop()
    assert not value("aelyst.jobs.waiting")


async def test_shared_limiter_is_measured_once_until_the_last_stop(
    sandbox: Sandbox, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = RateLimiter()
    sandbox.assume(quota="100/s")
    async with (
        AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), limiter=limiter) as one,
        AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), limiter=limiter) as two,
    ):
        stops = [watch(gateway, telemetry) for gateway in (one, two)]
        await one.get("email:ann@example.com")
        assert len(telemetry.points("aelyst.limiter.limit")) == 1, "both gateways share one limiter"
        stops[0]()
        await one.get("email:ann@example.com")
        assert len(telemetry.spans()) == 2
        assert len(telemetry.points("aelyst.limiter.limit")) == 1, "the other gateway still uses it"
        stops[1]()
        assert not telemetry.points("aelyst.limiter.limit")
    assert not caplog.records, "OpenTelemetry warns about duplicate instruments"


async def test_metrics_can_be_read_in_another_thread_while_buckets_change(
    gateway: AelystGateway, sandbox: Sandbox, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    reads = 0

    def read() -> None:
        nonlocal reads
        while not stop.is_set():
            telemetry.points("aelyst.limiter.waiting")
            reads += 1

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(300):
            async with gateway.limiter.permit(f"GET /route{number}") as permit:
                permit.observe(200, {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "9"})
            await asyncio.sleep(0)
    finally:
        stop.set()
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
    assert reads
    assert not caplog.records, "the SDK logs exceptions of callbacks"


async def test_metrics_of_a_limiter_that_always_changes_are_left_out(
    gateway: AelystGateway, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def changing(_: RateLimiter) -> None:
        raise RuntimeError("dictionary changed size during iteration")

    await gateway.get("email:ann@example.com")
    monkeypatch.setattr(RateLimiter, "snapshot", changing)
    assert not telemetry.points("aelyst.limiter.waiting")
    assert telemetry.points("http.client.request.duration")
    assert not caplog.records, "the SDK logs exceptions of callbacks"


async def test_fastapi_gateways_are_instrumented_automatically(
    sandbox: Sandbox, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "get_tracer", lambda *_: telemetry.tracer_provider.get_tracer("t"))
    address = sandbox.base_url("aelyst")
    for wanted, spans in ((None, 2), (True, 2), (False, 0)):
        app = AppGateway(lambda: AelystGateway(sandbox.token("aelyst"), base_url=address), telemetry=wanted)
        tenants = TenantGateways(AelystGateway, telemetry=wanted, base_url=address)
        async with app.lifespan(), tenants.lifespan():
            for gateway in (app.current(), tenants.get(sandbox.token("aelyst"))):
                await gateway.get("email:ann@example.com")
                assert len(telemetry.spans()) == spans
                telemetry.exporter.clear()


async def test_fastapi_jobs_are_instrumented_automatically(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", lambda: telemetry.meter_provider)
    for wanted, queues in ((None, ["webhooks"]), (True, ["webhooks"]), (False, [])):
        async with Jobs(name="webhooks", telemetry=wanted).lifespan():
            points = telemetry.points("aelyst.jobs.waiting")
            assert [point.attributes["aelyst.queue"] for point in points] == queues
        assert not telemetry.points("aelyst.jobs.waiting")


def test_instrument_without_opentelemetry_names_the_extra(tmp_path: Path) -> None:
    code = """
import asyncio, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.startswith("opentelemetry") else find(name, package)
from aelyst_async.errors import ConfigurationError
from aelyst_async.telemetry import available, instrument
from aelyst_providers.aelyst import AelystGateway
assert not available()
async def main():
    try:
        instrument(AelystGateway("t"))
    except ConfigurationError as error:
        assert "aelyst-async[otel]" in str(error)
    else:
        raise AssertionError("no error")
asyncio.run(main())
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_importing_telemetry_does_not_import_opentelemetry() -> None:
    code = "import sys, aelyst_async.telemetry; assert not [n for n in sys.modules if n.startswith('opentelemetry')]"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert available()


def test_instrument_rejects_objects_that_are_no_gateway() -> None:
    with pytest.raises(ConfigurationError, match="HttpGateway"):
        instrument(object())  # type: ignore[arg-type]


async def test_instrument_works_with_opentelemetry_before_1_30(
    sandbox: Sandbox, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    modern = Meter.create_histogram

    def before_1_30(self: Meter, name: str, unit: str = "", description: str = "") -> Any:
        return modern(self, name, unit, description)

    monkeypatch.setattr(type(telemetry.meter_provider.get_meter("x")), "create_histogram", before_1_30)
    async with AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst")) as gateway:
        watch(gateway, telemetry)
        await gateway.get("email:ann@example.com")
    (point,) = telemetry.points("http.client.request.duration")
    assert point.count == 1
