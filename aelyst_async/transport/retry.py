"""When a request is repeated, and after which delay.

The rules depend on whether the request may have been applied:

======================  ==========================================================================================
429, 425                always, not before Retry-After: the server refused the request.
449                     always, after minutes: the vendor still processes the contact.
no connection           always: the request was not sent.
5xx, 408, reset,        only idempotent requests (GET, PUT, DELETE). A create is not repeated, because the
time-out                contact may exist; the error's ``may_have_been_applied`` is True.
501, 505                never: a repeat would fail too.
401                     once, if the credential's callable now returns another credential (`Transport`).
anything else           never: the response is final.
======================  ==========================================================================================

Delays come from the ``backoff`` package: exponential, with full jitter (uniform from zero to the exponential value),
which spreads many clients evenly. Retry-After is the lower bound. All attempts of a call share one deadline. If a wait
would end after it, the error is raised at once, with a note that states the reason. By default no delay of our own is
longer than 30 s (`RetryPolicy.cap`), except after a 449, because the vendor asks for minutes.
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
    """The delays of one call. Created at its first failure, so a successful call has no overhead."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._plain: Iterator[float] | None = None
        self._queued: Iterator[float] | None = None

    def delay(self, error: ContactsError, *, repeatable: bool) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there is no further attempt."""
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
        # At least half of the value, because the vendor asks for minutes.
        value = next(self._queued)
        return value / 2 + backoff.full_jitter(value / 2)


def _exponential(first: float, largest: float) -> Iterator[float]:
    import backoff

    values = backoff.expo(base=2, factor=first, max_value=largest)
    next(values)  # the package's generators must be started first
    return values


def with_attempts(error: ContactsError, attempts: int) -> ContactsError:
    """Set the number of requests that the call has sent on the error."""
    if isinstance(error, (ApiError, TransportError)):
        error.attempts = attempts
    return error


def with_note(error: ContactsError, text: str) -> ContactsError:
    """Add a note to the error. Tracebacks show it from Python 3.11 on."""
    vars(error).setdefault("__notes__", []).append(text)
    return error


def with_doubt(error: ContactsError, earlier: ContactsError) -> None:
    """Set ``may_have_been_applied`` on the error of a repeated request, because an earlier attempt may have been
    applied.
    """
    doubt = getattr(earlier, "may_have_been_applied", False)
    if doubt and isinstance(error, (ApiError, ResponseDecodeError, TransportError)):
        error.may_have_been_applied = True
