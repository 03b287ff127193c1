"""The bars: how much of a quota is used, and how few requests are refused, for each kind of server."""

from typing import Any

import pytest

from tests.ratelimit.simulator import Latency, Result, Server, simulate

QUICK = Latency(up=0.001, least=0.001, down=0.003)
SEEDS = range(2)


def run(kind: str, limit: int, window: float, seed: int, **how: Any) -> Result:
    fields = {name: how.pop(name) for name in ("headers", "retry_after", "refused_count", "changes") if name in how}
    phase = (0.37 + 0.31 * seed) % 1 * window if kind in {"fixed", "counter"} else 0.0
    server = Server(kind=kind, limit=limit, window=window, phase=phase, **fields)
    how.setdefault("windows", 14)
    how.setdefault("latency", Latency() if window >= 0.3 else QUICK)
    return simulate(server, seed=seed, **how)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kind", "limit", "window"),
    [
        # All of these were looked at while the constants were chosen. `benchmarks.ratelimit.held_out` has those that
        # were not.
        ("fixed", 200, 1), ("fixed", 100, 10), ("fixed", 1000, 5), ("fixed", 100, 60), ("fixed", 5, 1), ("fixed", 1, 1),
        ("fixed", 120, 1.7), ("fixed", 600, 60), ("fixed", 10, 1), ("fixed", 50, 1),
        ("fixed", 5, 2), ("fixed", 10, 10), ("fixed", 20, 0.2), ("fixed", 250, 0.05), ("fixed", 60, 60),
        ("anchored", 200, 1), ("anchored", 10, 1), ("anchored", 50, 1), ("anchored", 5, 1), ("anchored", 100, 10),
        ("anchored", 1000, 1), ("anchored", 60, 60),
        ("sliding", 200, 1), ("sliding", 50, 1), ("sliding", 100, 10), ("sliding", 100, 60), ("sliding", 1000, 5),
        ("sliding", 250, 0.05), ("sliding", 10, 10), ("sliding", 5, 2), ("sliding", 10, 1),
        ("sliding", 5, 1), ("sliding", 60, 1), ("sliding", 40, 2), ("sliding", 20, 0.2),
        ("token", 200, 1), ("token", 50, 1), ("token", 100, 10), ("token", 250, 0.05), ("token", 1000, 5),
        ("token", 120, 1.7), ("token", 600, 60), ("token", 10, 1), ("token", 5, 1),
        *[pytest.param(kind, 2000, 1, marks=pytest.mark.slow) for kind in ("fixed", "sliding", "token")],
    ],
)  # fmt: skip
def test_the_quota_is_used_and_nothing_is_refused(kind: str, limit: int, window: float, seed: int) -> None:
    result = run(kind, limit, window, seed)
    assert result.late >= 0.98
    assert result.whole >= 0.95
    # One while a long window is learned, whatever the limit: nobody can know that an empty quota is not full again.
    assert result.refused <= max(1, 0.001 * result.sent)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kind", "limit", "window", "late", "whole", "refused"),
    [
        # A few requests in the window, or a counter that weighs the last window: what is held today is held here.
        ("sliding", 3, 1, 0.97, 0.86, 0), ("token", 7, 2.3, 0.98, 0.95, 2), ("counter", 200, 1, 0.95, 0.95, 0),
    ],
)  # fmt: skip
def test_the_hard_kinds_do_not_get_worse(
    kind: str, limit: int, window: float, late: float, whole: float, refused: int, seed: int
) -> None:
    result = run(kind, limit, window, seed)
    assert result.late >= late
    assert result.whole >= whole
    assert result.refused <= refused


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kind", "limit", "window", "late", "refused"),
    [
        ("fixed", 10, 1, 0.98, 1), ("fixed", 60, 1, 0.98, 1), ("fixed", 200, 1, 0.98, 1), ("fixed", 100, 10, 0.98, 1),
        ("token", 10, 1, 0.98, 1), ("token", 100, 10, 0.98, 1),
        # Below the aim, held where it is today: a request refused costs a second, as Retry-After is whole seconds; and
        # what a log forgets depends on when each request really came.
        ("token", 60, 1, 0.93, 1), ("token", 200, 1, 0.96, 3), ("sliding", 10, 1, 0.85, 2), ("sliding", 60, 1, 0.90, 1),
        ("sliding", 100, 10, 0.97, 4), ("sliding", 200, 1, 0.83, 2),
    ],
)  # fmt: skip
def test_requests_that_overtake_each_other(
    kind: str, limit: int, window: float, late: float, refused: int, seed: int
) -> None:
    result = run(kind, limit, window, seed, latency=Latency(jitter=0.005))
    assert result.late >= late
    assert result.refused <= refused


