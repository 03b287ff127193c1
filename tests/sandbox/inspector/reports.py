"""Data that the tests of the inspector page show: hostile text, and a bucket as a client reports it."""

from __future__ import annotations

from typing import Any

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def bucket(**changes: Any) -> dict[str, Any]:
    return {
        "endpoint": "GET /contact/{identifier}",
        "scope": "endpoint",
        "scope_reason": "it is taken to be so",
        "state": "known",
        "source": "learned",
        "limit": 10,
        "remaining": 4,
        "rate": 10.05,
        "window": 0.995,
        "waiting": 1234,
        "in_flight": 2,
        "sent": 20,
        "refused": 1,
        "paused_for": 0.5,
        **changes,
    }
