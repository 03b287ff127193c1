"""One account: contacts, tokens, switches, quotas, faults, a clock, and the log of its requests.

An account exists at each vendor. Accounts share a server and a database but no data, so a test that has its own is
isolated from the others. All methods are plain functions that return at once. Call them in the server's thread.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import quote

import attrs

from aelyst_async.sandbox.assumptions import Behaviour, Settings
from aelyst_async.sandbox.clock import Clock
from aelyst_async.sandbox.evidence import Counters, Evidence, LoggedRequest
from aelyst_async.sandbox.faults import Fault, FaultPlan, parse_fault
from aelyst_async.sandbox.limiters import Enforced, Limiters
from aelyst_async.sandbox.quota import Counter, Verdict, WindowKind, counter_for, parse_quota
from aelyst_async.sandbox.store import Store
from aelyst_async.sandbox.vendor import Call, Reply, Route, Vendor
from aelyst_async.sandbox.vendors import find_vendor, vendors

__all__ = ["DEFAULT_ACCOUNT", "DEFAULT_TOKEN", "Account", "Gauge", "all_behaviours"]

DEFAULT_ACCOUNT = "default"
DEFAULT_TOKEN = "sandbox-token"  # noqa: S105 - the well-known credential of every account
_COUNTERS_KEPT = 20_000
"""Number of quota counters above which idle ones are dropped. Under path scope there is one for each path."""


def all_behaviours() -> tuple[Behaviour, ...]:
    """Return every vendor's behaviours, documented and assumed."""
    return tuple(behaviour for vendor in vendors().values() for behaviour in vendor.behaviours)


@attrs.frozen(kw_only=True)
class Gauge:
    """The state of one quota: ``scope`` is an endpoint, a method and path, or empty for the whole account."""

    vendor: str
    scope: str
    limit: int
    remaining: int
    retry_after: float


