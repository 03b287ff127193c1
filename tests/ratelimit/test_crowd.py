"""Crowds: served in portions and in order, with no permit lost. Work is counted per round of the loop, not timed."""

import asyncio
import contextlib
import gc
import random
import sys
import threading
from collections import Counter
from typing import Any

import pytest

from aelyst_async.errors import RateLimitedError
from aelyst_async.ratelimit import Permit, RateLimiter
from aelyst_async.ratelimit.agenda import PORTION
from aelyst_async.ratelimit.books import Sent
from aelyst_async.ratelimit.bucket import Bucket
from aelyst_async.ratelimit.lane import Lane
from tests.virtual_time import VirtualTimeLoop, virtual

E = "GET /contact/{identifier}"
LIMIT = 1_000_000
CROWD = 10 * PORTION


class Rounds:
    """Counts the loop's rounds, and in which of them each one was served."""

    def __init__(self) -> None:
        self.now = 0
        self.order: list[Any] = []
        self.served: list[int] = []
        self.turns: dict[Any, int] = {}
        self._sent: dict[Sent, int] = {}

    def sent(self, one: Sent) -> None:
        self._sent[one] = len(self._sent)

    def serve(self, name: object, permit: Permit | None = None) -> None:
        self.order.append(name)
        self.served.append(self.now)
        if permit is not None:
            self.turns[name] = self._sent[permit]

    def handed_over(self) -> list[Any]:
        """Return the names in the order in which they got their permits: who comes later and need not wait may run
        first, in the round in which the others have yet to wake."""
        return sorted(self.turns, key=self.turns.__getitem__)

    def most(self) -> int:
        """Return the most that were served in one round."""
        return max(Counter(self.served).values())

    async def count(self) -> None:
        while True:
            self.now += 1
            await asyncio.sleep(0)


