"""The installed vendors' APIs on this machine: over real HTTP, with stored contacts, quotas, faults and a clock.

No vendor offers a sandbox, and tests need something between mocks and a live account. This server stores contacts,
counts requests and fails on demand::

    async with Sandbox() as sandbox:
        gateway = AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"))

How a request goes through, one module a step:

    http.py      bytes in: Host and origin (guard.py), the account by path prefix, the vendor, the route
    account.py   one customer's account: contacts (store.py), switches (assumptions.py), quota (quota.py),
                 faults (faults.py), clock (clock.py), evidence (evidence.py)
    vendor.py    the extension API: what a provider's package brings (`Vendor`); vendors.py finds it by entry point
    control.py   /_sandbox/…: the same account over HTTP, for the inspector page and for other languages
    limiters.py  what the clients' rate limiters have learned; reporting.py is the client's side of it

Accounts share nothing, so a test with its own account sees nothing of the others. The account ``default`` answers
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
