"""What a dashboard sees of a bucket."""

from __future__ import annotations

import attrs

__all__ = ["BucketSnapshot"]


@attrs.frozen(kw_only=True)
class BucketSnapshot:
    """One bucket at one moment. Times in seconds."""

    account: str
    endpoint: str
    path: str | None
    """The full path, if the quota is counted per path."""
    scope: str
    """``endpoint`` or ``path``."""
    scope_reason: str
    state: str
    limit: int | None
    """Requests per window, as the server said last."""
    remaining: int | None
    rate: float | None
    """Requests per second that the quota allows in the long run, once learned."""
    window: float | None
    waiting: int
    in_flight: int
    paused_for: float
    """Seconds that the server's last refusal still lasts."""
    sent: int
    refused: int
