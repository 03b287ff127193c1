"""No headers to learn from: a rate that grows while nothing is refused, and is cut to what was let through when it is.

Additive increase, multiplicative decrease, with a ceiling, in the manner of CUBIC (RFC 9438): near the rate that was
refused last it stands still for long, then goes on in small steps, and in ever larger ones once that rate is passed.
Requests go evenly spaced: at the true rate that is admissible for fixed windows, sliding logs and token buckets alike.

**Slow start.** Before the first refusal nothing says that there is a quota, so only the requests in flight are bounded.
Those that are out when the first is refused are refused with it. One more for every eight answers makes that an eighth
of the quota at most, which is 0.3 % of forty windows, and still grows e-fold in eight round trips.

**What a refusal tells.** A quota is as full at the end of one pause as at the end of the next, so what was let through
in between, over the time in between, is the quota's rate, whatever its law. Two things blur it. Retry-After comes in
whole seconds, rounded up, and a pause of our own is a guess: the true end lies somewhere before, and the rate between
``slowest`` (to the end of the pause) and ``fastest`` (to the earliest end possible). And before the first refusal the
quota was full, so a burst counts that never comes again; the second refusal puts that right.

**Cuts.** There are two kinds:

- *Refused while climbing*: the last rates held for whole windows, so the true one is a step or two below. Back by one
  and a half; if that is refused early, once more. Later steps are a third as large, down to 2 %.
- *Refused early*, or for the first time: the rate is what was measured, between the two bounds; steps are as large as
  the bounds are apart.

**Growth is paid for.** A refusal costs a hundred good answers, so in the long run one in a hundred is refused; half of
what two in a hundred permit goes to learning. A pause costs what it would have let through; standing still too low
costs about 1.5 steps for as long as it lasts. The sum is least where the wait between two climbs is the pause over the
step, and nearly as low at 0.6 of that, which finds a quota that has grown sooner: thirty pauses at the finest step.
A step lasts as many answers as the first burst had, a window's worth; of fewer than sixty a tenth more would not show.

**Refusals that have nothing to do with the rate** (an overloaded server) would cut it to nothing. Six in succession
after fewer than ten answers each are no quota's doing, since each cut halves the error: one request a pause remains.
"""

from __future__ import annotations

import math

__all__ = ["Blind"]

_PRICE = 100
"""Good answers that pay for a refusal."""

_MOST_OWED = 1000
"""Good answers: however many were refused together, it is tried again some day."""

_PAUSE_PRICE = 0.6
"""Of the pause over the step, that is waited between two climbs."""

_LEAST_STEP, _MOST_STEP, _HASTE = 0.02, 0.1, 0.25
"""Shares of the rate: the finest step, the coarsest, and the most that steps grow to where nothing stops them."""

_STEPS_BACK = 1.5
"""A fixed window refuses up to a window late; by then another step may have been made."""

_LEAST_SPAN = 60
"""Good answers that a step lasts at least."""

_MARGIN = 0.98
"""Below what was measured, so that evenly spaced requests do not meet the limit by chance."""

_DEEPEST = 0.3
"""The most that one early refusal cuts to: few answers measure badly."""

_LATE = 0.002
"""Seconds of lateness made good, as in `bucket`."""


