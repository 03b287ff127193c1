"""What a dashboard sees of a bucket."""

from __future__ import annotations

import attrs

from aelyst_async.ratelimit.lane import Lane

__all__ = ["BucketSnapshot", "snapshot_of"]


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


def snapshot_of(lane: Lane, now: float) -> BucketSnapshot:
    """Return the lane's bucket as it is at the loop's time `now`. Reads only: other threads may call it."""
    bucket = lane.bucket
    return BucketSnapshot(
        account=lane.account,
        endpoint=lane.endpoint,
        path=lane.path,
        scope="endpoint" if lane.path is None else "path",
        scope_reason=lane.scope.reason,
        state=bucket.state,
        limit=bucket.limit,
        remaining=bucket.remaining,
        rate=bucket.rate,
        window=bucket.window,
        waiting=lane.waiting,
        in_flight=bucket.in_flight,
        paused_for=max(0.0, lane.paused_until - now),
        sent=bucket.sent,
        refused=bucket.refused,
    )
