"""The rule for quotas that send no headers: what it learns from refusals, by itself and against simulated servers."""

import math
import random
from typing import Any

import pytest

from aelyst_async.ratelimit import blind as module
from aelyst_async.ratelimit.blind import Blind
from tests.ratelimit.simulator import Latency, Result, Server, simulate


def feed(blind: Blind, now: float, count: int) -> float:
    """Let `count` requests through, each answered at once; return the time of the last."""
    for _ in range(count):
        now = max(now, blind.next_at(0))
        blind.send(now)
        blind.accepted(now)
    return now


def learned(rate: float) -> tuple[Blind, float]:
    """Return one that knows `rate` well, and the time: the quota was used up at once, with an exact pause after it."""
    blind = Blind()
    now = feed(blind, 0.0, 100)
    blind.send(now)
    blind.refused(now, 100 / rate + 0.0001, 1, now)
    return blind, now + 100 / rate + 0.0001


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


def test_the_first_refusal_tells_what_was_let_through_up_to_the_end_of_the_pause() -> None:
    blind, _ = learned(50.0)
    assert blind.rate == pytest.approx(0.98 * 50, rel=0.001)


def test_requests_go_evenly_spaced_and_a_late_timer_is_made_good() -> None:
    blind, now = learned(50.0)
    assert blind.rate is not None
    blind.send(now + 1)
    assert blind.next_at(0) == pytest.approx(now + 1 + 1 / blind.rate)
    blind.send(now + 1 + 1 / blind.rate + 0.001)
    assert blind.next_at(0) == pytest.approx(now + 1 + 2 / blind.rate)
    blind.send(now + 2)  # but not half a second: that would be a burst
    assert blind.next_at(0) == pytest.approx(now + 2 + 1 / blind.rate)


def cut(good: int, wait: float) -> tuple[Blind, float, float]:
    """Return one that was refused after so many good answers, when that was, and its rate now."""
    blind, now = learned(50.0)
    now = feed(blind, now, good)
    blind.refused(now, wait, 1, now)
    assert blind.rate is not None
    return blind, now, blind.rate


def test_those_refused_together_are_one_refusal() -> None:
    blind, now, rate = cut(200, 0.5001)
    for _ in range(10):
        blind.refused(now, 0.5001, 1, now - 0.01)
    assert blind.rate == rate


def test_one_let_through_of_those_in_flight_belongs_to_the_time_before() -> None:
    blind, now, rate = cut(10, 0.0501)
    blind.accepted(now - 0.01)
    assert blind.rate is not None
    assert blind.rate > rate


def test_a_whole_retry_after_may_end_up_to_a_second_late() -> None:
    """Twenty in a second and a pause of "1": the rate is between ten and twenty a second."""
    blind, now = learned(20.0)
    began = now
    while now < began + 1:
        now = feed(blind, now, 1)
    blind.refused(now, 1.0, 1, now)
    assert blind.rate is not None
    assert 11 < blind.rate < 18


def test_a_pause_that_was_too_short_is_counted_into_the_measure() -> None:
    blind = Blind()
    now = feed(blind, 0.0, 100)
    rates = []
    for row, wait in enumerate((1.0, 2.0, 4.0), 1):
        blind.send(now)
        blind.refused(now, wait, row, now)
        rates.append(blind.rate or math.inf)
        now += wait
    assert rates[0] > rates[1] > rates[2]
    assert 100 / 7 * 0.97 < rates[2] < 100 / 3  # the true end is between the last refusal and the end of the pause


def test_it_climbs_only_after_the_refusals_are_paid_for() -> None:
    blind, now = learned(1000.0)
    now = feed(blind, now, 400)  # no debts before the first step: 1 was refused, 100 answers are asked
    climbed = blind.rate
    assert climbed is not None
    assert climbed > 1000
    blind.refused(now, 0.0001, 1, now)
    for _ in range(4):
        blind.refused(now, 0.0001, 1, now - 0.0001)
    rate = blind.rate
    assert rate is not None
    assert rate < climbed
    now = feed(blind, now, 395)
    assert blind.rate == rate
    feed(blind, now, 120)
    assert (blind.rate or 0.0) > rate


def test_it_does_not_climb_while_fewer_are_sent_than_might_be() -> None:
    blind, now = learned(50.0)
    rate = blind.rate
    for _ in range(2000):
        now += 0.1
        blind.send(now)
        blind.accepted(now)
    assert blind.rate == rate


def test_an_idle_hour_is_not_taken_for_a_slow_quota() -> None:
    blind, now = learned(50.0)
    now = feed(blind, now, 20) + 3600
    now = feed(blind, now, 100)
    rate = blind.rate
    assert rate is not None
    blind.refused(now, 0.0501, 1, now)
    assert blind.rate is not None
    assert blind.rate > 0.9 * rate


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
    return all(one.late >= 0.88 and one.refused_share <= 0.02 for one in runs)


def test_the_rule_as_it_stands_meets_the_bars() -> None:
    assert meets_the_bars()


def test_without_a_decrease_the_bars_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Blind._cut

    def once(self: Blind) -> None:
        if self.rate is None or self._tried == math.inf:
            cut(self)

    monkeypatch.setattr(Blind, "_cut", once)
    assert not meets_the_bars()


def test_without_an_increase_the_bars_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blind, "_climb", lambda *_: None)
    assert not meets_the_bars()


def test_with_growth_that_is_not_paid_for_the_bars_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRICE", 0)
    monkeypatch.setattr(module, "_PAUSE_PRICE", 0.0)
    monkeypatch.setattr(module, "_LEAST_SPAN", 1)
    monkeypatch.setattr(module, "_LEAST_STEP", 0.1)
    assert not meets_the_bars()
