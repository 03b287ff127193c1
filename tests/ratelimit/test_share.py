"""Whether others are there, by which window all go, and how a log is shared with them."""

import math

import pytest

from aelyst_async.ratelimit.books import Books, Sent
from aelyst_async.ratelimit.bucket import Bucket
from aelyst_async.ratelimit.crowd import Crowd
from aelyst_async.ratelimit.headers import QuotaHeaders
from aelyst_async.ratelimit.reserve import Reserve
from aelyst_async.ratelimit.share import Share

LIMIT = 100


def books(limit: int = LIMIT) -> Books:
    books = Books()
    books.limit = limit
    return books


def send(crowd: Crowd, books: Books, at: float) -> None:
    crowd.log.append(at, 1000)
    books.log.append(at, 1000)
    books.last = at


# -- others ------------------------------------------------------------------------------------------------------------


def test_more_remembered_than_we_sent_twice_running_is_others() -> None:
    crowd, ours = Crowd(), books()
    for i in range(10):
        send(crowd, ours, i * 0.1)
    assert not crowd.watch(LIMIT, 10, 0.9, 0.0, math.inf, 0.0)
    assert not crowd.watch(LIMIT, 12, 0.91, 0.0, math.inf, 0.0)  # once may be a request of ours that was counted twice
    assert crowd.watch(LIMIT, 12, 0.92, 0.0, math.inf, 0.0)


def test_what_left_within_the_slack_is_ours() -> None:
    crowd, ours = Crowd(), books()
    for i in range(10):
        send(crowd, ours, i * 0.001)
    for _ in range(3):
        assert not crowd.watch(LIMIT, 10, 0.004, 0.01, math.inf, 0.0)


def test_a_law_that_is_believed_shows_newcomers() -> None:
    crowd, ours = Crowd(), books()
    for i in range(200):
        send(crowd, ours, i * 0.01)  # a hundred in a second
    for at in (1.97, 1.98):
        assert not crowd.watch(LIMIT, 101, at, 0.0, math.inf, 0.0)
    for at in (1.985, 1.99):
        crowd.watch(LIMIT, 101, at, 0.0, 0.9, 0.0)
    assert crowd.near


def test_a_window_and_what_requests_are_put_off_by_are_ours() -> None:
    crowd, ours = Crowd(), books()
    for i in range(100):
        send(crowd, ours, i * 0.01)
    for at in (0.9905, 0.991, 0.9915):  # nothing is a window old, but the oldest nearly
        assert not crowd.watch(LIMIT, 100, at, 0.0, 0.99, 0.004)
    assert not crowd.watch(LIMIT, 100, 0.9945, 0.0, 0.99, 0.004)
    assert crowd.watch(LIMIT, 100, 0.995, 0.0, 0.99, 0.004)


def test_several_refused_together_refute_a_short_window() -> None:
    crowd, ours = Crowd(), books()
    crowd.enter()
    for i in range(10):
        send(crowd, ours, i * 0.01)
    crowd.settle(0.1, 20, LIMIT, 0.2, known=True)
    assert crowd.window == 0.2
    crowd.refused(fresh=True)
    crowd.refused(fresh=True)
    crowd.refused(fresh=False)
    crowd.settle(0.11, 20, LIMIT, 0.2, known=True)
    assert crowd.window == 0.2  # two by themselves, and one together with another
    crowd.refused(fresh=False)
    crowd.settle(0.12, 20, LIMIT, 0.2, known=True)
    assert crowd.window == 0.25


def test_a_limit_that_changes_is_no_proof() -> None:
    crowd, ours = Crowd(), books()
    for i in range(10):
        send(crowd, ours, i * 0.1)
    crowd.watch(LIMIT, 10, 0.9, 0.0, 1.0, 0.0)
    for at in (1.0, 1.5, 2.0):
        assert not crowd.watch(2 * LIMIT, 110, at, 0.0, 1.0, 0.0)
    for at in (3.1, 3.2):
        crowd.watch(2 * LIMIT, 110, at, 0.0, 1.0, 0.0)
    assert crowd.near


