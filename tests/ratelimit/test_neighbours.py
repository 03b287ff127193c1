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
    assert amounts[-1] <= 2 + 0.13 * limit  # a whole limit in a second


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
def test_what_was_held_back_when_another_came_starves_nobody(seed: int) -> None:
    """Many in flight believe in much that a newcomer takes; few answers afterwards would let that be forgotten."""
    server = Server(kind="token", limit=200, window=1.0)
    run = simulate(server, clients=2, windows=30, start_gap=4.3, seed=seed, concurrency=100)
    assert min(run.by_client) >= 0.4 * sum(run.by_client)
    assert run.refused_share <= 0.01
