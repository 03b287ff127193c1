"""Windows that others spend as well: how long what is left lasts, and how their ends are found."""

from __future__ import annotations

import math
from statistics import mean

import pytest

from aelyst_async.ratelimit.books import Books
from aelyst_async.ratelimit.drain import Drain
from aelyst_async.ratelimit.fixed import Fixed
from tests.ratelimit.simulator import Server, simulate


def test_how_long_it_lasts_matters_to_whoever_was_refused() -> None:
    drain = Drain()
    for _ in range(100):
        drain.took(1, 0.01)  # a hundred a second
    assert drain.spend
    assert drain.lasts(25.0, 1.0) == math.inf
    drain.refused(1.0, 1.0)
    lasts = drain.lasts(25.0, 2.0)
    assert 0.1 <= lasts <= 0.25  # 25 of them are gone in a quarter of a second
    assert drain.lasts(4.0, 2.0) < lasts
    assert drain.lasts(25.0, 20.0) == math.inf


def test_nobody_spends_where_nothing_is_gone() -> None:
    drain = Drain()
    drain.took(0, 0.1)
    drain.refused(0.0, 1.0)
    assert not drain.spend
    assert drain.lasts(3.0, 0.1) == math.inf


def test_who_is_refused_again_is_careful_for_longer() -> None:
    drain = Drain()
    drain.took(5, 0.1)

    def careful(at: float) -> int:
        return next(windows for windows in range(1000) if drain.lasts(9.0, at + windows + 0.5) == math.inf)

    lengths = []
    at = 0.0
    for _ in range(6):
        drain.refused(at, 1.0)
        lengths.append(careful(at))
        at += lengths[-1] + 2
    assert lengths == [8, 16, 32, 64, 64, 64]
    drain.refused(at, 1.0)
    drain.refused(at + 1.0, 1.0)  # the same misfortune
    assert careful(at + 1.0) == 64
    drain.refused(at + 500.0, 1.0)
    assert careful(at + 500.0) == 8


def known(low: float, high: float) -> tuple[Books, Fixed, Drain]:
    """Return what is known of windows of one second that ended between `low` and `high` after each second."""
    books, fixed, drain = Books(), Fixed(), Drain()
    books.limit = 100
    for second in range(6):
        fixed.bounds.found(second + low, second + high, (2 * second + 1, 2 * second + 2))
    fixed.settle()
    books.order.answered(0.02)
    books.last = books.seen_at = 5 + high + 0.52
    drain.took(9, 0.3)
    return books, fixed, drain


def ready(books: Books, fixed: Fixed, drain: Drain, credit: int = 4, out: int = 0, *, near: bool = True) -> float:
    return drain.ready(books, fixed, credit, fixed.late(books), out, near=near)


def test_the_middle_of_where_the_end_may_be_is_asked() -> None:
    books, fixed, drain = known(-0.2, 0.2)
    early, late = fixed.ends(books)
    books.last = books.seen_at = early + 0.01  # too late for what is spent at last
    asked = ready(books, fixed, drain)
    assert early < asked < late
    assert asked == pytest.approx((early + late) / 2)


@pytest.mark.parametrize(("credit", "out", "near"), [(1, 0, True), (4, 3, True), (4, 0, False)])
def test_nothing_is_risked_with_too_little_or_alone(credit: int, out: int, near: bool) -> None:
    books, fixed, drain = known(-0.2, 0.2)
    assert ready(books, fixed, drain, credit, out, near=near) >= fixed.late(books)


def test_what_was_risked_in_vain_is_not_risked_for_long() -> None:
    books, fixed, drain = known(-0.2, 0.2)
    asked = ready(books, fixed, drain)
    drain.refused(asked, fixed.window)
    books.last = books.seen_at = asked + 0.01
    assert ready(books, fixed, drain) == fixed.late(books)


def test_what_is_held_back_is_spent_at_last() -> None:
    books, fixed, drain = known(-0.005, 0.005)
    early, _ = fixed.ends(books)
    at = ready(books, fixed, drain)
    assert early - 6 * books.order.round_trip < at < early
    drain.refused(books.last - 2.0, fixed.window)  # but not by whoever was refused of late
    assert ready(books, fixed, drain) == fixed.late(books)


def test_as_many_are_left_as_others_may_have_out() -> None:
    books, fixed, drain = known(-0.01, 0.01)
    soon = books.last + 0.001
    assert drain.ready(books, fixed, 8, soon, 5, near=True) == soon
    assert drain.ready(books, fixed, 5, soon, 5, near=True) == math.inf
    assert drain.ready(books, fixed, 5, soon, 5, near=False) == soon


@pytest.mark.parametrize("limit", [60, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("gap", [0.0, 4.3])
def test_two_clients_have_a_half_each(limit: int, gap: float) -> None:
    runs = [
        simulate(
            Server(kind="fixed", limit=limit, window=1.0, phase=(0.11 + 0.29 * seed) % 1),
            clients=2,
            windows=40,
            start_gap=gap,
            seed=seed,
        )
        for seed in range(1, 7)
    ]
    assert mean([min(run.by_client) / sum(run.by_client) for run in runs]) >= 0.44
    assert mean([run.late for run in runs]) >= 0.975
    assert mean([run.refused_share for run in runs]) <= 0.002


def test_windows_taken_for_a_short_log_are_not_stormed_for_ever() -> None:
    """Who came late saw a burst, and took the window for a log of a sixth of its length."""
    server = Server(kind="fixed", limit=200, window=1.0, phase=(0.11 + 0.29 * 12) % 1)
    run = simulate(server, clients=2, windows=40, start_gap=4.3, seed=12)
    assert run.refused_share <= 0.01
    assert min(run.by_client) >= 0.4 * sum(run.by_client)
