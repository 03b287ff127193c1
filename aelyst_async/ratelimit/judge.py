"""Which law is believed: the one that foretold the answers best. Pure.

Every law foretells, before an answer is looked at, what it will authorise (a range, where the law does not know
better), and an answer authorises something between two bounds (`order`). How far apart the two are is summed up, and
fades over about as many answers as the limit counts; so does what was newly authorised at all, which is what there was
to foretell. Then:

- too little has come to judge by: none is believed, the credit is spent step by step (`scouting`);
- as much comes back as we take, again and again: that need not be scouted, and a token bucket presumes least;
- what may have come evenly is taken neither for a log's nor for a window's that nobody has seen end;
- the law that was least off is believed, one that is believed already a little sooner than another, and a token bucket
  rather than a log that was not much better;
- a fixed window and a sliding one that look alike so far are not guessed at: that would spend what may not be there;
- where even the best was off by half of all that came, neighbours spend the same quota. A sliding window may still be
  seen through them. If not, the average rate goes for a token bucket's, with more left standing.

Once others are known of, none of this is asked any more (`crowd`).
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.books import FEW
from aelyst_async.ratelimit.fixed import Fixed
from aelyst_async.ratelimit.laws import Sliding, Token

__all__ = ["Judge", "gap"]

_FIRST = (2.0, 0.03)
"""Requests newly authorised before a law is believed: at least so many, and so much of the limit."""

_STANDS = (2.0, 1.5)
"""Answers of late that showed more than there was before, where nobody else is known of, and where others are."""

_BETTER, _BY = 0.6, 0.5
"""Share of what the one gone by was off that another must be under, and by how many requests."""

_SETTLED = _BY / _BETTER
"""Requests: nobody can be so much better than one that was off by fewer."""

_FITS, _OF = 0.15, 0.5
"""Share of what came in that a law was off at most that fits, and the share of the limit that must have come in."""

_LIKELY = 0.35
"""Share of what came in that a bucket's law was off at most, to be likely among others."""

_CROWD = 0.1
"""Share of the limit that must have come in before it is put down to neighbours that no law fits."""


class Judge:
    """Sums up how far off the laws were."""

    __slots__ = (
        "_fixed", "_off_fixed", "_off_sliding", "_off_token", "_sliding", "_stands",
        "_token", "come",
    )  # fmt: skip

    def __init__(self, fixed: Fixed, sliding: Sliding, token: Token) -> None:
        self._fixed = fixed
        self._sliding = sliding
        self._token = token
        self.come = 0.0
        """Requests newly authorised of late."""
        self._off_fixed = 0.0
        self._off_sliding = 0.0
        self._off_token = 0.0
        self._stands = 0.0

    @property
    def token_fits(self) -> bool:
        """Whether what came in came evenly."""
        return self._off_token < 0.3 * self.come

    @property
    def token_likely(self) -> bool:
        """Whether it comes evenly but for what others take."""
        return self._off_token < _LIKELY * self.come

    def _off(self, state: str) -> float:
        return self._off_fixed if state == "fixed" else self._off_sliding if state == "sliding" else self._off_token

    def fits(self, state: str, limit: int) -> bool:
        """Whether a law foretold nearly all, of enough."""
        return self.come > _OF * limit and self._off(state) < _FITS * self.come

    def longest(self, state: str, limit: int) -> float:
        """Return how long the window is at most, in seconds, by a law that fits."""
        if state == "scouting" or not self.fits(state, limit):
            return math.inf
        if state == "fixed":
            return self._fixed.window if self._fixed.clock else self._fixed.bounds.window_high
        if state == "sliding":
            return self._sliding.high
        return 2 * limit / self._token.slow if self._token.slow else math.inf

    def weigh(self, limit: int, news: float, *, came: bool, fixed: float, sliding: float, token: float) -> None:
        """Take in by how many requests each law was off; `came`: more is forgotten than at the answer before."""
        keep = 1 - 1 / (limit + 16)
        self.come = self.come * keep + (news if news > 0 else 0.0)
        # None can have been more wrong than about all there was to foretell: what was thought before that is no matter.
        most = self.come + 2
        self._off_fixed = min(self._off_fixed * keep + fixed, most)
        self._off_sliding = min(self._off_sliding * keep + sliding, most)
        self._off_token = min(self._off_token * keep + token, most)
        self._stands = 0.8 * self._stands + (1.0 if came else -0.3)

    def _settled(self, state: str) -> bool:
        """Whether none can have been so much better than the one gone by, as is the rule."""
        most = min(_SETTLED, 0.5 * self.come)
        if state == "fixed":
            return self._off_fixed < most and self._fixed.usable
        if state == "sliding":
            return self._off_sliding < most and self._sliding.usable and self._sliding.alone
        return state == "token" and self._off_token < most and self._token.usable

    def choose(self, state: str, limit: int, *, crowded: bool) -> str:
        """Return the law to go by, `state` being the one gone by so far.

        `crowded`: others' requests from before ours are remembered.
        """
        come = self.come
        if state == "scouting" and self._stands >= _STANDS[crowded]:
            # As much comes back as we take, again and again: it need not be scouted.
            return "token"
        if come < _FIRST[0] or come < _FIRST[1] * limit:
            return state
        if self._settled(state):
            return state
        sliding = self._sliding
        vague = sliding.low * 2 < sliding.high or limit >= FEW
        if state == "scouting" and vague and not self._token.usable and self._off_token <= self._off_sliding + 0.5:
            # What has come in so far may have come evenly as well: of a few requests, nobody can tell.
            return "fixed" if self._fixed.usable else state
        best, off = "fixed", self._off_fixed
        offs = {"fixed": off}
        if sliding.usable and sliding.alone:
            offs["sliding"] = self._off_sliding
            if self._off_sliding < off:
                best, off = "sliding", self._off_sliding
        if self._token.usable:
            # Of the two, a bucket is the safer to be wrong about: it presumes less.
            offs["token"] = self._off_token
            if self._off_token < off or (best == "sliding" and self._off_token <= off + max(0.5, 0.1 * come)):
                best, off = "token", self._off_token
        if state in offs and off > _BETTER * offs[state] - _BY:
            best, off = state, offs[state]
        if off > 0.5 * come:
            if come < _CROWD * limit:
                return state
            seen_through = sliding.usable and sliding.low < 4 * sliding.high and self._off_sliding < 0.5 * come
            return "sliding" if seen_through else "token"
        if best == "sliding" and state != "sliding" and self._off_fixed < off + max(0.5, 0.05 * come):
            best = "fixed"
        return "scouting" if best == "fixed" and not self._fixed.usable else best


def gap(least: float, most: float, low: float, high: float) -> float:
    """Return how far what was foretold (least to most) is from what was true (low to high)."""
    return least - high if least > high else low - most if low > most else 0.0
