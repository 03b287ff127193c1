"""The control API below ``/_sandbox``: what Python code can do with an account, over HTTP and for any language.

All bodies are JSON but the CSV of ``seed``; an error is ``{"message"}`` with 400 or 404. ``?account=NAME`` chooses
the account, by default the first one. The inspector page at ``/`` uses nothing else.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import attrs
from aiohttp import web

from aelyst_async.sandbox import mishaps
from aelyst_async.sandbox.account import DEFAULT_ACCOUNT, Account
from aelyst_async.sandbox.assumptions import table
from aelyst_async.sandbox.curl import as_curl
from aelyst_async.sandbox.evidence import LoggedRequest
from aelyst_async.sandbox.faults import KINDS, Fault
from aelyst_async.sandbox.guard import SECURITY_HEADERS
from aelyst_async.sandbox.http import read_body
from aelyst_async.sandbox.limiters import REPORT_BOUND
from aelyst_async.sandbox.live import stream
from aelyst_async.sandbox.seeding import add_rows
from aelyst_async.sandbox.store import dump_json
from aelyst_async.sandbox.vendor import decode_json, decode_query
from aelyst_async.sandbox.vendors import vendors

if TYPE_CHECKING:
    from aelyst_async.sandbox.server import Sandbox

__all__ = ["Control"]

_FILES = {
    "inspector.html": "text/html",
    "inspector.css": "text/css",
    "inspector.js": "text/javascript",
    **dict.fromkeys(("api.js", "dom.js", "learned.js", "rules.js"), "text/javascript"),
}
_BODY_BOUND = 64 << 20
"""Bytes of a body: a CSV to seed from may be large."""
_PAGE = 100
"""Contacts and requests in a listing unless more are asked for."""


class _MissingError(Exception):
    """What the path names does not exist."""


@attrs.define(slots=True)
class _Order:
    """One request to the control API."""

    account: Account
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the decoded body. Raises `ValueError`."""
        return decode_json(self.body)

    def object(self) -> dict[str, Any]:
        """Return the body as an object; an empty body is an empty object. Raises `ValueError`."""
        value = self.json() if self.body else {}
        if not isinstance(value, dict):
            raise ValueError("the body is not a JSON object")  # noqa: TRY004 - every bad order is a ValueError
        return value

    def number(self, name: str, default: int, most: int) -> int:
        """Return a number from the query within 0 and `most`. Raises `ValueError`."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdecimal()):
            raise ValueError(f"{name}={text!r} is not a number")
        return min(int(text[:12]), most)


_Answer = Callable[["Control", _Order], Any]


class Control:
    """Answers the control API of a sandbox, and serves the inspector page."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def handle(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        """Answer a request for ``/`` or below ``/_sandbox``."""
        try:
            segments = [unquote(one, errors="strict") for one in path.split("/")[2:]]
            values = decode_query(query) if query else {}
            if path == "/":
                return self._file(request, "inspector.html")
            if len(segments) == 2 and segments[0] == "static" and segments[1] in _FILES:
                return self._file(request, segments[1])
            account = self._account(values.get("account", DEFAULT_ACCOUNT))
            if segments == ["events"] and request.method == "GET":
                since = request.headers.get("Last-Event-ID") or values.get("since", "")
                return await stream(request, account, self._sandbox.stopping, since)
            answer, params = _find(request.method, segments)
            bound = REPORT_BOUND if answer is Control.report else _BODY_BOUND
            body = await read_body(request, bound)
            if body is None:
                return _json(413, {"message": f"the body is larger than {bound >> 10} KiB"})
            value = answer(self, _Order(account, params, values, body))
        except _MissingError as error:
            return _json(404, {"message": str(error) or "there is nothing here"})
        except ValueError as error:
            return _json(400, {"message": str(error)})
        except ConnectionError:
            return mishaps.reset(request)
        return _json(200, value)

    def _account(self, name: str) -> Account:
        for account in self._sandbox.accounts():
            if account.name == name:
                return account
        raise _MissingError(f"the sandbox has no account {name!r}")

    @staticmethod
    def _file(request: web.BaseRequest, name: str) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            raise _MissingError
        text = _packaged(name)
        headers = {**SECURITY_HEADERS, "X-Sandbox": "aelyst-async", "Content-Type": f"{_FILES[name]}; charset=utf-8"}
        return web.Response(body=text, headers=headers)

    # --- what there is -----------------------------------------------------------------------------------------

    def state(self, order: _Order) -> dict[str, Any]:
        """GET state: all that a page or a script needs to begin."""
        account = order.account
        return {
            "account": account.name,
            "accounts": [one.name for one in self._sandbox.accounts()],
            "vendors": {
                name: {
                    "title": vendor.title,
                    "base_url": account.base_url(name),
                    "endpoints": [route.endpoint for route in vendor.routes],
                }
                for name, vendor in vendors().items()
            },
            "tokens": account.shown_tokens(),
            "finished": account.evidence.finished,
            "clock": {"now": account.clock.now(), "frozen": account.clock.frozen},
            "counters": account.counters.as_json(),
            "quotas": [attrs.asdict(gauge) for gauge in account.quotas()],
            "faults": account.plan.listing(),
            "fault_kinds": {kind: attrs.asdict(facts) for kind, facts in KINDS.items()},
            "snapshots": account.snapshots(),
        }

    def instance(self, order: _Order) -> dict[str, Any]:
        """GET instance: whose contents these are, and where its APIs stand, for a client that looks for a sandbox."""
        account = order.account
        return {
            "account": account.name,
            "instance": account.instance,
            "paths": {name: account.base_url(name).removeprefix(self._sandbox.url) for name in vendors()},
        }

    def counters(self, order: _Order) -> dict[str, Any]:
        """GET counters."""
        return order.account.counters.as_json()

    def clear_log(self, order: _Order) -> dict[str, Any]:
        """DELETE requests: forget the log and the counters."""
        order.account.evidence.clear()
        return {"cleared": True}

    def quotas(self, order: _Order) -> list[dict[str, Any]]:
        """GET quotas."""
        return [attrs.asdict(gauge) for gauge in order.account.quotas()]

    def limiters(self, order: _Order) -> list[dict[str, Any]]:
        """GET limiters: what the clients have learned, as they tell it, beside what is enforced."""
        return order.account.limiters.listing()

    def report(self, order: _Order) -> dict[str, Any]:
        """PUT limiters/CLIENT: {"name", "ended", "more", "buckets"}; the buckets' fields are BucketSnapshot's."""
        order.account.limiters.report(order.params["client"], order.object())
        return {"kept": order.params["client"]}

    def requests(self, order: _Order) -> dict[str, Any]:
        """GET requests?limit=: the newest, oldest first."""
        evidence = order.account.evidence
        newest = evidence.newest(order.number("limit", _PAGE, 10_000))
        return {"finished": evidence.finished, "requests": [one.summary() for one in newest]}

    def request(self, order: _Order) -> dict[str, Any]:
        """GET requests/NUMBER: with headers, both bodies, and as curl."""
        text = order.params["number"]
        found = order.account.evidence.find(int(text)) if text.isascii() and text.isdecimal() else None
        if found is None:
            raise _MissingError(f"the log has no request {text}")
        return {
            **found.summary(),
            "headers": dict(found.headers),
            "body": _text(found.body),
            "answer_headers": dict(found.answer_headers),
            "answer": _text(found.answer),
            "curl": _curl(found, order.account),
        }

    # --- contacts ----------------------------------------------------------------------------------------------

    def contacts(self, order: _Order) -> dict[str, Any]:
        """GET contacts/VENDOR?search=&duplicates=1&limit=&offset=: newest first."""
        account, vendor = order.account, _vendor(order)
        total, found = account.store.page(
            account.name,
            vendor,
            search=order.query.get("search", ""),
            only_duplicates=order.query.get("duplicates") in {"1", "true", "yes"},
            limit=order.number("limit", _PAGE, 1000),
            offset=order.number("offset", 0, 10**9),
        )
        items = [
            {
                "id": record.id,
                "duplicate": mark != "",
                "original": mark == "original",
                "created_at": record.created_at,
                "updated_at": record.updated_at,
                "visible_at": record.visible_at,
                "contact": record.document,
            }
            for record, mark in found
        ]
        return {"total": total, "items": items}

    def contact(self, order: _Order) -> dict[str, Any]:
        """GET contacts/VENDOR/ID: with history, lists and messages."""
        account, vendor = order.account, _vendor(order)
        record = account.store.by_id(account.name, vendor, order.params["id"])
        if record is None:
            raise _MissingError(f"{vendor} has no contact {order.params['id']!r}")
        return {
            "id": record.id,
            "created_at": record.created_at,
            "updated_at": record.updated_at,
            "visible_at": record.visible_at,
            "contact": record.document,
            "history": account.store.history(account.name, vendor, record.id),
            "lists": account.store.lists_of(account.name, vendor, record.id),
            "messages": account.store.messages(account.name, vendor, record.id),
        }

    def add(self, order: _Order) -> dict[str, Any]:
        """POST contacts/VENDOR: one contact, or an array of them, in the vendor's fields."""
        value = order.json()
        contacts = value if isinstance(value, list) else [value]
        if not all(isinstance(one, dict) for one in contacts):
            raise ValueError("a contact is a JSON object")
        return {"ids": order.account.add_contacts(_vendor(order), contacts)}

    def seed(self, order: _Order) -> dict[str, Any]:
        """POST seed/VENDOR: contacts as CSV."""
        lines = order.body.decode("utf-8-sig").splitlines(keepends=True)
        return {"added": add_rows(order.account, _vendor(order), lines)}

    # --- how it behaves ----------------------------------------------------------------------------------------

    def switches(self, order: _Order) -> list[dict[str, Any]]:
        """GET switches: the whole table, documented behaviours too."""
        settings = order.account.settings
        return table(settings.behaviours(), settings.values())

    def assume(self, order: _Order) -> dict[str, str]:
        """PATCH switches: {name: value}; all or none."""
        return order.account.assume(order.object())

    def faults(self, order: _Order) -> list[dict[str, Any]]:
        """GET faults: those that are on."""
        return order.account.plan.listing()

    def add_fault(self, order: _Order) -> dict[str, Any]:
        """POST faults: a fault as an object, or {"fault": TEXT} as the command line writes it."""
        value = order.object()
        if isinstance(value.get("fault"), str):
            return {"number": order.account.add_fault(value["fault"])}
        try:
            return {"number": order.account.add_fault(Fault(**value))}
        except TypeError as error:
            raise ValueError(f"that is not a fault: {str(error).partition('()')[2].strip() or error}") from None

    def clear_faults(self, order: _Order) -> dict[str, Any]:
        """DELETE faults: all of them."""
        order.account.clear_faults()
        return {"cleared": True}

    def remove_fault(self, order: _Order) -> dict[str, Any]:
        """DELETE faults/NUMBER."""
        text = order.params["number"]
        if not (text.isascii() and text.isdecimal() and order.account.remove_fault(int(text))):
            raise _MissingError(f"no fault {text} is on")
        return {"removed": int(text)}

    def clock(self, order: _Order) -> dict[str, Any]:
        """GET clock; POST clock: {"advance": seconds} or {"frozen": true}."""
        clock = order.account.clock
        if order.body:
            value = order.object()
            if not value or set(value) - {"advance", "frozen"}:
                raise ValueError('write {"advance": seconds} or {"frozen": true}')
            frozen, advance = value.get("frozen"), value.get("advance", 0)
            if isinstance(advance, bool) or not isinstance(advance, (int, float)):
                raise ValueError("advance is not a number of seconds")
            if frozen not in {None, True, False}:
                raise ValueError("frozen is neither true nor false")
            clock.advance(advance)
            if frozen is not None:
                (clock.freeze if frozen else clock.resume)()
        return {"now": clock.now(), "frozen": clock.frozen}

    def set_tokens(self, order: _Order) -> dict[str, Any]:
        """PUT tokens/VENDOR: an array of the credentials that are accepted."""
        value = order.json()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError("write an array of strings")
        order.account.set_tokens(_vendor(order), *value)
        return {"accepted": len(value)}

    # --- start over --------------------------------------------------------------------------------------------

    def reset(self, order: _Order) -> dict[str, Any]:
        """POST reset: start over."""
        order.account.reset()
        return {"reset": order.account.name}

    def snapshots(self, order: _Order) -> list[str]:
        """GET snapshots: their names."""
        return order.account.snapshots()

    def snapshot(self, order: _Order) -> dict[str, Any]:
        """PUT snapshots/NAME: keep the contacts under this name."""
        order.account.snapshot(order.params["name"])
        return {"kept": order.params["name"]}

    def restore(self, order: _Order) -> dict[str, Any]:
        """POST snapshots/NAME/restore."""
        order.account.restore(order.params["name"])
        return {"restored": order.params["name"]}

    def accounts(self, order: _Order) -> list[str]:  # noqa: ARG002 - all answers have one form
        """GET accounts: their names."""
        return [account.name for account in self._sandbox.accounts()]

    def add_account(self, order: _Order) -> dict[str, Any]:
        """POST accounts: {"name", "switches", "faults"}, all optional; an account that exists is left as it is."""
        value = order.object()
        name, switches, faults = value.get("name"), value.get("switches", {}), value.get("faults", [])
        if not (name is None or isinstance(name, str)) or not isinstance(switches, dict):
            raise ValueError("name is a string, switches is an object")
        if not isinstance(faults, list) or not all(isinstance(one, str) for one in faults):
            raise ValueError("faults is an array of strings")
        account = self._sandbox.account(name, switches=switches, faults=faults)
        return {
            "name": account.name,
            "base_urls": {vendor: account.base_url(vendor) for vendor in vendors()},
            "tokens": {vendor: account.token(vendor) for vendor in vendors()},
        }

    def remove_account(self, order: _Order) -> dict[str, Any]:
        """DELETE accounts/NAME."""
        if not self._sandbox.remove_account(order.params["name"]):
            raise _MissingError(f"the sandbox has no account {order.params['name']!r}")
        return {"removed": order.params["name"]}

    def openapi(self, order: _Order) -> Any:
        """GET openapi/VENDOR.json: the vendor's API as OpenAPI, its server being this sandbox."""
        vendor = vendors().get(order.params["file"].removesuffix(".json"))
        if vendor is None or vendor.openapi is None:
            raise _MissingError
        document = json.loads(vendor.openapi.read_bytes())
        document["servers"] = [{"url": order.account.base_url(vendor.name), "description": "this sandbox"}]
        return document


