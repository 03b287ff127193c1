"""What a quota may be is told by what it cannot be, whoever else spends it."""

import random

import pytest

from aelyst_async.ratelimit.hypotheses import Clock, Hypotheses, Told
from aelyst_async.ratelimit.memory import SendLog
from tests.ratelimit.simulator import Server

SLACK = 0.0005


def told(
    kind: str,
    limit: int,
    window: float,
    *,
    windows: float = 12,
    seed: int = 1,
    share: float = 0.5,
    late: float = 0.0,
    usual: float = 0.0,
) -> tuple[Hypotheses, SendLog]:
    """Two that know nothing of any quota send at random, each somewhat too much; one of them is listened to.

    ``share``: of what it sends; ``late``: windows after the other.
    """
    rng = random.Random(seed)
    server = Server(kind=kind, limit=limit, window=window, phase=0.37 * window)
    hypotheses, ours = Hypotheses(limit, clean=not late), SendLog()
    hypotheses.usual(usual)
    now, rate = 0.0, 1.1 * limit / window
    while now < (windows + late) * window:
        now += rng.expovariate(rate)
        listened = now > late * window and rng.random() < share
        status, headers = server.ask(now)
        if not listened:
            continue
        if status == 200:
            ours.append(now, 2 * limit)
            hypotheses.see(ours, Told(now, int(headers["X-RateLimit-Remaining"]), SLACK))
        else:
            hypotheses.see(ours, Told(now, 0, SLACK, 0))
    return hypotheses, ours


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("limit", "window"), [(10, 1.0), (20, 1.0), (60, 1.0), (200, 1.0), (20, 10.0), (200, 10.0)])
@pytest.mark.parametrize("kind", ["fixed", "anchored", "sliding", "token"])
def test_the_rule_and_its_window_are_found_out(kind: str, limit: int, window: float, seed: int) -> None:
    usual = window if kind == "anchored" else 0.0  # longer ones than the commonest look like much else
    hypotheses, ours = told(kind, limit, window, seed=seed, windows=24, usual=usual)
    believed = hypotheses.believed(ours, capped=False, shared=0)
    assert believed is not None
    assert (believed.kind, believed.window) == (kind, window)
    assert believed.against <= 2


@pytest.mark.parametrize("kind", ["fixed", "anchored", "sliding", "token"])
def test_who_gets_a_tenth_finds_it_out_as_well(kind: str) -> None:
    hypotheses, ours = told(kind, 60, 1.0, windows=40, share=0.1)
    believed = hypotheses.believed(ours, capped=False, shared=0)
    assert believed is not None
    assert (believed.kind, believed.window) == (kind, 1.0)


@pytest.mark.parametrize(
    ("kind", "alike"), [("fixed", {"fixed"}), ("sliding", {"sliding"}), ("token", {"token", "sliding"})]
)
def test_who_comes_late_finds_it_out_as_well(kind: str, alike: set[str]) -> None:
    """But for a bucket that nobody lets fill up: it is as even as a log."""
    for seed in range(6):
        hypotheses, ours = told(kind, 60, 1.0, windows=12, late=4.3, seed=seed)
        believed = hypotheses.believed(ours, capped=False, shared=0)
        assert believed is not None
        assert believed.window == 1.0
        assert believed.kind in alike


@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
def test_the_truth_is_not_spoken_against(kind: str) -> None:
    """However others send, and whichever part of the answers is seen."""
    for seed in range(20):
        hypotheses, ours = told(kind, 30, 1.0, windows=10, seed=seed, share=0.05 + 0.045 * seed)
        hypotheses.believed(ours, capped=False, shared=0)
        truth = next(one for one in hypotheses._all if (one.kind, one.window) == (kind, 1.0))
        assert truth.against <= 0.5


def test_the_end_of_a_window_is_known_to_milliseconds_before_long() -> None:
    hypotheses, ours = told("fixed", 200, 1.0, windows=24)
    believed = hypotheses.believed(ours, capped=False, shared=0)
    assert believed is not None
    assert isinstance(believed, Clock)
    low, high = believed.start(23.9)
    assert low <= 23.37 <= high
    assert high - low < 0.01


def test_a_second_is_presumed_at_first_and_longer_windows_once_they_could_have_been_refuted() -> None:
    hypotheses, ours = Hypotheses(100, clean=True), SendLog()
    windows = []
    for at in (0.0, 0.5, 1.0, 2.9, 3.1, 8.0):
        ours.append(at, 200)
        hypotheses.see(ours, Told(at, 40, SLACK))  # others take what little there is to be had
        hypotheses.believed(ours, capped=False, shared=0)
        windows.append(hypotheses.window)
    assert windows == [1.0, 1.0, 1.0, 1.0, 2.0, 5.0]


