"""The three vendors' APIs on this machine: over real HTTP, with a memory, quotas, faults and a clock.

No vendor offers a sandbox, so whoever integrates tests on a live account or on mocks. This is a server that keeps
contacts, counts requests and fails on demand::

    async with Sandbox() as sandbox:
        gateway = AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"))

How a request goes through, one module a step:

    http.py      bytes in: Host and origin (guard.py), the account by path prefix, the vendor, the route
    account.py   one customer's world: contacts (store.py), switches (assumptions.py), quota (quota.py),
                 faults (faults.py), clock (clock.py), evidence (evidence.py)
    vendors/     what one vendor answers: pure functions of a call and the store
    control.py   /_sandbox/…: the same world over HTTP, for the inspector page and for other languages
    limiters.py  what the clients' rate limiters have learned; reporting.py is the client's side of it

Every account is a world of its own: nothing that one test does is seen by the next. The account ``default`` answers
at ``/aelyst/v1``, another one at ``/@NAME/aelyst/v1``.
"""

from __future__ import annotations

from aelyst_async.sandbox.account import Account
from aelyst_async.sandbox.clock import Clock
from aelyst_async.sandbox.evidence import Counters, LoggedRequest
from aelyst_async.sandbox.faults import Fault, parse_fault
from aelyst_async.sandbox.reporting import report_limiter
from aelyst_async.sandbox.server import DEFAULT_TOKEN, Sandbox

__all__ = [
    "DEFAULT_TOKEN",
    "Account",
    "Clock",
    "Counters",
    "Fault",
    "LoggedRequest",
    "Sandbox",
    "parse_fault",
    "report_limiter",
]
