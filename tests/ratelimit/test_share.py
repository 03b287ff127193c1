"""Whether others are there, by which window all go, and how a log is shared with them."""

import math

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
    assert not crowd.watch(ours, LIMIT, 10, 0.9, 0.0, math.inf)
    assert not crowd.watch(ours, LIMIT, 12, 0.91, 0.0, math.inf)  # once may be a request of ours that was counted twice
    assert crowd.watch(ours, LIMIT, 12, 0.92, 0.0, math.inf)


def test_what_left_within_the_slack_is_ours() -> None:
    crowd, ours = Crowd(), books()
    for i in range(10):
        send(crowd, ours, i * 0.001)
    for _ in range(3):
        assert not crowd.watch(ours, LIMIT, 10, 0.004, 0.01, math.inf)


def test_a_law_that_is_believed_shows_newcomers() -> None:
    crowd, ours = Crowd(), books()
    for i in range(200):
        send(crowd, ours, i * 0.01)  # a hundred in a second
    for at in (1.97, 1.98):
        assert not crowd.watch(ours, LIMIT, 101, at, 0.0, math.inf)
    for at in (1.985, 1.99):
        crowd.watch(ours, LIMIT, 101, at, 0.0, 0.9)
    assert crowd.near


def test_the_law_that_newcomers_made_misfit_shows_them_for_some_windows() -> None:
    crowd, ours = Crowd(), books()
    for i in range(1000):
        send(crowd, ours, i * 0.01)
    assert not crowd.watch(ours, LIMIT, 100, 10.0, 0.0, 1.0)
    for at in (10.1, 10.2):  # none of these is explained by ours of the last second
        crowd.watch(ours, LIMIT, 95, at, 0.0, math.inf)
    assert crowd.near
    late = Crowd()
    for i in range(1000):
        late.log.append(i * 0.01, 1000)
    late.watch(ours, LIMIT, 100, 10.0, 0.0, 1.0)
    for at in (14.1, 14.2):
        late.watch(ours, LIMIT, 95, at, 0.0, math.inf)
    assert not late.near


def test_a_window_and_what_requests_are_put_off_by_are_ours() -> None:
    crowd, ours = Crowd(), books()
    for i in range(100):
        send(crowd, ours, i * 0.01)
    for at in (0.9905, 0.991, 0.9915):  # nothing is a window old, but the oldest nearly
        assert not crowd.watch(ours, LIMIT, 100, at, 0.0, 0.99)
    assert not crowd.watch(ours, LIMIT, 100, 0.9945, 0.0, 0.99)
    assert crowd.watch(ours, LIMIT, 100, 0.995, 0.0, 0.99)


def test_a_limit_that_changes_is_no_proof() -> None:
    crowd, ours = Crowd(), books()
    for i in range(10):
        send(crowd, ours, i * 0.1)
    crowd.watch(ours, LIMIT, 10, 0.9, 0.0, 1.0)
    for at in (1.0, 1.5, 2.0):
        assert not crowd.watch(ours, 2 * LIMIT, 110, at, 0.0, 1.0)
    for at in (3.1, 3.2):
        crowd.watch(ours, 2 * LIMIT, 110, at, 0.0, 1.0)
    assert crowd.near


def test_others_are_forgotten_after_some_windows() -> None:
    crowd, ours = Crowd(), books()
    send(crowd, ours, 0.0)
    crowd.window = 1.0
    crowd.watch(ours, LIMIT, 50, 0.1, 0.0, math.inf)
    assert crowd.watch(ours, LIMIT, 50, 0.2, 0.0, math.inf)
    assert crowd.watch(ours, LIMIT, 1, 5.0, 0.0, math.inf)
    assert not crowd.watch(ours, LIMIT, 1, 9.0, 0.0, math.inf)


# -- their requests ----------------------------------------------------------------------------------------------------


def test_what_is_ours_and_what_is_others_is_told_by_the_window() -> None:
    crowd, ours = Crowd(), books()
    for i in range(100):
        send(crowd, ours, i * 0.01)
    crowd.settle(0.99, 70, 0.2)
    assert (crowd.window, crowd.own, crowd.others) == (0.2, 20, 50)


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
    crowd.settle(at, mine + others, 1.0)
    share = Share(crowd)
    share.begin(0.0)
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


def test_who_had_it_alone_gives_nothing_for_a_second() -> None:
    share, _, _ = shared(95, 5)
    for _ in range(95):
        share.sent(0.9)
    assert share.mine == 95
    for _ in range(95):
        share.sent(1.1)
    assert share.mine < 60


def test_no_more_is_given_than_is_taken() -> None:
    share, _, ours = shared(80, 10, 10)
    share.learn(ours, 0.9876, 10)
    for _ in range(80):
        share.sent(2.0)
    assert share.mine >= 79


def test_the_last_hole_is_taken_when_it_stood_for_some_windows() -> None:
    share, _, ours = shared(5, 4, 1)

    def takes(at: float) -> bool:
        before = share.mine
        share.learn(ours, at, 1)
        share.sent(at)
        return share.mine > before

    times = [1 + i / 10 for i in range(90)]
    took = [at for at in times if takes(at)]
    assert took
    assert 2 < took[0] < 8


def test_what_is_not_sent_in_time_is_lost() -> None:
    share, _, ours = shared(50, 50)
    ours.last = 1.5  # half of them are overdue
    share.ready(ours)
    assert share.mine < 30


def test_what_another_took_is_not_ours_any_more() -> None:
    share, crowd, ours = shared(50, 50)
    crowd.settle(1.2, 100, 1.0)  # nine or so of ours are due, and nothing remains
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
