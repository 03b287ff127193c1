"""The rule for quotas that send no headers: what it learns from refusals, by itself and against simulated servers."""

import math
import random
from typing import Any

import pytest

from aelyst_async.ratelimit import blind as module
from aelyst_async.ratelimit.blind import Blind
from aelyst_async.ratelimit.memory import SendLog
from aelyst_async.ratelimit.refusal import Quota, Refusal
from tests.ratelimit.simulator import Latency, Result, Server, simulate


def feed(blind: Blind, now: float, count: int) -> float:
    """Let `count` requests through, each answered at once; return the time of the last."""
    for _ in range(count):
        now = max(now, blind.next_at(0))
        blind.send(now)
        blind.accepted(now)
    return now


def refuse(blind: Blind, now: float, wait: float, together: int = 1, **how: Any) -> float:
    """Let so many leave together, and be refused at once; return the end of the pause."""
    now = max(now, blind.next_at(0))
    for _ in range(together):
        blind.send(now)
    for _ in range(together):
        blind.refused(now, wait, 1, now, **how)
    return now + wait


def learned(burst: int = 100, wait: float = 2.0) -> tuple[Blind, float]:
    """Return one that was let through `burst` requests at once, and the end of the pause then."""
    blind = Blind()
    return blind, refuse(blind, feed(blind, 0.0, burst), wait)


def rate(blind: Blind) -> float:
    assert blind.rate is not None
    return blind.rate


def times(blind: Blind, now: float, count: int) -> list[float]:
    """Return when the next so many leave, if each is let through at once."""
    left = []
    for _ in range(count):
        now = feed(blind, now, 1)
        left.append(now)
    return left


def simulated(kind: str, limit: int, window: float, seed: int = 0, **how: Any) -> Result:
    fields = {name: how.pop(name) for name in ("retry_after", "changes") if name in how}
    phase = random.Random(seed).random() * window if kind == "fixed" else 0.0
    how.setdefault("windows", 40)
    server = Server(kind=kind, limit=limit, window=window, phase=phase, headers="none", **fields)
    return simulate(server, seed=seed, **how)


# -- the rule by itself ----------------------------------------------------------------------------------------------


def test_before_the_first_refusal_only_the_requests_in_flight_are_bounded() -> None:
    blind = Blind()
    assert blind.rate is None
    assert (blind.next_at(0), blind.next_at(1)) == (-math.inf, math.inf)
    feed(blind, 0.0, 80)
    assert blind.rate is None
    assert blind.next_at(10) == -math.inf
    assert blind.next_at(11) == math.inf  # an eighth of what was let through, and one


@pytest.mark.parametrize(
    ("wait", "cycle"),
    [
        (1.0, 1.0), (2.0, 2.0), (10.0, 10.0), (60.0, 60.0),  # whole seconds, rounded up: the longest usual length
        (8.0, 8.0), (45.0, 45.0),  # none is usual: the longest possible
        (0.25, 0.25), (0.731, 0.731),  # exact
    ],
)  # fmt: skip
def test_the_first_refusal_tells_the_burst_and_its_pause_the_cycle(wait: float, cycle: float) -> None:
    blind, _ = learned(100, wait)
    assert rate(blind) == pytest.approx(100 / cycle, rel=0.001)


def test_what_was_let_through_for_long_is_no_burst() -> None:
    """Ten seconds at a hundred per second, and a pause of one: the window is about as long as the pause."""
    blind, now = Blind(), 0.0
    for _ in range(1000):
        now = feed(blind, now + 0.01, 1)
    refuse(blind, now, 1.0)
    assert rate(blind) == pytest.approx(100, rel=0.02)


def test_after_a_pause_the_burst_is_due_and_then_comes_back_a_cycle_later() -> None:
    blind, now = learned(100, 2.0)
    first = times(blind, now, 100)
    assert first[-1] - first[0] < 0.6  # over a quarter of the cycle
    second = times(blind, now, 100)
    late = [two - one for one, two in zip(first, second, strict=True)]
    assert min(late) > 2.0
    assert max(late) < 2.0 * 1.004 + 0.001


