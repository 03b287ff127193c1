"""What is left to others."""

import pytest

from aelyst_async.ratelimit.books import Books
from aelyst_async.ratelimit.neighbours import Neighbours
from tests.ratelimit.simulator import Server, simulate


def books_at(rate: float, limit: int, count: int = 200) -> Books:
    books = Books()
    books.limit = limit
    for i in range(count):
        books.log.append(i / rate, 1000)
    books.last = (count - 1) / rate
    return books


def left(rate: float, limit: int, *, token: bool) -> float:
    """Return what is left on average: whole requests now and then."""
    neighbours = Neighbours()
    neighbours.saw(limit - 1)
    some = [neighbours.left(books_at(rate, limit, count), token=token) for count in range(100, 200)]
    assert all(one == int(one) for one in some)
    return sum(some) / len(some)


@pytest.mark.parametrize("limit", [10, 60, 200, 5000])
@pytest.mark.parametrize("token", [True, False])
def test_whoever_is_faster_leaves_more(limit: int, token: bool) -> None:
    rates = [limit * share for share in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)]
    amounts = [left(rate, limit, token=token) for rate in rates]
    assert amounts == sorted(amounts)
    assert amounts[-1] - amounts[0] >= 0.03 * limit
    assert amounts[-1] <= max(2 + 0.13 * limit, 0.5 * limit)  # a whole limit in a second


def test_more_is_left_where_it_costs_nothing() -> None:
    assert left(100, 200, token=True) > left(100, 200, token=False)


def test_no_more_is_left_than_a_bucket_holds() -> None:
    neighbours = Neighbours()
    neighbours.saw(20)  # of a limit of 200
    assert neighbours.left(books_at(200, 200), token=True) <= 16


def test_a_start_leaves_nothing() -> None:
    assert Neighbours().left(Books(), token=True) == 0.0


def test_neighbours_are_forgotten_after_some_windows() -> None:
    neighbours = Neighbours()
    assert not neighbours.here(0.0, 1.0)
    neighbours.met(10.0)
    assert neighbours.here(15.0, 1.0)
    assert not neighbours.here(20.0, 1.0)


def test_pauses_are_lengthened_each_by_another_part() -> None:
    pauses = [Neighbours.stagger(2.0, refused) for refused in range(1, 20)]
    assert all(2.0 <= pause <= 2.5 for pause in pauses)
    assert len({round(pause, 3) for pause in pauses}) == len(pauses)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gap", [0.0, 4.3])
@pytest.mark.parametrize("limit", [10, 20])
def test_few_requests_are_shared_as_well(limit: int, gap: float, seed: int) -> None:
    """Whoever had a bucket alone used to leave nothing, and what came in was taken for little by both."""
    server = Server(kind="token", limit=limit, window=1.0)
    run = simulate(server, clients=2, windows=40, start_gap=gap, seed=seed)
    assert min(run.by_client) >= 0.33 * sum(run.by_client)
    assert run.refused_share <= 0.015
    assert run.late >= 0.98


@pytest.mark.parametrize(("limit", "least"), [(5, 0.95), (10, 0.98), (200, 0.98)])
def test_what_stands_costs_a_single_client_nothing(limit: int, least: float) -> None:
    run = simulate(Server(kind="token", limit=limit, window=1.0), windows=14, seed=1)
    assert run.late >= least
    assert run.refused == 0


@pytest.mark.parametrize("seed", range(4))
def test_what_was_held_back_when_another_came_starves_nobody(seed: int) -> None:
    """Many in flight believe in much that a newcomer takes; few answers afterwards would let that be forgotten."""
    server = Server(kind="token", limit=200, window=1.0)
    run = simulate(server, clients=2, windows=30, start_gap=4.3, seed=seed, concurrency=100)
    assert min(run.by_client) >= 0.4 * sum(run.by_client)
    assert run.refused_share <= 0.01
