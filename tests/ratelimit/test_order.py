"""How far the order of counting may be from the order of sending, and what an answer tells in spite of it."""

import random

import pytest

from aelyst_async.ratelimit.memory import SendLog
from aelyst_async.ratelimit.order import Order


def counted(sends: list[float], late: list[float]) -> list[int]:
    """Return for each request how many had been counted with it, if each came so much late."""
    came = [at + by for at, by in zip(sends, late, strict=True)]
    return [sum(one <= this for one in came) for this in came]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("apart", [0.0001, 0.001, 0.004, 0.02])
def test_the_truth_lies_between_the_bounds(seed: int, apart: float) -> None:
    """Nothing is forgotten of a limit of 10,000, so exactly so many are authorised, whatever overtakes what."""
    rng, limit = random.Random(seed), 10_000
    sends = [i * apart for i in range(300)]
    late = [0.0, *(min(rng.expovariate(200.0), 0.02) for _ in sends[1:])]
    order, log = Order(), SendLog()
    before, short = 0, 0
    for at, by, count in zip(sends, late, counted(sends, late), strict=True):
        number = log.append(at, 1000)
        log_now = SendLog()
        for one in sends:  # all have left by the time that this answer is in
            log_now.append(one, 1000)
        took = 0.005 + by
        order.answered(took)
        remaining = limit - count
        allowed, most = order.bounds(log_now, at, took, remaining)
        if before:
            allowed, most = order.narrow(log_now, number, at, took, remaining, allowed, most, before, crowded=False)
        assert allowed <= limit + 1
        short += most < limit
        before = allowed
    # How late requests may be is learned: for one answer in twenty the upper bound is a little too low.
    assert short <= 0.05 * len(sends)


def test_where_nothing_overtakes_the_bounds_close() -> None:
    order, log, limit = Order(), SendLog(), 10_000
    before = allowed = most = 0
    for i in range(300):
        number = log.append(i * 0.001, 1000)
        order.answered(0.01)
        allowed, most = order.bounds(log, i * 0.001, 0.01, limit - number)
        if before:
            allowed, most = order.narrow(
                log, number, i * 0.001, 0.01, limit - number, allowed, most, before, crowded=False
            )
        before = allowed
    assert order.jitter < 0.001
    assert (allowed, most) == (limit, limit)


def test_what_a_neighbour_takes_is_not_put_down_to_a_request_that_was_quick() -> None:
    order, log = Order(), SendLog()
    for i in range(100):
        log.append(i * 0.001, 1000)
        order.answered(0.01)
    jitter = order.jitter
    # Twenty less than before, though this answer took no longer than any other.
    allowed, most = order.narrow(log, 50, log.time(50), 0.01, 880, 925, 935, 950, crowded=False)
    assert (allowed, most) == (930, 935)
    assert order.jitter <= jitter
    assert not order.shown
