"""Which law is believed: the one that foretold the answers best. Pure.

Every law foretells, before an answer is looked at, what it will authorise (a range, where the law does not know
better). How far off it was is summed up, and fades over about as many answers as the limit counts; so does what was
newly authorised at all, which is what there was to foretell. Then:

- too little has come to judge by: none is believed, the credit is spent step by step (`scouting`);
- what may have come evenly is not taken for a log's until the log's window is narrowed down to a factor of two;
- the law that was least off is believed, one that is believed already a little sooner than another;
- a fixed window and a sliding one that look alike so far are not guessed at: that would spend what may not be there;
- where even the best was off by half of all that came, neighbours spend the same quota. A sliding window may still be
  seen through them. If not, the average rate goes for a token bucket's, with more left standing. (Requests of ours
  that overtake each other make every law look wrong as well. They are told apart by what is remembered: all ours?)
"""

from __future__ import annotations

from aelyst_async.ratelimit.fixed import Fixed
from aelyst_async.ratelimit.laws import Sliding, Token

__all__ = ["Judge"]

_FIRST = (2.0, 0.03)
"""Requests newly authorised before a law is believed: at least so many, and so much of the limit."""

_STANDS = 1.5


class Judge:
    """Sums up how far off the laws were."""

    __slots__ = (
        "_fell", "_fixed", "_off_fixed", "_off_sliding", "_off_token", "_ours", "_seen", "_sliding", "_stands",
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
        self._fell = 0.0
        self._ours = 1.0
        self._seen = 1.0

    @property
    def noise(self) -> float:
        """Requests by which what is authorised falls back from one answer to the next, on average."""
        return self._fell / self._seen

    @property
    def token_fits(self) -> bool:
        """Whether what came in came evenly."""
        return self._off_token < 0.3 * self.come

    def weigh(
        self, limit: int, news: float, fell: int, *, came: bool, fixed: float, sliding: float, token: float
    ) -> None:
        """Take in by how many requests each law was off; `came`: more is forgotten than at the answer before."""
        keep = 1 - 1 / (limit + 16)
        self.come = self.come * keep + (news if news > 0 else 0.0)
        self._fell = self._fell * keep + (fell if fell > 0 else 0.0)
        self._seen = self._seen * keep + 1
        self._off_fixed = self._off_fixed * keep + fixed
        self._off_sliding = self._off_sliding * keep + sliding
        self._off_token = self._off_token * keep + token
        self._stands = 0.6 * self._stands + (1.0 if came else -0.3)

    def count(self, *, ours: bool) -> None:
        """Take in whether all that an answer shows remembered is ours."""
        self._ours += (ours - self._ours) / 64

    def choose(self, state: str, limit: int, *, crowded: bool) -> str:
        """Return the law to go by, `state` being the one gone by so far; `crowded`: neighbours are known of."""
        come = self.come
        if come < _FIRST[0] or come < _FIRST[1] * limit:
            # As much comes back as we take, again and again, though others take as well: it need not be scouted.
            return "token" if crowded and self._stands >= _STANDS else state
        sliding = self._sliding
        vague = sliding.low * 2 < sliding.high and not self._token.usable
        if state == "scouting" and vague and self._off_token <= self._off_sliding + 0.5:
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
            if self._off_token < off or (best == "sliding" and self._off_token <= off + 0.5):
                best, off = "token", self._off_token
        if state in offs and off > 0.6 * offs[state] - 0.5:
            best, off = state, offs[state]
        # Requests of ours that overtake each other make every law look wrong; those of others do, too.
        if off - (2 * self._fell if self._ours > 0.5 else 0.0) > 0.5 * come:
            seen_through = sliding.usable and sliding.low < 4 * sliding.high and self._off_sliding < 0.5 * come
            return "sliding" if seen_through else "token"
        if best == "sliding" and state != "sliding" and self._off_fixed < off + max(0.5, 0.05 * come):
            best = "fixed"
        return "scouting" if best == "fixed" and not self._fixed.usable else best