@pytest.fixture
def note(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    noted, send = Rounds(), Bucket.send

    def sent(self: Bucket, one: Sent, now: float) -> bool:
        went = send(self, one, now)
        if went:
            noted.sent(one)
        return went

    monkeypatch.setattr(Bucket, "send", sent)
    return noted


def plenty(sent: int) -> dict[str, str]:
    return {"X-RateLimit-Limit": f"{LIMIT}", "X-RateLimit-Remaining": f"{LIMIT - sent}"}


async def refuse(limiter: RateLimiter, seconds: float) -> None:
    async with limiter.permit(E) as permit:
        permit.observe(429, {"Retry-After": f"{seconds:g}"})


async def take(limiter: RateLimiter, note: Rounds, name: object, **how: Any) -> None:
    async with limiter.permit(E, **how) as permit:
        note.serve(name, permit)
        permit.observe(200, plenty(len(note.order)))


async def queue(limiter: RateLimiter, note: Rounds, count: int, **how: Any) -> list[asyncio.Task[None]]:
    """Queue so many behind a pause of 5 seconds, and return when 1 of them is over."""
    await refuse(limiter, 5)
    tasks = [asyncio.create_task(take(limiter, note, name, **how)) for name in range(count)]
    await asyncio.sleep(1)
    assert sum(bucket.waiting for bucket in limiter.snapshot()) == count
    return tasks


def assert_idle(limiter: RateLimiter) -> None:
    for bucket in limiter.snapshot():
        assert (bucket.waiting, bucket.in_flight) == (0, 0)
    for lane in limiter._lanes.values():
        assert lane.first() is None
    assert not limiter._moving
    assert not limiter._patiences


async def skip_to(seconds: float) -> None:
    """Let that much time pass without running a round in between."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.advance(seconds)


@virtual
async def test_a_crowd_is_let_go_in_portions_and_in_order(note: Rounds) -> None:
    limiter = RateLimiter()
    async with contextlib.AsyncExitStack() as stack:
        tasks = await _queued(limiter, stack, note)
        await asyncio.gather(*tasks)
    assert note.order == list(range(CROWD))
    assert note.most() <= PORTION + 1
    assert_idle(limiter)


async def _queued(limiter: RateLimiter, stack: contextlib.AsyncExitStack, note: Rounds) -> list[asyncio.Task[None]]:
    """Queue a crowd, and count rounds from the end of the pause on."""
    tasks = await queue(limiter, note, CROWD)
    await skip_to(4.5)
    counter = asyncio.create_task(note.count())
    stack.callback(counter.cancel)
    return tasks


@virtual
async def test_nobody_overtakes_between_two_portions(note: Rounds) -> None:
    limiter = RateLimiter()
    async with contextlib.AsyncExitStack() as stack:
        tasks = await _queued(limiter, stack, note)
        newcomers = 0
        while len(note.order) < CROWD:
            if note.order:
                tasks.append(asyncio.create_task(take(limiter, note, CROWD + newcomers)))
                newcomers += 1
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
    assert newcomers > 5
    assert note.handed_over() == list(range(CROWD + newcomers))
    assert_idle(limiter)


@virtual
async def test_repeats_that_come_between_two_portions_go_first(note: Rounds) -> None:
    limiter = RateLimiter()
    async with contextlib.AsyncExitStack() as stack:
        tasks = await _queued(limiter, stack, note)
        while not note.order:  # noqa: ASYNC110
            await asyncio.sleep(0)
        tasks.append(asyncio.create_task(take(limiter, note, "repeat", retry=True)))
        await asyncio.gather(*tasks)
    assert note.order.index("repeat") < 4 * PORTION
    note.order.remove("repeat")
    assert note.order == list(range(CROWD))


@virtual
async def test_one_portion_serves_all_buckets(note: Rounds) -> None:
    limiter = RateLimiter()
    tasks = []
    for account in range(20):
        async with limiter.permit(E, account=f"{account}") as permit:
            permit.observe(429, {"Retry-After": "5"})
        tasks += [
            asyncio.create_task(take(limiter, note, (account, name), account=f"{account}")) for name in range(PORTION)
        ]
    await asyncio.sleep(1)
    await skip_to(4.5)
    counter = asyncio.create_task(note.count())
    await asyncio.gather(*tasks)
    counter.cancel()
    assert note.most() <= PORTION + 20  # the first of each bucket is let go when its own timer rings
    for account in range(20):
        assert [name for which, name in note.order if which == account] == list(range(PORTION))
    assert_idle(limiter)


@pytest.mark.parametrize("seed", range(8))
def test_cancelled_at_any_moment_nobody_keeps_a_permit_or_loses_a_place(note: Rounds, seed: int) -> None:
    rng = random.Random(seed)

    @virtual
    async def main() -> None:
        limiter = RateLimiter()
        async with contextlib.AsyncExitStack() as stack:
            tasks = await _queued(limiter, stack, note)
            gone: set[int] = set()
            while len(note.order) + len(gone) < CROWD:
                for name in rng.sample(range(CROWD), 8):
                    if name not in gone and tasks[name].cancel() and name not in note.order:
                        gone.add(name)  # waits, or was handed its permit in this very round
                await asyncio.sleep(0)
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for name, result in enumerate(results):
            assert isinstance(result, asyncio.CancelledError) == (name in gone)
        assert note.order == [name for name in range(CROWD) if name not in gone]
        assert len(gone) > 20
        assert_idle(limiter)
        (bucket,) = limiter.snapshot()
        assert bucket.sent == len(note.order) + 1  # and the refused one

    main()


@virtual
async def test_a_whole_portion_cancelled_at_the_hand_over_goes_to_the_next(note: Rounds) -> None:
    limiter = RateLimiter()
    async with contextlib.AsyncExitStack() as stack:
        tasks = await _queued(limiter, stack, note)
        (lane,) = limiter._lanes.values()
        granted = 0
        while len(note.order) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for name in range(len(note.order), CROWD):
            first = lane.first()
            if first is not None and name >= CROWD - lane.waiting:
                break
            tasks[name].cancel()  # its future is set, its task has not run
            granted += 1
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert granted >= PORTION - 2
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == granted
    assert len(note.order) == CROWD - granted
    assert_idle(limiter)


@virtual
async def test_a_closed_coroutine_leaves_its_place() -> None:
    limiter = RateLimiter()
    await refuse(limiter, 5)
    waiting = limiter.permit(E, max_wait=60).__aenter__()
    waiting.send(None)
    assert limiter.snapshot()[0].waiting == 1
    waiting.close()
    assert_idle(limiter)


@virtual
async def test_a_pause_refuses_a_crowd_in_portions_and_leaves_alone_who_has_time(note: Rounds) -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    async with limiter.permit(E) as permit:
        permit.observe(200, plenty(1))
    held = await limiter.permit(E).__aenter__()
    await refuse(limiter, 5)
    began = loop.time()
    refused, waits = Rounds(), list[float | None]()

    async def one(name: int) -> None:
        try:
            await take(limiter, note, name, deadline=began + (30 if name % 2 else 900))
        except RateLimitedError as error:
            waits.append(error.retry_after)
            refused.served.append(note.now)
            refused.order.append(name)

    tasks = [asyncio.create_task(one(name)) for name in range(CROWD)]
    await asyncio.sleep(1)
    counter = asyncio.create_task(note.count())
    await asyncio.sleep(0)
    held.observe(429, {"Retry-After": "59"})
    tasks[0].cancel()  # the one that is looked at
    for _ in range(3):
        await asyncio.sleep(0)
    tasks[301].cancel()
    while len(refused.order) < CROWD // 2 - 1:  # noqa: ASYNC110
        await asyncio.sleep(0)
    counter.cancel()
    assert loop.time() == began + 1
    assert waits == pytest.approx([59] * len(waits))
    assert refused.most() <= PORTION
    assert refused.order == [name for name in range(1, CROWD, 2) if name != 301]
    await asyncio.gather(*tasks, return_exceptions=True)
    assert note.order == list(range(2, CROWD, 2))
    assert_idle(limiter)


@virtual
async def test_a_pause_within_all_deadlines_looks_at_nobody(note: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    async with limiter.permit(E) as permit:
        permit.observe(200, plenty(1))
    held = await limiter.permit(E).__aenter__()
    tasks = await queue(limiter, note, CROWD, deadline=loop.time() + 600)
    looked: list[Lane] = []
    monkeypatch.setattr(Lane, "look", lambda lane: looked.append(lane))  # noqa: PLW0108 - a method
    held.observe(429, {"Retry-After": "59"})
    assert looked == []
    await asyncio.gather(*tasks)
    assert note.order == list(range(CROWD))


@virtual
async def test_a_crowd_without_patience_shares_a_timer_and_gives_up_in_portions(note: Rounds) -> None:
    limiter, loop = RateLimiter(max_wait=30), asyncio.get_running_loop()
    async with limiter.permit(E) as permit:
        permit.observe(200, plenty(1))
    held = await limiter.permit(E).__aenter__()
    await refuse(limiter, 5)
    before = len(loop._scheduled)  # type: ignore[attr-defined]
    began, gone = loop.time(), Rounds()

    async def one(name: int) -> None:
        try:
            await take(limiter, note, name)
        except RateLimitedError:
            gone.served.append(note.now)
            gone.order.append(name)

    tasks = [asyncio.create_task(one(name)) for name in range(CROWD)]
    await asyncio.sleep(1)
    assert len(loop._scheduled) - before <= 2  # type: ignore[attr-defined]
    held.observe(429, {"Retry-After": "600"})
    await skip_to(29.001)
    counter = asyncio.create_task(note.count())
    await asyncio.gather(*tasks)
    counter.cancel()
    assert loop.time() - began == pytest.approx(30.001)
    assert gone.order == list(range(CROWD))
    assert gone.most() <= PORTION
    assert_idle(limiter)


def paths(name: int) -> str:
    return f"/contact/{name % 7}"


async def moving(limiter: RateLimiter, note: Rounds) -> tuple[list[asyncio.Task[None]], Lane]:
    """Queue a crowd for an endpoint, and find out that it is counted per path."""
    await refuse(limiter, 600)
    tasks = [asyncio.create_task(take(limiter, note, name, path=paths(name))) for name in range(CROWD)]
    await asyncio.sleep(1)
    (lane,) = limiter._lanes.values()
    lane.scope.per_path = True
    limiter._rescope(lane)
    assert limiter._moving
    return tasks, lane


def in_order(note: Rounds) -> bool:
    """Whether each path was served in the order of asking."""
    for path in range(7):
        own = [name for name in note.handed_over() if name % 7 == path]
        if own != sorted(own):
            return False
    return True


@virtual
async def test_a_crowd_moves_in_portions_and_newcomers_do_not_overtake_it(note: Rounds) -> None:
    limiter = RateLimiter()
    tasks, _ = await moving(limiter, note)
    newcomers = 0
    while limiter._moving:
        tasks.append(asyncio.create_task(take(limiter, note, CROWD + newcomers, path=paths(CROWD + newcomers))))
        newcomers += 1
        await asyncio.sleep(0)
        if newcomers == 3:
            tasks[CROWD - 1].cancel()  # not moved yet
    await asyncio.gather(*tasks, return_exceptions=True)
    assert newcomers > 5
    assert len(note.order) == CROWD + newcomers - 1
    assert in_order(note)
    assert_idle(limiter)


@virtual
async def test_the_scope_may_change_again_while_a_crowd_moves(note: Rounds) -> None:
    limiter = RateLimiter()
    tasks, lane = await moving(limiter, note)
    await asyncio.sleep(0)
    lane.scope.per_path = False
    limiter._rescope(lane)
    for _ in range(2):
        await asyncio.sleep(0)
    late = asyncio.create_task(take(limiter, note, CROWD, path=paths(CROWD)))
    lane.scope.per_path = True
    limiter._rescope(lane)
    await asyncio.sleep(0)
    lane.scope.per_path = False
    limiter._rescope(lane)
    await asyncio.gather(*tasks, late)
    assert sorted(note.order) == list(range(CROWD + 1))
    assert note.handed_over()[-1] == CROWD
    assert in_order(note)
    assert_idle(limiter)


@virtual
async def test_who_moves_to_a_pause_beyond_the_deadline_is_refused(note: Rounds) -> None:
    limiter, loop = RateLimiter(), asyncio.get_running_loop()
    await refuse(limiter, 5)
    tasks = [
        asyncio.create_task(take(limiter, note, name, path="/contact/1", deadline=loop.time() + 30))
        for name in range(CROWD)
    ]
    await asyncio.sleep(1)
    (lane,) = limiter._lanes.values()
    lane.group.paused_until = loop.time() + 60
    lane.scope.per_path = True
    limiter._rescope(lane)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, RateLimitedError) for result in results)
    assert_idle(limiter)


@virtual
async def test_an_error_in_on_change_stops_nobody(note: Rounds) -> None:
    limiter = RateLimiter()
    loop = asyncio.get_running_loop()
    problems: list[Any] = []
    loop.set_exception_handler(lambda _, context: problems.append(context["exception"]))

    def broken(_: object) -> None:
        raise ValueError("broken")

    limiter.on_change = broken
    tasks = await queue(limiter, note, CROWD)
    await asyncio.gather(*tasks)
    await asyncio.sleep(1)
    assert note.order == list(range(CROWD))
    assert problems
    assert {type(problem) for problem in problems} == {ValueError}


def test_a_permit_left_behind_in_a_closed_loop_harms_nobody() -> None:
    limiter = RateLimiter()

    async def leave() -> Any:
        await refuse(limiter, 600)
        waiting = limiter.permit(E).__aenter__()
        waiting.send(None)
        held = await limiter.permit("GET /other").__aenter__()
        return waiting, held

    waiting, held = asyncio.run(leave())
    limiter.on_change = lambda _: None
    held.unsent()

    async def use() -> None:
        async with limiter.permit(E) as permit:
            permit.observe(200, plenty(1))

    asyncio.run(use())
    waiting.close()
    assert [bucket.waiting for bucket in limiter.snapshot()] == [0]
    gc.collect()


def test_another_thread_may_read_while_the_loop_changes_everything() -> None:
    limiter = RateLimiter()
    problems: list[Exception] = []
    read = 0
    over = threading.Event()

    def reader() -> None:
        nonlocal read
        while not over.is_set():
            try:
                for bucket in limiter.snapshot():
                    read += bucket.sent >= 0
            except Exception as problem:  # noqa: BLE001
                problems.append(problem)

    async def main() -> None:
        for number in range(3000):
            async with limiter.permit(f"GET /{number % 900}", account=f"{number % 13}") as permit:
                permit.observe(200, plenty(number))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=reader)
    thread.start()
    try:
        asyncio.run(main())
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert problems == []
    assert read