def test_a_log_that_is_shared_without_a_refusal_is_kept() -> None:
    """Who sends the same again window after window refutes nothing slower."""
    hypotheses, ours = Hypotheses(100, clean=True), SendLog()
    for tenth in range(80):
        ours.append(tenth / 10, 200)
        hypotheses.see(ours, Told(tenth / 10, 40, SLACK))
    slower, kept = (hypotheses.believed(ours, capped=False, shared=window) for window in (0.0, 1.0))
    assert slower is not None
    assert slower.window == 5
    assert kept is not None
    assert (kept.kind, kept.window, hypotheses.window) == ("sliding", 1.0, 1.0)
    hypotheses.refused("sliding")
    assert hypotheses.believed(ours, capped=False, shared=1.0) is slower


def test_who_came_late_believes_in_longer_windows_when_refused_again_and_again() -> None:
    hypotheses, ours = Hypotheses(100, clean=False), SendLog()
    for i in range(40):
        ours.append(i, 200)
        hypotheses.see(ours, Told(float(i), 0, SLACK))
    hypotheses.believed(ours, capped=False, shared=0)
    assert hypotheses.window == 1.0
    for i in range(4):
        hypotheses.refused("sliding")
        hypotheses.see(ours, Told(40.0 + i, 0, SLACK, 0))
    assert hypotheses.window == 2.0


def test_of_several_a_log_is_preferred_and_a_bucket_where_there_is_a_cap() -> None:
    hypotheses, ours = Hypotheses(100, clean=True), SendLog()
    for i in range(4):
        ours.append(0.1 * i, 200)
        hypotheses.see(ours, Told(0.1 * i, 90 - i, SLACK))
    log, bucket = hypotheses.believed(ours, capped=False, shared=0), hypotheses.believed(ours, capped=True, shared=0)
    assert log is not None
    assert bucket is not None
    assert (log.kind, bucket.kind) == ("sliding", "token")
    assert log.window == bucket.window == 1.0


def test_a_clock_is_not_gone_by_before_it_was_seen_to_tick() -> None:
    """Nobody could say when the next request may go, and all would wait for ever."""
    hypotheses, ours = Hypotheses(100, clean=True), SendLog()
    for i in range(20):
        ours.append(0.001 * i, 200)
        hypotheses.see(ours, Told(0.001 * i, 90 - i, SLACK))
    for _ in range(9):
        hypotheses.refused("sliding")  # no log, then
    believed = hypotheses.believed(ours, capped=False, shared=0)
    assert believed is None or believed.kind not in {"fixed", "sliding"}


def test_a_log_by_which_requests_are_refused_is_doubted_if_there_is_another_rule() -> None:
    hypotheses, ours = Hypotheses(100, clean=True), SendLog()
    for i in range(4):
        ours.append(0.1 * i, 200)
        hypotheses.see(ours, Told(0.1 * i, 90 - i, SLACK))
    hypotheses.believed(ours, capped=False, shared=0)
    for _ in range(2):
        hypotheses.refused("sliding")
    believed = hypotheses.believed(ours, capped=False, shared=0)
    assert believed is not None
    assert believed.kind != "sliding"


def test_nothing_is_worked_out_before_there_are_some_answers() -> None:
    """Of ten thousand buckets, one for each contact, most see a request or two."""
    hypotheses, ours = Hypotheses(100, clean=True), SendLog()
    for i in range(15):
        ours.append(0.1 * i, 200)
        hypotheses.see(ours, Told(0.1 * i, 99 - i, SLACK))
    assert not hypotheses._all
    ours.append(2.0, 200)
    hypotheses.see(ours, Told(2.0, 80, SLACK))
    assert hypotheses._all
    assert not hypotheses._early


def test_a_bucket_that_is_asked_now_and_then_stays_small() -> None:
    hypotheses, ours = Hypotheses(100, clean=True), SendLog()
    for i in range(100):
        ours.append(5.0 * i, 200)
        hypotheses.see(ours, Told(5.0 * i, 99, SLACK))
    assert not hypotheses._all
    assert len(hypotheses._early) <= 16
    assert hypotheses.believed(ours, capped=False, shared=0)  # for others, it is worked out all the same
    assert hypotheses._all


def test_no_more_answers_are_looked_at_than_tell_something() -> None:
    hypotheses, ours = Hypotheses(5000, clean=True), SendLog()
    seen = 0
    for i in range(5000):
        at = i / 5000
        ours.append(at, 10_000)
        before = hypotheses._at
        hypotheses.see(ours, Told(at, 4999 - i, SLACK))
        seen += hypotheses._at != before
    assert seen <= 90
