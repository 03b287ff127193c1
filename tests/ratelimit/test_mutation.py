"""Break the learning rule on purpose: the bars must notice, or they prove nothing."""

import math
from typing import Any

import pytest

from aelyst_async.ratelimit import books, fixed, hypotheses, laws, memory, neighbours, share
from aelyst_async.ratelimit.books import Sent
from aelyst_async.ratelimit.bucket import Bucket
from aelyst_async.ratelimit.drain import Drain
from aelyst_async.ratelimit.headers import QuotaHeaders
from aelyst_async.ratelimit.judge import Judge
from aelyst_async.ratelimit.memory import SendLog
from aelyst_async.ratelimit.neighbours import Neighbours
from aelyst_async.ratelimit.order import Order
from aelyst_async.ratelimit.share import Share
from tests.ratelimit.simulator import Latency, Result, Server, simulate

original_answer = Bucket.answer


def meets_the_bars(kind: str) -> bool:
    result: Result = simulate(
        Server(kind=kind, limit=200, window=1.0, phase=0.37 if kind == "fixed" else 0.0), windows=12
    )
    return result.late >= 0.97 and result.refused_share <= 0.001


def ignore_remaining(self: Bucket, one: Sent, now: float, status: int, quota: QuotaHeaders) -> None:
    if status != 429 and quota.limit is not None:
        quota = quota._replace(remaining=quota.limit - 1)
    original_answer(self, one, now, status, quota)


def ignore_headers(self: Bucket, one: Sent, now: float, status: int, quota: QuotaHeaders) -> None:
    original_answer(self, one, now, status, quota._replace(limit=None, remaining=None))


def one_too_many(self: Bucket, one: Sent, now: float, status: int, quota: QuotaHeaders) -> None:
    if quota.remaining is not None and quota.limit is not None:
        quota = quota._replace(remaining=min(quota.limit, quota.remaining + 5))
    original_answer(self, one, now, status, quota)


@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
def test_the_rule_as_it_stands_meets_the_bars(kind: str) -> None:
    assert meets_the_bars(kind)


@pytest.mark.parametrize("mutant", [ignore_remaining, ignore_headers, one_too_many])
def test_answers_read_wrongly(monkeypatch: pytest.MonkeyPatch, mutant: Any) -> None:
    monkeypatch.setattr(Bucket, "answer", mutant)
    assert not all(meets_the_bars(kind) for kind in ("fixed", "sliding", "token"))


def test_no_end_of_a_window_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.Boundaries, "found", lambda *_: None)
    assert not meets_the_bars("fixed")


def test_windows_taken_for_shorter_than_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = fixed.Fixed.ends

    def sooner(self: fixed.Fixed, books: books.Books) -> tuple[float, float]:
        early, late = ends(self, books)
        return early - 0.1 * self.window, late - 0.1 * self.window

    monkeypatch.setattr(fixed.Fixed, "ends", sooner)
    assert not meets_the_bars("fixed")


def test_the_youngest_forgotten_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws.Sliding, "learn", lambda *_: None)
    assert not meets_the_bars("sliding")


def test_the_inflow_of_a_bucket_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws.Token, "learn", lambda *_: None)
    assert not meets_the_bars("token")


def test_windows_that_begin_with_a_request_taken_for_a_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulate(Server(kind="anchored", limit=200, window=0.9), windows=14).late >= 0.965
    monkeypatch.setattr(fixed.Anchored, "found", lambda *_: None)
    assert simulate(Server(kind="anchored", limit=200, window=0.9), windows=14).late < 0.965


def test_no_length_of_a_window_more_usual_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulate(Server(kind="anchored", limit=10, window=1.0), windows=12).late >= 0.98
    monkeypatch.setattr(fixed, "USUAL", ())
    monkeypatch.setattr(books, "USUAL", ())
    assert simulate(Server(kind="anchored", limit=10, window=1.0), windows=12).late < 0.98


def test_the_wrong_law_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "choose", lambda self, state, limit, *, crowded: "token")
    assert not all(meets_the_bars(kind) for kind in ("fixed", "sliding", "token"))


