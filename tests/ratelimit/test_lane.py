"""Rings, and who is next in a lane or in a moving crowd."""

import asyncio
import random

from aelyst_async.ratelimit import RateLimiter
from aelyst_async.ratelimit.lane import Lane, Link, Move, Ring, Waiter
from aelyst_async.ratelimit.scope import AccountScope, PathScope
from tests.virtual_time import VirtualTimeLoop

E = "GET /contact/{identifier}"


def test_a_ring_keeps_its_order_whoever_leaves() -> None:
    rng, ring = random.Random(1), Ring()
    kept = [Link() for _ in range(50)]
    for one in kept:
        ring.append(one)
    while kept:
        kept.pop(rng.randrange(len(kept))).unlink()
        if rng.random() < 0.2:
            ring = ring.take()
        found, link = [], ring.next
        while link is not ring:
            found.append(link)
            link = link.next
        assert found == kept
    assert ring.next is ring.prev is ring
    assert ring.take().next is not ring


LOOP = VirtualTimeLoop()
LOOP.close()  # its futures are never awaited


def lane_of(names: int) -> tuple[Lane, list[Waiter]]:
    lane = Lane("", E, None, AccountScope(), PathScope())
    return lane, [waiter(lane) for _ in range(names)]


def waiter(lane: Lane, *, retry: bool = False) -> Waiter:
    one = Waiter(RateLimiter().permit(E), 0.0, asyncio.Future(loop=LOOP), None, retry)
    lane.join(one)
    return one


def test_who_is_looked_at_next_may_leave_and_the_one_behind_as_well() -> None:
    lane, (first, second, third, fourth) = lane_of(4)
    lane.look()
    assert lane.seen() is first
    lane.leave(second)
    lane.leave(third)
    repeat = waiter(lane, retry=True)
    assert lane.seen() is fourth
    assert lane.seen() is None
    assert lane.cursor is None
    lane.look()
    assert [lane.seen() for _ in range(4)] == [repeat, first, fourth, None]


def test_a_moving_crowd_goes_in_the_order_of_asking_whichever_lane_it_comes_from() -> None:
    lanes = [lane_of(0)[0] for _ in range(3)]
    asked = [waiter(lanes[number % 3], retry=number % 4 == 0) for number in range(24)]
    move = Move(lanes[0])
    for lane in reversed(lanes):
        move.add(lane.take())
    found = []
    while (one := move.first()) is not None:
        found.append(one)
        assert one.lane is not None
        one.lane.leave(one)
    assert found == [one for one in asked if one.retry] + [one for one in asked if not one.retry]
    assert [lane.waiting for lane in lanes] == [0, 0, 0]