_ROUTES: dict[tuple[str, str], _Answer] = {
    ("GET", "state"): Control.state,
    ("GET", "instance"): Control.instance,
    ("GET", "counters"): Control.counters,
    ("GET", "quotas"): Control.quotas,
    ("GET", "limiters"): Control.limiters,
    ("PUT", "limiters/{client}"): Control.report,
    ("GET", "requests"): Control.requests,
    ("DELETE", "requests"): Control.clear_log,
    ("GET", "requests/{number}"): Control.request,
    ("GET", "contacts/{vendor}"): Control.contacts,
    ("POST", "contacts/{vendor}"): Control.add,
    ("GET", "contacts/{vendor}/{id}"): Control.contact,
    ("POST", "seed/{vendor}"): Control.seed,
    ("GET", "switches"): Control.switches,
    ("PATCH", "switches"): Control.assume,
    ("GET", "faults"): Control.faults,
    ("POST", "faults"): Control.add_fault,
    ("DELETE", "faults"): Control.clear_faults,
    ("DELETE", "faults/{number}"): Control.remove_fault,
    ("GET", "clock"): Control.clock,
    ("POST", "clock"): Control.clock,
    ("PUT", "tokens/{vendor}"): Control.set_tokens,
    ("POST", "reset"): Control.reset,
    ("GET", "snapshots"): Control.snapshots,
    ("PUT", "snapshots/{name}"): Control.snapshot,
    ("POST", "snapshots/{name}/restore"): Control.restore,
    ("GET", "accounts"): Control.accounts,
    ("POST", "accounts"): Control.add_account,
    ("DELETE", "accounts/{name}"): Control.remove_account,
    ("GET", "openapi/{file}"): Control.openapi,
}