def test_others_are_forgotten_after_some_windows() -> None:
    crowd, ours = Crowd(), books()
    send(crowd, ours, 0.0)
    crowd.window = 1.0
    crowd.watch(LIMIT, 50, 0.1, 0.0, math.inf, 0.0)
    assert crowd.watch(LIMIT, 50, 0.2, 0.0, math.inf, 0.0)
    assert crowd.watch(LIMIT, 1, 5.0, 0.0, math.inf, 0.0)
    assert not crowd.watch(LIMIT, 1, 9.0, 0.0, math.inf, 0.0)


# -- their window ------------------------------------------------------------------------------------------------------


def look(crowd: Crowd, ours: Books, at: float, remaining: int, *, known: bool = False, high: float = math.inf) -> None:
    crowd.look(ours, at, remaining, 0.0)
    crowd.settle(at, ours.limit - remaining, ours.limit, high, known=known)


def test_the_commonest_window_is_presumed_by_who_comes_late() -> None:
    crowd, ours = Crowd(), books()
    send(crowd, ours, 0.0)
    crowd.enter()
    look(crowd, ours, 0.0, 0)
    assert crowd.clean is False
    assert crowd.window == 1.0


def test_a_window_lasts_longer_than_nothing_is_forgotten() -> None:
    crowd, ours = Crowd(), books()
    ours.allowed = LIMIT
    crowd.enter()
    for at in (0.0, 2.0, 4.0, 7.0):
        send(crowd, ours, at)
        look(crowd, ours, at, LIMIT - 10)
    assert crowd.clean is True
    assert crowd.window == 5.0


@pytest.mark.parametrize(("measured", "window"), [(0.99, 1.0), (1.02, 1.0), (9.8, 10.0), (1.31, 1.31)])
def test_a_measured_window_is_a_usual_one_if_it_is_near(measured: float, window: float) -> None:
    crowd, ours = Crowd(), books()
    send(crowd, ours, 0.0)
    crowd.enter()
    look(crowd, ours, 0.0, LIMIT - 2, known=True, high=measured)
    assert crowd.window == window


def test_more_of_ours_than_are_remembered_is_a_shorter_window() -> None:
    crowd, ours = Crowd(), books()
    crowd.enter()
    for i in range(100):
        send(crowd, ours, i * 0.01)
    look(crowd, ours, 0.99, LIMIT - 20)
    assert crowd.window == 0.2
    assert crowd.own <= 20


def test_others_move_least_under_the_right_window() -> None:
    """We send twenty at the beginning of every two seconds; fifty are others', all the time."""
    crowd, ours = Crowd(), books()
    crowd.enter()
    for second in range(0, 12, 2):
        for i in range(20):
            at = second + i * 0.01
            send(crowd, ours, at)
            mine = sum(at - 2.0 < one <= at for one in (s + j * 0.01 for s in range(0, 12, 2) for j in range(20)))
            look(crowd, ours, at, LIMIT - 50 - mine)
    assert crowd.window == 2.0
    assert crowd.others == 50


def test_much_that_stands_for_long_is_a_bucket_to_who_comes_late() -> None:
    crowd, ours = Crowd(), books()
    crowd.enter()
    crowd.window = 1.0
    for i in range(10):
        send(crowd, ours, i * 0.1)
        crowd.watch(LIMIT, 70 if i else LIMIT, i * 0.1, 0.0, math.inf, 0.0)
        look(crowd, ours, i * 0.1, 30 if i else 0)
    assert crowd.stands(0.9)
    look(crowd, ours, 1.0, 2)
    assert not crowd.bucket


def test_what_trickles_from_the_start_is_no_log() -> None:
    crowd, ours = Crowd(), books()
    send(crowd, ours, 0.0)
    crowd.look(ours, 0.0, LIMIT - 1, 0.0)
    crowd.look(ours, 0.5, LIMIT - 40, 3.0)
    assert crowd.trickles
    log = Crowd()
    log.look(ours, 0.0, LIMIT - 1, 0.0)
    log.look(ours, 1.01, LIMIT - 40, 60.0)
    assert not log.trickles


def test_others_requests_move_ours_up_that_are_out() -> None:
    ours = books()
    early, late = Sent(), Sent()
    for at, one in ((0.0, None), (1.0, early), (3.0, late)):
        number = ours.log.append(at, 1000)
        if one is not None:
            one.at, one.number = at, number
    ours.newest(1, 0.0, LIMIT, LIMIT, 1)
    ours.meet(3, 2.0, [early, late])  # at 0.5, 1.0 and 1.5
    assert (early.number, late.number) == (3, 6)
    assert [ours.log.time(number) for number in range(1, 7)] == [0.0, 0.5, 1.0, 1.0, 1.5, 3.0]


