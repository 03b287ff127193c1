"""Required use of a quota and highest share of refused requests, for each kind of server."""

from __future__ import annotations

from typing import Any

import pytest

from aelyst_async.ratelimit import Quota, RateLimiter
from tests.ratelimit.simulator import ENDPOINT, Latency, Result, Server, simulate

QUICK = Latency(up=0.001, least=0.001, down=0.003)
KINDS = ("fixed", "anchored", "sliding", "token")
QUOTAS = [
    (5, 1.0), (10, 1.0), (50, 1.0), (200, 1.0), (20, 0.2), (250, 0.05), (40, 2.0), (30, 5.0), (100, 10.0), (60, 60.0),
    (300, 60.0),
]  # fmt: skip
HARD = [(10, 1.0), (60, 1.0), (200, 1.0), (100, 10.0)]


def run(kind: str, limit: int, window: float, seed: int = 1, *, windows: float = 14, **how: Any) -> Result:
    fields = {name: how.pop(name) for name in ("headers", "retry_after", "changes") if name in how}
    server = Server(kind=kind, limit=limit, window=window, phase=(0.11 + 0.29 * seed) % 1 * window, **fields)
    how.setdefault("latency", Latency() if window >= 0.3 else QUICK)
    return simulate(server, seed=seed, windows=windows, **how)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("limit", "window"), QUOTAS)
def test_unknown_quota_is_used_almost_whole_with_few_refusals(limit: int, window: float, kind: str) -> None:
    result = run(kind, limit, window)
    assert result.late >= 0.97
    assert result.whole >= 0.94
    assert result.refused <= max(1, 0.001 * result.sent)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("limit", "window"), [(100, 1.0), (200, 1.0), (300, 2.0)])
@pytest.mark.parametrize("opening", [0.0003, 0.0006])
def test_opening_connections_costs_little_throughput(kind: str, limit: int, window: float, opening: float) -> None:
    latency = Latency(up=0.0005, least=0.005, down=0.01, opening=opening)
    result = run(kind, limit, window, windows=8, concurrency=100, latency=latency)
    # A delayed burst makes a sliding window look longer.
    assert result.late >= (0.75 if kind == "sliding" else 0.95)
    assert result.refused <= 5


@pytest.mark.slow
@pytest.mark.parametrize("how", ["user", "header"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("limit", "window"), QUOTAS)
def test_told_window_is_used_almost_whole(kind: str, limit: int, window: float, how: str) -> None:
    told = {ENDPOINT: Quota(limit, per=window)} if how == "user" else None
    headers = "all" if told else "window"
    result = run(kind, limit, window, headers=headers, limiter=lambda: RateLimiter(quotas=told))
    assert result.late >= 0.97
    assert result.refused <= max(1, 0.001 * result.sent)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("limit", "window"), [(60, 1.0), (200, 1.0), (100, 10.0)])
def test_told_window_tolerates_requests_that_overtake_each_other(kind: str, limit: int, window: float) -> None:
    told = {ENDPOINT: Quota(limit, per=window)}
    latency = Latency(jitter=0.005)
    result = run(kind, limit, window, latency=latency, limiter=lambda: RateLimiter(quotas=told))
    assert result.late >= 0.95
    assert result.refused <= 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("limit", "window"), [(39, 1.88), (482, 6.29), (54, 5.19), (20, 0.9)])
def test_windows_of_unusual_length_are_learned(kind: str, limit: int, window: float) -> None:
    """Only an upper bound of an unusual length is learned, so part of the quota may stay unused."""
    result = run(kind, limit, window, windows=60)
    assert result.late >= 0.65
    assert result.refused <= 0.02 * result.sent


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("limit", "window"), HARD)
@pytest.mark.parametrize("trouble", ["loss", "stalls", "halved", "doubled"])
def test_losses_stalls_and_quota_changes_cost_little(kind: str, limit: int, window: float, trouble: str) -> None:
    troubles: dict[str, dict[str, Any]] = {
        "loss": {"loss": 0.01},
        "stalls": {"windows": 20, "concurrency": 128, "latency": Latency(stall_every=3.0, stall=0.4)},
        "halved": {"windows": 40, "changes": ((10.33 * window, limit // 2),)},
        "doubled": {"windows": 40, "changes": ((10.33 * window, 2 * limit),)},
    }
    result = run(kind, limit, window, **troubles[trouble])
    assert result.late >= 0.9
    assert result.refused_share <= 0.025


@pytest.mark.slow
@pytest.mark.parametrize("headers", ["429", "none"])
@pytest.mark.parametrize("retry_after", ["ceil", "absent"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("limit", "window"), HARD)
def test_without_headers_few_requests_are_refused(
    kind: str, limit: int, window: float, headers: str, retry_after: str
) -> None:
    result = run(kind, limit, window, windows=40, headers=headers, retry_after=retry_after)
    assert result.late >= 0.88
    assert result.refused_share <= 0.022


@pytest.mark.slow
@pytest.mark.parametrize("clients", [2, 4])
@pytest.mark.parametrize("gap", [0.0, 4.3])
@pytest.mark.parametrize(("kind", "use", "least"), [("sliding", 0.83, 0.4), ("token", 0.95, 0.2), ("fixed", 0.65, 0.3)])
def test_independent_clients_share_a_quota(kind: str, use: float, least: float, clients: int, gap: float) -> None:
    result = run(kind, 100, 1.0, windows=40 + clients * gap, clients=clients, start_gap=gap)
    assert result.late >= use
    assert result.refused_share <= 0.035
    assert min(result.by_client) >= least * sum(result.by_client) / clients