def test_nothing_but_the_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "choose", lambda self, state, limit, *, crowded: state)
    assert not all(meets_the_bars(kind) for kind in ("fixed", "sliding", "token"))


def test_the_order_of_sending_taken_for_the_order_of_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> bool:
        results = [
            simulate(
                Server(kind="fixed", limit=200, window=1.0, phase=0.37), windows=14, seed=seed,
                latency=Latency(jitter=0.005),
            )
            for seed in range(6)
        ]  # fmt: skip
        return all(result.late >= 0.985 and result.refused <= 1 for result in results)

    def plain(self: Order, log: SendLog, at: float, took: float, remaining: int) -> tuple[int, int]:
        number = log.sent_by(at)
        return number + remaining, number + remaining

    assert run()
    monkeypatch.setattr(Order, "bounds", plain)
    assert not run()


def test_nothing_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert two("token", 30)[1] >= 0.44
    monkeypatch.setattr(Neighbours, "left", lambda self, books, *, token: 0.0)
    assert two("token", 30)[1] < 0.36


def test_ends_of_windows_not_asked_for_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def use() -> float:
        servers = [Server(kind="fixed", limit=60, window=1.0, phase=0.29 * seed % 1) for seed in range(6)]
        return sum(simulate(one, clients=2, windows=30, seed=seed).late for seed, one in enumerate(servers)) / 6

    assert use() >= 0.98
    monkeypatch.setattr(Drain, "_risky", lambda *_: math.inf)
    assert use() < 0.975


def two(kind: str, limit: int, gap: float = 0.0) -> tuple[float, float]:
    """Return how much of the quota two clients use, and how much of that the one has that has less."""
    servers = [Server(kind=kind, limit=limit, window=1.0, phase=0.37) for _ in range(8)]
    runs = [simulate(one, clients=2, windows=30, start_gap=gap, seed=seed) for seed, one in enumerate(servers, start=1)]
    shares = [min(run.by_client) / sum(run.by_client) for run in runs]
    return sum(run.late for run in runs) / 8, sum(shares) / 8


def test_others_requests_not_entered_in_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    assert two("sliding", 60)[1] >= 0.46
    monkeypatch.setattr(Bucket, "_expected", lambda self, at: 0.0)
    assert two("sliding", 60)[1] < 0.45


def test_nothing_of_a_log_given_up_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert two("sliding", 60, 4.3)[1] >= 0.38
    monkeypatch.setattr(Share, "_give", lambda self: None)
    assert two("sliding", 60, 4.3)[1] < 0.25


def test_no_way_into_a_log_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    assert two("sliding", 60, 4.3)[1] >= 0.38
    monkeypatch.setattr(laws.Sliding, "give_way", lambda self, books: 0.0)
    assert two("sliding", 60, 4.3)[1] < 0.35


def test_the_last_of_a_small_log_left_standing_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert two("sliding", 10)[0] >= 0.97
    monkeypatch.setattr(share, "_LAST", math.inf)
    assert two("sliding", 10)[0] < 0.95


def test_a_log_that_is_shared_well_given_up_for_a_slower_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert two("sliding", 10)[1] >= 0.45
    monkeypatch.setattr(hypotheses, "_REFUSALS", 0.0)
    assert two("sliding", 10)[1] < 0.4


def test_nothing_of_a_small_bucket_left_for_newcomers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert two("token", 20, 4.3)[1] >= 0.42
    monkeypatch.setattr(neighbours, "_FEW", math.inf)
    assert two("token", 20, 4.3)[1] < 0.38


def test_what_cannot_be_not_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rules that nobody can tell apart, the first would be gone by for ever."""
    assert two("token", 60)[1] >= 0.45
    assert two("fixed", 60)[1] >= 0.42
    for rule in (hypotheses.Log, hypotheses.Level, hypotheses.Ends):
        monkeypatch.setattr(rule, "_wrong", lambda *_: 0.0)
    assert two("token", 60)[0] < 0.8
    assert two("fixed", 60)[0] < 0.8