def test_a_late_timer_is_made_good_and_a_long_wait_is_not() -> None:
    blind, now = learned(100, 2.0)
    pace = 2.0 / (4 * 100)
    blind.send(now + 1)
    assert blind.next_at(0) == pytest.approx(now + 1 + pace)
    blind.send(now + 1 + pace + 0.001)
    assert blind.next_at(0) == pytest.approx(now + 1 + 2 * pace)
    blind.send(now + 1.5)
    assert blind.next_at(0) == pytest.approx(now + 1.5 + pace)


def test_those_refused_together_are_one_refusal() -> None:
    blind = Blind()
    refuse(blind, feed(blind, 0.0, 100), 2.0, together=5)
    assert rate(blind) == pytest.approx(50)


def test_one_let_through_of_those_in_flight_belongs_to_the_time_before() -> None:
    blind, now = Blind(), 0.0
    now = feed(blind, now, 99)
    blind.send(now)
    blind.send(now)
    blind.refused(now + 0.01, 2.0, 1, now)
    before = rate(blind)
    blind.accepted(now)
    assert rate(blind) == before == pytest.approx(50)


def test_a_burst_of_two_windows_is_cut_to_what_the_next_one_lets_through() -> None:
    blind, now = learned(150, 1.0)
    refuse(blind, feed(blind, now, 100), 1.0, together=2)
    assert rate(blind) == pytest.approx(100)


def test_one_refusal_cuts_the_burst_to_half_at_most() -> None:
    blind, now = learned(100, 1.0)
    refuse(blind, feed(blind, now, 2000), 1.0, together=3)
    assert 50 <= rate(blind) <= 100


def test_one_alone_may_have_been_late_but_not_twice() -> None:
    blind, now = learned(100, 10.0)
    now = feed(blind, now, 100)
    now = refuse(blind, now, 1.0)  # the first of a run
    assert rate(blind) == pytest.approx(10 / 1.02)
    refuse(blind, feed(blind, now, 1), 20.0)
    assert rate(blind) < 5


def test_what_comes_in_evenly_is_measured() -> None:
    """A bucket of a hundred, filled at 20 per second: its refusals show no window."""
    result = simulated("token", 100, 5.0, windows=12)
    assert result.late == pytest.approx(1.0, abs=0.02)
    assert result.refused_share <= 0.02


def test_a_told_limit_bounds_the_burst() -> None:
    blind = Blind()
    refuse(blind, feed(blind, 0.0, 150), 1.0, limit=100)
    assert rate(blind) == pytest.approx(100)


def test_more_is_tried_only_after_it_is_paid_for_and_less_is_left_then() -> None:
    blind, now = learned(100, 1.0)
    while rate(blind) == pytest.approx(100) and now < 500:
        now = feed(blind, now, 1)
    began = now
    assert 20 < began < 120  # a hundred times what it may cost
    now = refuse(blind, now, 1.0)
    assert rate(blind) <= 100.5
    while rate(blind) <= 100.5 and now < 500:
        now = feed(blind, now, 1)
    assert now > began + 20


def test_a_quota_without_end_is_found() -> None:
    blind, now = learned(100, 1.0)
    while rate(blind) < 10_000 and now < 600:
        now = feed(blind, now, 1)
    assert now < 200


def test_no_more_is_tried_while_fewer_are_sent_than_might_be() -> None:
    blind, now = learned(100, 2.0)
    before = rate(blind)
    for _ in range(2000):
        now += 0.1
        blind.send(now)
        blind.accepted(now)
    assert rate(blind) == before


def test_an_idle_hour_is_not_taken_for_a_slow_quota() -> None:
    blind, now = learned(100, 2.0)
    now = feed(blind, now, 20) + 3600
    now = feed(blind, now, 90)
    before = rate(blind)
    refuse(blind, now, 2.0)
    assert rate(blind) > 0.85 * before