class Account:
    """One account on a sandbox. `Sandbox.account` creates accounts; the `Sandbox` itself is the first one."""

    def __init__(
        self,
        name: str,
        store: Store,
        *,
        seed: int = 0,
        switches: Mapping[str, object] | None = None,
        faults: Iterable[Fault | str] = (),
    ) -> None:
        self.name = name
        self.seed = seed
        self.clock: Clock = Clock()
        self.settings: Settings = Settings(all_behaviours())
        self.settings.set(switches or {})
        self.plan: FaultPlan = FaultPlan(seed, (_as_fault(fault) for fault in faults))
        self.evidence: Evidence = Evidence()
        self.limiters: Limiters = Limiters(self.enforced)
        self._initial = self.settings.values()
        self._initial_faults = [fault for fault, _ in self.plan.armed()]
        self._store = store
        self._root = ""
        self._tokens: dict[str, list[str]] = {vendor: [DEFAULT_TOKEN] for vendor in vendors()}
        self._counters: dict[tuple[str, str, str], Counter] = {}
        self._counters_revision = self.settings.revision

    def __repr__(self) -> str:
        where = self.url if self._root else "not running"
        name = "" if self.name == DEFAULT_ACCOUNT else f" {self.name!r}"
        return f"<{type(self).__name__}{name} {where} ({', '.join(vendors())})>"

    # --- address ----------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL below which the account's APIs are. For the first account it is also the inspector page's."""
        if not self._root:
            raise RuntimeError("the sandbox is not running: use it as `async with Sandbox() as sandbox`")
        return self._root if self.name == DEFAULT_ACCOUNT else f"{self._root}/@{quote(self.name, safe='')}"

    def base_url(self, vendor: str) -> str:
        """Return the base URL for a gateway of this vendor. Raises `ValueError` for an unknown vendor."""
        return self.url + find_vendor(vendor).prefix

    def token(self, vendor: str) -> str:
        """Return a credential that this vendor accepts: the last one set. Raises `ValueError`."""
        return self._tokens[find_vendor(vendor).name][-1]

    def shown_tokens(self) -> dict[str, str | None]:
        """Return by vendor the token that may be displayed: the default one, or `None` if `set_tokens` replaced it."""
        return {vendor: DEFAULT_TOKEN if self.accepts(vendor, DEFAULT_TOKEN) else None for vendor in vendors()}

    def set_tokens(self, vendor: str, *tokens: str) -> None:
        """Accept only these credentials. Each has its own quota. Raises `ValueError`."""
        if not tokens or not all(tokens):
            raise ValueError("give at least one credential; none may be empty")
        self._tokens[find_vendor(vendor).name] = list(tokens)

    def accepts(self, vendor: str, token: str | None) -> bool:
        """Whether this vendor accepts the credential."""
        return token in self._tokens[vendor]

    @property
    def instance(self) -> str:
        """16 hex digits that identify the account's contents. They change with a reset and a restart without ``db``.

        The journal of a sync is bound to them, so that it is not used for contacts that no longer exist.
        """
        return self._store.instance(self.name)

    # --- contacts ----------------------------------------------------------------------------------------------

    def add_contact(self, vendor: str, fields: Mapping[str, Any]) -> str:
        """Add a contact, visible at once, and return its id.

        `fields` have the vendor's names and may include read-only fields and whatever else its sandbox stores
        with a contact (listed in the provider's README). A list may also be a tuple or a set; a set is
        stored sorted. Only the id is checked, so any data that a real account may hold can be put in. Raises
        `ValueError` for an id that is taken or that the vendor cannot have.
        """
        return self.add_contacts(vendor, (fields,))[0]

    def add_contacts(self, vendor: str, contacts: Iterable[Mapping[str, Any]]) -> list[str]:
        """Add several contacts, all or none, and return their ids. Raises `ValueError` as `add_contact` does."""
        found = find_vendor(vendor)
        call = self.call(found, now=self.clock.now(), at_once=True)
        with self._store.transaction():
            return [self._add(found, call, fields) for fields in contacts]

    @staticmethod
    def _add(vendor: Vendor, call: Call, fields: Mapping[str, Any]) -> str:
        fields = {name: sorted(item) if isinstance(item, AbstractSet) else item for name, item in fields.items()}
        try:
            return vendor.add(call, fields)
        except sqlite3.IntegrityError:
            raise ValueError(f"{vendor.title} already has a contact with this id: {dict(fields)!r:.200}") from None

    def contacts(self, vendor: str) -> list[dict[str, Any]]:
        """Return all contacts of this vendor, oldest first, in the vendor's format, each with its ``id``."""
        return [
            {"id": record.id, **record.document} for record in self._store.every(self.name, find_vendor(vendor).name)
        ]

    def members(self, vendor: str, list_id: str) -> list[str]:
        """Return the ids of the contacts on a list."""
        return self._store.members(self.name, find_vendor(vendor).name, list_id)

    # --- behaviour ---------------------------------------------------------------------------------------------

    def assume(self, switches: Mapping[str, object] | None = None, /, **named: object) -> dict[str, str]:
        """Set switches: ``assume(put_missing=400)`` at every vendor, ``assume({"aelyst.put_missing": 400})`` at one.

        Sets all or none and returns the changed switches. Raises `ValueError` for an unknown switch or value.
        """
        return self.settings.set({**(switches or {}), **named})

    def add_fault(self, fault: Fault | str) -> int:
        """Add a fault (a `str` has the form of the command line) and return its number. Raises `ValueError`."""
        return self.plan.add(_as_fault(fault))

    def remove_fault(self, number: int) -> bool:
        """Remove a fault. Returns `False` if there is none of this number."""
        return self.plan.remove(number)

    def clear_faults(self) -> None:
        """Remove all faults."""
        self.plan.clear()

    def fail_next(self, what: str | int = 503, times: int = 1, **options: Any) -> int:
        """Make the next `times` calls fail with a status or with a kind of fault (``"reset-after"``).

        `options` are arguments of `Fault`: ``endpoint``, ``vendor``, ``retry_after``, ``seconds``, ``applied``, …
        """
        if isinstance(what, int):
            return self.add_fault(Fault("status", status=what, first=times, **options))
        return self.add_fault(Fault(what, first=times, **options))  # type: ignore[arg-type]

    def advance(self, seconds: float) -> float:
        """Advance the account's clock and return its new time in Unix seconds."""
        return self.clock.advance(seconds)

    # --- evidence ----------------------------------------------------------------------------------------------

    @property
    def requests(self) -> tuple[LoggedRequest, ...]:
        """The last requests, at most 10,000, in the order of their end, without credentials."""
        return self.evidence.requests()

    @property
    def counters(self) -> Counters:
        """Counters for the assertions of a test."""
        return self.evidence.counters(*self.tally())

    def tally(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return the numbers of contacts and of duplicates by vendor. Takes time in proportion to them."""
        return (
            {vendor: self._store.count(self.name, vendor) for vendor in vendors()},
            {vendor: self._store.duplicates(self.name, vendor) for vendor in vendors()},
        )

    def quotas(self, limit: int | None = None) -> list[Gauge]:
        """Return the state of the quotas in use, most recently used first, at most `limit` of them."""
        self._sync_counters()
        now = self.clock.now()
        return [
            Gauge(
                vendor=vendor,
                scope=scope,
                limit=verdict.limit,
                remaining=verdict.remaining,
                retry_after=verdict.retry_after,
            )
            for (vendor, _, scope), counter in itertools.islice(reversed(self._counters.items()), limit)
            if (verdict := counter.peek(now))
        ]

    def enforced(self, endpoint: str, path: str | None) -> tuple[str, Enforced] | None:
        """Return the vendor that has this endpoint and the quota it enforces, or `None` if no vendor has it.

        `path` is the path whose quota is wanted, where each path has its own.
        """
        for vendor in vendors().values():
            if any(route.endpoint == endpoint for route in vendor.routes):
                return vendor.name, self._enforced(vendor.name, endpoint, path)
        return None

    def _enforced(self, vendor: str, endpoint: str, path: str | None) -> Enforced:
        quota = parse_quota(self.settings[f"{vendor}.quota"])
        if quota is None:
            return Enforced(limit=None)
        self._sync_counters()
        scope = self.settings[f"{vendor}.quota_scope"]
        shared = endpoint if scope == "endpoint" else f"{endpoint.partition(' ')[0]} {path}" if scope == "path" else ""
        now = self.clock.now()
        asked = [
            counter.peek(now).remaining
            for token in self._tokens[vendor]
            if (counter := self._counters.get((vendor, token, shared))) is not None
        ]
        # A quota without a counter is full. With several paths or credentials it is not known here which counter the
        # client's bucket corresponds to.
        told = len(asked) < 2 and not (scope == "path" and path is None)
        return Enforced(
            limit=quota.limit,
            window=quota.window,
            rate=quota.limit / quota.window,
            remaining=(asked or [quota.limit])[0] if told else None,
            scope=scope,
            rule=self.settings[f"{vendor}.quota_window"],
        )

    # --- reset -------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Delete contacts and log, fill the quotas, restore the initial switches and faults."""
        self._store.clear(self.name)
        self.settings.set(self._initial)
        self.plan.clear()
        for fault in self._initial_faults:
            self.plan.add(fault)
        self._counters.clear()
        self.evidence.clear()
        self.limiters.clear()
        self._tokens = {vendor: [DEFAULT_TOKEN] for vendor in vendors()}
        self.clock.reset()

    def snapshot(self, name: str) -> None:
        """Save the contacts, lists and messages under a name, in the database."""
        self._store.snapshot(self.name, name, self.clock.now())

    def restore(self, name: str) -> None:
        """Replace the contents by those of a snapshot. Raises `ValueError` if there is none of that name."""
        try:
            self._store.restore(self.name, name)
        except KeyError:
            known = ", ".join(self.snapshots()) or "none"
            raise ValueError(f"no snapshot named {name!r}; there are: {known}") from None

    def snapshots(self) -> list[str]:
        """Return the names of the snapshots."""
        return self._store.snapshots(self.name)

    # --- for the server ----------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The database."""
        return self._store

    def call(self, vendor: Vendor, *, now: float, at_once: bool = False, **details: Any) -> Call:
        """Return a call of this account. `at_once`: contacts that it creates are visible without delay."""
        blank: dict[str, Any] = {"method": "", "params": {}, "query": {}, "body": b""}
        switches = self.settings.__getitem__
        return Call(
            account=self.name,
            vendor=vendor.name,
            store=self._store,
            switches=(lambda name: "0" if name.endswith(".visible_after") else switches(name)) if at_once else switches,
            mint=lambda number: vendor.mint(number, self.seed),
            now=now,
            **{**blank, **details},
        )

    def charge(self, vendor: Vendor, token: str, route: Route, path: str, now: float) -> Verdict | None:
        """Count a request against its quota. Returns `None` where there is no quota."""
        if self.settings[f"{vendor.name}.quota"] == "none":
            return None
        self._sync_counters()
        scope = self.settings[f"{vendor.name}.quota_scope"]
        key = (
            vendor.name,
            token,
            route.endpoint if scope == "endpoint" else f"{route.method} {path}" if scope == "path" else "",
        )
        counter = self._counters.pop(key, None)
        if counter is None:
            quota = parse_quota(self.settings[f"{vendor.name}.quota"])
            if quota is None:
                return None
            if len(self._counters) >= _COUNTERS_KEPT:
                self._counters = {name: one for name, one in self._counters.items() if not one.idle(now)}
            kind: WindowKind = self.settings[f"{vendor.name}.quota_window"]  # type: ignore[assignment]
            refused_count = self.settings[f"{vendor.name}.refused_count"] == "yes"
            counter = counter_for(quota, kind, refused_count=refused_count)
        self._counters[key] = counter
        return counter.take(now)

    def _sync_counters(self) -> None:
        # A changed switch may have changed the rule of a quota.
        if self._counters_revision != self.settings.revision:
            self._counters_revision = self.settings.revision
            self._counters.clear()

    def located_at(self, root: str) -> None:
        """Set the server's URL; empty when it stops."""
        self._root = root

    def refuse(self, vendor: Vendor, now: float) -> Reply:
        """Return the response to a missing or wrong credential."""
        return vendor.unauthorized(self.call(vendor, now=now))


def _as_fault(fault: Fault | str) -> Fault:
    """Read a fault. Raises `ValueError` for one that could never occur, such as one with a misspelt endpoint."""
    fault = parse_fault(fault) if isinstance(fault, str) else fault
    candidates = list(vendors().values()) if fault.vendor is None else [find_vendor(fault.vendor)]
    endpoints = [route.endpoint for vendor in candidates for route in vendor.routes]
    if fault.endpoint is not None and not any(fault.matches(fault.vendor or "", one) for one in endpoints):
        raise ValueError(f"no endpoint {fault.endpoint!r}; there are: {', '.join(endpoints)}")
    return fault
