"""The number of concurrent requests and the ETA: Little's law and the learned quota."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aelyst_async.sync.pace import Sizer, Traffic
from aelyst_async.sync.report import Tally


def steady(sizer: Sizer, latency: float, count: int) -> int:
    for _ in range(count):
        sizer.saturated = True
        sizer.observe(latency)
    return sizer.limit


def test_sizer_grows_to_the_ceiling_while_latency_is_constant() -> None:
    sizer = Sizer(64)
    assert sizer.limit == 8
    assert steady(sizer, 0.05, 100) == 64


def test_sizer_does_not_grow_unless_saturated() -> None:
    sizer = Sizer(64)
    for _ in range(500):
        sizer.observe(0.05)
    assert sizer.limit == 8


def test_sizer_shrinks_when_latency_rises() -> None:
    sizer = Sizer(64)
    steady(sizer, 0.05, 200)
    assert steady(sizer, 0.5, 600) < 32
    assert sizer.limit >= 4


def test_sizer_settles_near_the_capacity_of_the_server() -> None:
    """The server handles ten requests at a time; latency grows with its queue."""
    sizer = Sizer(256)
    for _ in range(3000):
        steady(sizer, 0.05 * max(1.0, sizer.limit / 10), 1)
    assert 8 <= sizer.limit <= 40


def test_learned_rate_bounds_the_sizer() -> None:
    sizer = Sizer(64)
    steady(sizer, 0.3, 200)
    sizer.rate = 10.0
    assert sizer.limit == 8  # twice 10/s × 0.3 s, and two
    sizer.rate = 5000.0
    assert sizer.limit == 64


def test_sizer_stays_between_one_and_the_ceiling() -> None:
    assert steady(Sizer(1), 0.001, 100) == 1
    sizer = Sizer(2)
    sizer.rate = 0.001
    assert 1 <= steady(sizer, 5.0, 100) <= 2


class Told:
    """A gateway that reports requests and whose limiter knows rates."""

    def __init__(self, **rates: float | None) -> None:
        self.heard: Any = None
        buckets = [
            SimpleNamespace(endpoint=f"{method} /c", rate=rate, path=None, waiting=0) for method, rate in rates.items()
        ]
        self.limiter = SimpleNamespace(snapshot=lambda: tuple(buckets))

    def subscribe(self, callback: Any) -> Any:
        self.heard = callback
        return lambda: setattr(self, "heard", None)

    def answer(self, method: str, count: int, status: int | None = 200) -> None:
        for _ in range(count):
            self.heard(
                SimpleNamespace(method=method, endpoint="/c", status=status, error="X", waited=0.1, duration=0.2)
            )


def traffic(**rates: float | None) -> tuple[Traffic, Told, Tally]:
    gateway, tally = Told(**rates), Tally()
    return Traffic(gateway, tally, 64), gateway, tally


def test_eta_uses_the_slowest_endpoint_or_the_measured_pace() -> None:
    line, gateway, _ = traffic(PUT=10.0, POST=5.0)
    gateway.answer("PUT", 100)
    gateway.answer("POST", 20)
    rates = line.rates()
    # 1,000 rows more need 1,000 PUTs at 10/s and 200 POSTs at 5/s.
    assert line.eta(rates, sent=100, left=1000, pace=0.0) == pytest.approx(100.0)
    assert line.eta(rates, sent=100, left=1000, pace=50.0) == pytest.approx(100.0)
    assert line.eta(rates, sent=100, left=1000, pace=5.0) == pytest.approx(200.0), "the network is slower still"
    assert line.eta(rates, sent=100, left=0, pace=5.0) == 0.0


def test_eta_without_a_quota_uses_the_measured_pace() -> None:
    line, gateway, _ = traffic(PUT=None)
    gateway.answer("PUT", 10)
    assert line.rates() == {}
    assert line.eta({}, sent=10, left=100, pace=20.0) == 5.0
    assert line.eta({}, sent=0, left=100, pace=0.0) is None
    assert line.used({}) is None


def test_traffic_counts_requests_by_method_and_status() -> None:
    line, gateway, tally = traffic(PUT=10.0, GET=99.0)
    gateway.answer("PUT", 3, 200)
    gateway.answer("PUT", 2, 429)
    gateway.answer("POST", 1, None)
    assert dict(tally.requests) == {"PUT 200": 3, "PUT 429": 2, "POST X": 1}
    assert tally.waited == pytest.approx(0.6)
    assert tally.network == pytest.approx(1.2)
    assert line.answers == 5
    assert list(line.rates()) == ["PUT /c"], "an endpoint that this run does not use says nothing about it"
    line.close()
    line.close()
    assert gateway.heard is None