@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
def test_lost_answers_cost_nothing(kind: str) -> None:
    result = run(kind, 200, 1, 0, loss=0.01)
    assert result.late >= 0.98
    assert result.refused_share <= 0.001


@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
def test_answers_that_stall_do_not_slow_it_down(kind: str) -> None:
    result = run(kind, 200, 1, 0, latency=Latency(stall_every=3, stall=0.4), windows=20, concurrency=128)
    assert result.late >= 0.98
    assert result.refused_share <= 0.001


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
def test_a_round_trip_of_a_third_of_the_window(kind: str, seed: int) -> None:
    result = run(kind, 200, 1, seed, latency=Latency(up=0.05, least=0.05, down=0.28), windows=20, concurrency=300)
    assert result.late >= (0.975 if kind == "sliding" else 0.98)  # one of a log is left to whoever may come
    assert result.refused_share <= 0.001


@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
@pytest.mark.parametrize("new", [100, 400])
def test_a_limit_that_changes(kind: str, new: int) -> None:
    result = run(kind, 200, 1, 1, windows=24, changes=((10.0, new),))
    # A log that is full when its limit is halved admits nothing for up to a window.
    assert result.late >= (0.95 if kind == "sliding" else 0.98)
    assert result.refused_share <= 0.02


def test_a_log_of_a_halved_limit_is_used_whole_again_at_once() -> None:
    """What its old limit lets be refused says nothing of the window."""
    result = run("sliding", 100, 10, 1, windows=40, changes=((103.3, 50),))
    assert result.late >= 0.975


# Below the aim of 0.98 but for buckets: a refused request costs a second, and what a log has left must not be spent.
@pytest.mark.parametrize(("kind", "late"), [("fixed", 0.85), ("sliding", 0.80), ("token", 0.98)])
def test_a_neighbour_who_spends_the_same_quota(kind: str, late: float) -> None:
    result = run(kind, 200, 1, 0, foreign=lambda _: 80.0, windows=20)
    assert result.late >= late  # theirs and ours
    assert result.refused_share <= 0.01


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gap", [0.0, 4.3])
@pytest.mark.parametrize(
    ("limit", "window", "refused"), [(200, 1, 0.001), pytest.param(1000, 5, 0.001, marks=pytest.mark.slow)]
)
def test_two_clients_share_a_bucket(limit: int, window: float, refused: float, gap: float, seed: int) -> None:
    result = run("token", limit, window, seed, clients=2, windows=30, start_gap=gap * window)
    assert result.late >= 0.98
    assert result.refused_share <= refused
    # Who comes late takes a bucket for a log at first, which costs it some of its share in so short a run.
    least = 0.35 if gap else 0.4
    assert least <= result.by_client[0] / sum(result.by_client) <= 1 - least