def test_refusals_at_random_leave_what_the_server_offers() -> None:
    blind, now, rng = Blind(), 0.0, random.Random(1)
    for _ in range(400):
        now = max(now, blind.next_at(0))
        blind.send(now)
        if rng.random() < 0.3:
            blind.refused(now, 1.0, 1, now)
            now += 1.0
        else:
            blind.accepted(now)
    assert now < 800


def test_one_that_never_left_takes_nothing_of_the_burst() -> None:
    blind, now = learned(10, 2.0)
    now = feed(blind, now, 9)
    now = max(now, blind.next_at(0))
    blind.send(now)
    assert blind.next_at(0) > now + 1
    blind.unsent(now)
    assert blind.next_at(0) < now + 0.1


def test_where_no_pause_is_told_usual_lengths_are_waited_for() -> None:
    blind, now = Blind(), 0.0
    now = feed(blind, 0.0, 100)
    waits = []
    for row in range(1, 20):
        blind.send(now)
        wait = blind.own_wait(now, now)
        blind.refused(now, wait, row, now, told=False)
        now += wait
        waits.append(now)
    assert waits[:9] == pytest.approx([1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0], rel=0.005)
    assert waits[9:12] == pytest.approx([120, 240, 480], rel=0.01)


def test_where_no_pause_is_told_a_known_cycle_is_waited_for() -> None:
    blind, now = learned(100, 2.0)
    began = now
    now = feed(blind, now, 100)
    blind.send(now)
    assert now + blind.own_wait(now, now) == pytest.approx(began + 2.0, rel=0.01)


# -- against servers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
@pytest.mark.parametrize("retry_after", ["ceil", "exact"])
@pytest.mark.parametrize(("limit", "window", "late"), [(17, 1.6, 0.75), (90, 2.5, 0.88), (75, 9.0, 0.93)])
def test_quotas_other_than_those_that_the_constants_were_chosen_on(
    kind: str, retry_after: str, limit: int, window: float, late: float
) -> None:
    results = [simulated(kind, limit, window, seed, retry_after=retry_after) for seed in range(2)]
    assert min(result.late for result in results) >= late
    assert max(result.refused_share for result in results) <= 0.02


@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
@pytest.mark.parametrize("new", [25, 100])
def test_a_quota_that_changes_is_found_again(kind: str, new: int) -> None:
    result = simulated(kind, 50, 2.0, retry_after="exact", windows=80, changes=((20.0, new),))
    assert result.late >= 0.85
    assert result.refused_share <= 0.02


def test_two_clients_share_one_quota() -> None:
    result = simulated("fixed", 60, 1.0, windows=60, clients=2)
    assert result.late >= 0.85
    assert result.refused_share <= 0.02
    assert min(result.by_client) >= 0.25 * sum(result.by_client)


# -- the bars notice a rule that is broken ----------------------------------------------------------------------------


def meets_the_bars() -> bool:
    runs = [
        simulated(kind, 50, 2.0, retry_after=retry_after, latency=Latency())
        for kind in ("fixed", "sliding", "token")
        for retry_after in ("ceil", "exact")
    ]
    runs += [simulated(kind, 50, 2.0, windows=80, changes=((20.0, 100),)) for kind in ("fixed", "sliding")]
    return all(one.late >= 0.88 and one.refused_share <= 0.02 for one in runs)


def test_the_rule_as_it_stands_meets_the_bars() -> None:
    assert meets_the_bars()


def test_without_a_decrease_the_bars_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    conclude = Refusal.conclude

    def once(self: Refusal, log: SendLog, limit: int | None) -> Quota:
        return self.before if self.before.burst else conclude(self, log, limit)

    monkeypatch.setattr(Refusal, "conclude", once)
    assert not meets_the_bars()


def test_without_growth_the_bars_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blind, "_grow", lambda *_: None)
    assert not meets_the_bars()


def test_with_growth_that_is_not_paid_for_the_bars_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PRICE", 1.0)
    assert not meets_the_bars()