def test_a_remaining_that_falls_by_millions_keeps_nobody_waiting() -> None:
    """Whatever a server says, no answer takes more than so many entries of the books."""
    bucket, limit = Bucket(), 900_000_000
    for i, remaining in enumerate((limit - 1, limit - 5, limit - 9, 400_000_000, 7, 3, 1)):
        one = Sent()
        at = max(1.0 + i, bucket.next_at)
        assert bucket.send(one, at)
        bucket.answer(one, at + 0.01, 200, QuotaHeaders(limit=limit, remaining=remaining))
    assert bucket._books.log.count < 100_000
    assert bucket.credit <= 1


# -- sharing -----------------------------------------------------------------------------------------------------------


def shared(mine: int, others: int, standing: int = 0) -> tuple[Share, Crowd, Books]:
    """A second in which we sent so many, one by one, of a hundred."""
    crowd, ours = Crowd(), books(mine + others + standing)
    for i in range(mine):
        send(crowd, ours, i / mine)
    at = (mine - 1) / mine
    crowd.enter()
    look(crowd, ours, at, standing, known=True, high=1.0)
    share = Share(crowd)
    share.begin(0.0, known=False)
    share.learn(ours, at, standing)
    return share, crowd, ours


def test_what_we_have_goes_again_when_it_is_a_window_old() -> None:
    share, _, ours = shared(50, 50)
    assert share.mine == 50
    assert 1.0 < share.ready(ours) <= 1.01


def test_who_has_less_takes_what_stands_at_once_and_who_has_more_does_not() -> None:
    poor, _, books_of_poor = shared(20, 60, 20)
    rich, _, books_of_rich = shared(60, 20, 20)
    assert poor.ready(books_of_poor) < books_of_poor.last + 0.1
    assert rich.ready(books_of_rich) > books_of_rich.last + 0.02
    before = poor.mine
    poor.sent(books_of_poor.last + 0.01)
    assert poor.mine == before + 1


def test_who_has_more_gives_until_nobody_does() -> None:
    share, _, _ = shared(80, 20)
    for _ in range(80):
        share.sent(2.0)
    assert 30 <= share.mine < 50  # what others have does not change here
    even, _, _ = shared(50, 50)
    for _ in range(50):
        even.sent(2.0)
    assert even.mine >= 49


def test_who_had_it_alone_gives_nothing_at_first() -> None:
    share, _, _ = shared(80, 20)
    share.begin(2.0, known=True)
    for _ in range(80):
        share.sent(2.5)
    assert share.mine == 80
    for _ in range(80):
        share.sent(3.5)
    assert share.mine < 50


def test_no_more_is_given_than_is_taken() -> None:
    share, _, ours = shared(80, 10, 10)
    share.learn(ours, 0.9876, 10)
    for _ in range(80):
        share.sent(2.0)
    assert share.mine >= 79


def test_what_is_not_sent_in_time_is_lost() -> None:
    share, _, ours = shared(50, 50)
    ours.last = 1.5  # half of them are overdue
    share.ready(ours)
    assert share.mine < 30


def test_what_another_took_is_not_ours_any_more() -> None:
    share, crowd, ours = shared(50, 50)
    crowd.settle(1.2, 100, 100, 1.0, known=True)  # nine or so of ours are due, and nothing remains
    share.learn(ours, 1.2, 0)
    assert share.mine < 50


# -- the reserve -------------------------------------------------------------------------------------------------------


def test_nothing_is_held_back_without_a_disappointment() -> None:
    reserve = Reserve()
    for _ in range(100):
        reserve.disappointed(0.0, LIMIT, 1.0)
    assert reserve.spare == 0.0


def test_disappointments_are_held_back_and_fade() -> None:
    reserve = Reserve()
    for _ in range(20):
        reserve.disappointed(5.0, LIMIT, 1.0)
    much = reserve.spare
    assert 1.0 <= much <= 0.2 * LIMIT
    for _ in range(500):
        reserve.disappointed(0.0, LIMIT, 1.0)
    assert reserve.spare < much
    reserve.clear(2.0)
    assert reserve.spare == 0.0
    reserve.disappointed(5.0, LIMIT, 1.5)  # believed by the law before
    assert reserve.spare == 0.0
