"""When to try again, and when not.

The rule is about what may have happened, not about which status looks temporary:

======================  ==========================================================================================
429, 425                always: the server refused to do it. Not before Retry-After.
449                     always, on a schedule of minutes: the vendor is still at work on the contact.
no connection           always: the request never left.
5xx, 408, reset,        only where sending twice does what sending once does (GET, PUT, DELETE). A create is not
time-out                repeated: the contact may exist. The error says so in ``may_have_been_applied``.
501, 505                never: it will not get better.
401                     once, if the credential's callable now returns another one (`Transport`).
anything else           never: the answer is an answer.
======================  ==========================================================================================

Delays come from the ``backoff`` package: exponential, with full jitter (a uniform draw from zero to the exponential
value), which spreads a crowd of clients best. Retry-After is a floor under the draw. All attempts of a call share
one deadline; a wait that would end after it is not begun: the error is raised at once, with a note that says so.
No pause of our own is longer than a minute (`RetryPolicy.cap` is 30 s), except for 449, whose schedule is minutes
because the vendor's is.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from aelyst_async.errors import (
    ApiError,
    ConfigurationError,
    ContactsError,
    QueuedError,
    RateLimitedError,
    ResponseDecodeError,
    ServerError,
    TransportError,
)
from aelyst_async.transport.settings import LONGEST, shown

__all__ = ["Backoff", "RetryPolicy"]


def _positive(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LONGEST:
        raise ConfigurationError(
            f"RetryPolicy: {attribute.name} must be a number of seconds above 0, at most {LONGEST:.0e}, "
            f"not {shown(value)}"
        )


def _count(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"RetryPolicy: {attribute.name} must be a whole number from 1, not {shown(value)}")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often and for how long a call is repeated. All times are in seconds.

    - ``max_attempts``: the number of requests of one call, including the first. 1 means no retry.
    - ``total``: the deadline of a call, counted from the first request. It limits all attempts and waits together.
    - ``base``, ``cap``: the first and the largest delay of the exponential backoff.
    - ``queued``: whether a 449 is repeated; `False` raises `QueuedError` at once.
    - ``queued_base``, ``queued_cap``: the first and the largest delay after a 449.

    Raises `ConfigurationError`.
    """

    max_attempts: int = attrs.field(default=5, validator=_count)
    total: float = attrs.field(default=900.0, validator=_positive)
    base: float = attrs.field(default=0.5, validator=_positive)
    cap: float = attrs.field(default=30.0, validator=_positive)
    queued: bool = True
    queued_base: float = attrs.field(default=60.0, validator=_positive)
    queued_cap: float = attrs.field(default=300.0, validator=_positive)


class Backoff:
    """The delays of one call. Made when a call first fails, so that a call that succeeds pays nothing."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._plain: Iterator[float] | None = None
        self._queued: Iterator[float] | None = None

    def delay(self, error: ContactsError, *, repeatable: bool) -> float | None:
        """Return the seconds to wait before the next attempt, or None where there must be none."""
        if isinstance(error, RateLimitedError):
            return max(self._draw(), error.retry_after or 0.0)
        if isinstance(error, QueuedError):
            return max(self._draw_queued(), error.retry_after or 0.0) if self._policy.queued else None
        if isinstance(error, ApiError) and error.status == 425:  # Too Early (RFC 8470): refused before it was handled
            return max(self._draw(), error.retry_after or 0.0)
        if isinstance(error, ServerError) or (isinstance(error, ApiError) and error.status == 408):
            final = error.status in {501, 505} or not repeatable
            return None if final else max(self._draw(), error.retry_after or 0.0)
        if isinstance(error, TransportError):
            return self._draw() if repeatable or not error.may_have_been_applied else None
        return None

    def _draw(self) -> float:
        import backoff

        if self._plain is None:
            self._plain = _exponential(self._policy.base, self._policy.cap)
        return backoff.full_jitter(next(self._plain))

    def _draw_queued(self) -> float:
        import backoff

        if self._queued is None:
            self._queued = _exponential(self._policy.queued_base, self._policy.queued_cap)
        # The vendor asks for minutes: half of the value is certain, so that a lucky draw does not hammer its queue.
        value = next(self._queued)
        return value / 2 + backoff.full_jitter(value / 2)


def _exponential(first: float, largest: float) -> Iterator[float]:
    import backoff

    values = backoff.expo(base=2, factor=first, max_value=largest)
    next(values)  # the package's generators take their start-up argument first
    return values


def with_attempts(error: ContactsError, attempts: int) -> ContactsError:
    """State on the error how many requests the call has sent."""
    if isinstance(error, (ApiError, TransportError)):
        error.attempts = attempts
    return error


def with_note(error: ContactsError, text: str) -> ContactsError:
    """Add a note, which tracebacks show from Python 3.11 on (and `add_note` with it)."""
    vars(error).setdefault("__notes__", []).append(text)
    return error


def with_doubt(error: ContactsError, earlier: ContactsError) -> None:
    """State on the error of a repeat that an earlier attempt may have been applied: the error is the whole call's."""
    doubt = getattr(earlier, "may_have_been_applied", False)
    if doubt and isinstance(error, (ApiError, ResponseDecodeError, TransportError)):
        error.may_have_been_applied = True
