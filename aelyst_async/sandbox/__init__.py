"""The installed vendors' APIs on this machine: over real HTTP, with stored contacts, quotas, faults and a clock.

No vendor offers a sandbox, and mocks do not behave like a server. This server stores contacts, counts requests and
fails on demand::

    async with Sandbox() as sandbox:
        gateway = AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"))

The modules, in the order in which a request meets them::

    http.py      checks Host and Origin (guard.py), finds the account by path prefix, the vendor, the route
    account.py   one account: contacts (store.py), switches (assumptions.py), quotas (quota.py), faults (faults.py),
                 clock (clock.py), log and counters (evidence.py)
    vendor.py    the extension API: what a provider's package brings (`Vendor`); vendors.py finds it by entry point
    control.py   /_sandbox/…: the account over HTTP, for the inspector page and for other languages
    limiters.py  what clients' rate limiters have learned; reporting.py is the client's side

Accounts share no data, so a test that has its own account is isolated from the others. The account ``default`` answers
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