def _find(method: str, segments: list[str]) -> tuple[_Answer, dict[str, str]]:
    for (known, template), answer in _ROUTES.items():
        parts = template.split("/")
        if known == method and len(parts) == len(segments):
            params: dict[str, str] = {}
            for part, segment in zip(parts, segments, strict=True):
                if part.startswith("{") and segment:
                    params[part[1:-1]] = segment
                elif part != segment:
                    break
            else:
                return answer, params
    raise _MissingError(f"no {method} /_sandbox/{'/'.join(segments)}; docs/sandbox.md lists what there is")


@functools.cache
def _packaged(name: str) -> bytes:
    return (resources.files("aelyst_async.sandbox") / "static" / name).read_bytes()


def _vendor(order: _Order) -> str:
    name = order.params["vendor"]
    if name not in vendors():
        raise _MissingError(f"no vendor named {name!r}; the sandbox has {', '.join(vendors())}")
    return name


def _curl(request: LoggedRequest, account: Account) -> str:
    return as_curl(request, account.base_url(request.vendor))


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


def _json(status: int, value: Any) -> web.Response:
    headers = {
        **SECURITY_HEADERS,
        "X-Sandbox": "aelyst-async",
        "Content-Type": "application/json; charset=utf-8",
    }
    return web.Response(status=status, body=dump_json(value).encode(), headers=headers)