@pytest.mark.parametrize("gap", [0.0, 4.3])
def test_two_clients_share_a_window(gap: float) -> None:
    shares = []
    for seed in range(3):
        result = run("fixed", 200, 1, seed, clients=2, windows=40, start_gap=gap)
        assert result.late >= 0.93
        assert result.refused_share <= 0.015
        shares.append(result.by_client[0] / sum(result.by_client))
    # The aim is 40:60 each time, and it is met mostly: see the docs.
    assert 0.4 <= sorted(shares)[1] <= 0.6


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("limit", "window"), [(60, 1), (200, 1), (100, 10)])
def test_two_clients_share_a_log(limit: int, window: float, seed: int) -> None:
    result = run("sliding", limit, window, seed, clients=2, windows=40)
    assert result.late >= (0.96 if limit == 100 else 0.98)
    assert result.whole >= 0.95
    assert result.refused_share <= 0.01
    assert min(result.by_client) >= (0.38 if limit == 100 else 0.4) * sum(result.by_client)


# Who comes late is still refused now and then by who was there, and then loses what it had: the docs say how often.
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("limit", "window", "late"), [(200, 1, 0.925), (100, 10, 0.94)])
def test_who_comes_late_gets_its_share_of_a_full_log(limit: int, window: float, late: float, seed: int) -> None:
    result = run("sliding", limit, window, seed, clients=2, windows=40, start_gap=4.3 * window)
    assert result.late >= late
    assert result.refused_share <= 0.01
    assert min(result.by_client) >= 0.33 * sum(result.by_client)


@pytest.mark.parametrize("seed", range(2))
def test_three_clients_each_have_some_of_a_log(seed: int) -> None:
    result = run("sliding", 200, 1, seed, clients=3, windows=60)
    assert result.late >= 0.95
    assert result.refused_share <= 0.01
    assert min(result.by_client) >= 0.05 * sum(result.by_client)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
def test_two_clients_that_start_at_once_with_much_to_send(kind: str, seed: int) -> None:
    """Each is shown the whole quota: what is out at once must not be all of it."""
    result = run(kind, 200, 1, seed, clients=2, windows=12, concurrency=100)
    assert result.refused_share <= 0.005


@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
@pytest.mark.parametrize("headers", ["none", "429"])
@pytest.mark.parametrize(
    ("limit", "window", "refused"), [(10, 1, 0.022), (50, 1, 0.019), (200, 1, 0.008), (100, 10, 0.013)]
)
@pytest.mark.parametrize("retry_after", ["ceil", "exact", "absent"])
def test_without_headers_few_are_refused_and_all_is_used(
    kind: str, headers: str, limit: int, window: float, retry_after: str, refused: float
) -> None:
    result = run(kind, limit, window, 0, windows=40, headers=headers, retry_after=retry_after)
    assert result.refused_share <= refused
    assert result.late >= 0.965


@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
def test_refused_requests_that_count_too(kind: str) -> None:
    result = run(kind, 200, 1, 0, refused_count=True)
    assert result.late >= 0.97
    assert result.refused_share <= 0.001


@pytest.mark.parametrize("seed", [0, 4, 7, 9, 15])
def test_a_bucket_that_holds_far_less_than_its_limit(seed: int) -> None:
    server = Server(kind="token", limit=200, window=1.0, burst=20)
    result = simulate(server, seed=seed, windows=12, latency=Latency(up=0.001, least=0.005, down=0.01), concurrency=100)
    assert result.late >= 0.93
    assert result.refused <= 3


def test_without_a_quota_nothing_is_held_back() -> None:
    """No headers, never refused: 64 workers at 20 ms must not be slowed down."""
    server = Server(kind="fixed", limit=10**9, window=1.0, headers="none")
    result = simulate(server, windows=10, concurrency=64, latency=Latency(up=0.01, least=0.01, down=0.0))
    assert result.sent >= 0.9 * 10 * 64 / 0.02


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
@pytest.mark.parametrize("window", [0.05, 0.2, 1.3, 7.0, 33.0, 60.0])
@pytest.mark.parametrize("limit", [30, 170, 900])
def test_a_wide_sweep_does_not_get_worse(kind: str, window: float, limit: int) -> None:
    # What is held today, not the aim: in one run of a hundred, a request refused near a window's end costs the next.
    for seed in range(5):
        result = run(kind, limit, window, seed, least_seconds=5.0)
        assert result.late >= 0.88
        assert result.refused <= max(2, 0.001 * result.sent)