class Blind:
    """A rate in requests per second, learned from refusals alone. Pure: every method is told the time, in seconds."""

    __slots__ = (
        "_back", "_began", "_burst", "_climbed", "_counted", "_crowd", "_due", "_earliest", "_good", "_in_a_row",
        "_next", "_owed", "_pause_end", "_since", "_span", "_step", "_step_before", "_stepped", "_stepped_at",
        "_stride", "_tried", "_vain", "_wait", "rate",
    )  # fmt: skip

    def __init__(self) -> None:
        self.rate: float | None = None
        """Requests per second; None before the first refusal."""
        self._crowd = 1.0  # requests in flight at most
        self._next = -math.inf
        self._began = math.nan  # since then it is counted
        self._good = 0
        # The climb.
        self._burst = 0  # let through before the first refusal
        self._span = 1.0
        self._stride = 1.0  # good answers from step to step
        self._step = _MOST_STEP
        self._due = 0.0  # `_good` at the next step
        self._climbed = 0
        self._stepped, self._stepped_at = 0, 0.0
        self._owed = 0.0
        # The last refusal, with all that came before the next good answer.
        self._pause_end = -math.inf
        self._earliest = 0.0  # the earliest true end of that pause
        self._counted, self._since = 0, 0.0  # what was let through until then, since when
        self._tried = math.inf  # the rate refused
        self._step_before = _MOST_STEP
        self._in_a_row, self._wait = 0, 0.0
        self._back = 0  # 2: refused while climbing, 1: again, early
        self._vain = 0

    def next_at(self, out: int) -> float:
        """Return when one more request may go, with `out` in flight; infinite: not before an answer."""
        return math.inf if out >= self._crowd else self._next

    def send(self, now: float) -> None:
        """A request leaves."""
        rate = self.rate
        if rate is not None:
            due = self._next
            if due < self._pause_end:
                due = self._pause_end
            if now - due > 1 + self._span / rate:
                # Nobody had anything to send, and the quota has long forgotten what was: count anew.
                self._began = self._stepped_at = now
                self._good = self._counted = self._stepped = 0
            self._next = (due if now - _LATE < due < now else now) + 1 / rate
        elif self._began != self._began:
            self._began = now

    def accepted(self, sent_at: float) -> None:
        """It was let through."""
        rate = self.rate
        if rate is None:
            self._good += 1
            self._crowd += 0.125
            return
        if self._crowd < 1024:
            self._crowd += 0.25
        if sent_at < self._pause_end:  # it was out when another was refused
            if not self._good:
                self._counted += 1
                self._cut()
            return
        self._good = good = self._good + 1
        if good >= self._due:
            # Where fewer were sent than might have been, nothing was tried.
            if good - self._stepped > 0.8 * rate * (sent_at - self._stepped_at) - 2:
                self._climb(rate)
            self._stepped, self._stepped_at = good, sent_at
            self._due = good + self._stride

    def _climb(self, rate: float) -> None:
        self.rate = rate = rate * (1 + self._step)
        self._climbed += 1
        self._vain = 0
        if rate > self._tried:
            self._stride = self._span
        if self._climbed >= 8 or rate > 1.05 * self._tried:
            self._step = min(1.5 * self._step, _HASTE)

    def refused(self, now: float, wait: float, in_a_row: int, sent_at: float) -> None:
        """What left at `sent_at` was refused, the last of so many in a row; `wait` seconds of silence are wanted."""
        if sent_at >= self._pause_end and (self._good or not self._counted):
            self._first_refused()
        self._owed = min(self._owed + _PRICE, _MOST_OWED)
        if in_a_row > 1:
            self._earliest = now  # the pause was too short: until now the quota was used up
        else:
            whole = abs(wait - round(wait)) < 1e-6
            self._earliest = min(self._earliest, now + (max(wait - 1, 0.0) if whole else wait))
        self._in_a_row, self._wait = in_a_row, wait
        self._began = self._stepped_at = self._pause_end = max(self._pause_end, now + wait)
        if self._counted:
            self._cut()

    def _first_refused(self) -> None:
        """Close the account: the first refusal after a good answer."""
        good = self._good
        self._since = self._began
        if self.rate is None:
            self._burst, self._span = good, float(max(good, _LEAST_SPAN))
            self._counted = good
        else:
            self._tried = self.rate
            self._counted = max(good, 1)
            if self._climbed and good >= 2 * self._span:
                self._back, self._step_before = 2, self._step
            elif self._back:
                self._back -= 1
            self._owed = max(self._owed - good, 0.0)
            self._vain = self._vain + 1 if good < 10 else 0
        self._earliest = math.inf
        self._good = self._climbed = self._stepped = 0

    def _cut(self) -> None:
        """Set the rate by all that is known of the last refusal. May be called again when more is."""
        counted, tried = self._counted, self._tried
        first = tried == math.inf
        fastest = min(tried, counted / max(self._earliest - self._since, 1e-3))
        slowest = min(fastest, counted / max(self._pause_end - self._since, 1e-3))
        if self._back:
            rate = max(tried / (1 + self._step_before) ** _STEPS_BACK, _MARGIN * slowest)
            step = max(self._step_before / 3, _LEAST_STEP)
        else:
            # A short burst and a pause of a second tell little at first; too low costs less than another pause.
            vague = first and self._in_a_row <= 1 and fastest > 2.2 * slowest
            rate = _MARGIN * (slowest if vague else math.sqrt(slowest * fastest))
            if not first and self._in_a_row <= 1:
                rate = max(rate, _DEEPEST * tried)
            apart = (fastest / slowest) ** 0.25 - 1
            step = min(max(apart, _LEAST_STEP, 0.0 if first else 0.5 / counted), _MOST_STEP)
        if self._vain >= 6:
            rate = max(rate, 1 / max(self._wait, 1.0) * 0.5 ** min(max(self._in_a_row - 1, 0), 16))
        self.rate = rate = max(rate, 0.01)
        self._step = step
        self._stride = self._span
        if first:
            self._due = self._span
        elif not self._back and 4 * counted < self._burst:
            self._due = self._stride = max(4.0 * counted, 10.0)  # measured badly: find back soon
        else:
            wasted = (self._pause_end - self._earliest) * rate
            hold = _PAUSE_PRICE * wasted / max(self._step_before, step)
            self._due = max(self._owed, hold, self._span)
