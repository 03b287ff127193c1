"""The control API below ``/_sandbox``: the methods of an account over HTTP, for any language.

All bodies are JSON, except the CSV of ``seed``. An error is ``{"message"}`` with 400, 404, 405 or 413.
``?account=NAME`` selects the account; the default is the first one. The inspector page at ``/`` uses only this API.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import unquote

import attrs
from aiohttp import web

from aelyst_async.sandbox import mishaps
from aelyst_async.sandbox.account import DEFAULT_ACCOUNT, Account
from aelyst_async.sandbox.assumptions import table
from aelyst_async.sandbox.evidence import as_curl
from aelyst_async.sandbox.faults import KINDS, Fault
from aelyst_async.sandbox.guard import SECURITY_HEADERS
from aelyst_async.sandbox.http import MARK, read_body
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
"""Largest body in bytes: a CSV of contacts may be large."""
_PAGE = 100
"""Default number of contacts or requests in a listing."""


class _NotFoundError(Exception):
    """The path names something that does not exist."""


@attrs.define(slots=True)
class _Request:
    """One request to the control API. ``params`` are the variable parts of the path."""

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
            raise ValueError("the body is not a JSON object")  # noqa: TRY004 - every bad request is a ValueError
        return value

    def number(self, name: str, default: int, most: int) -> int:
        """Return a number from the query within 0 and `most`. Raises `ValueError`."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdecimal()):
            raise ValueError(f"{name}={text!r} is not a number")
        return min(int(text[:12]), most)


_Answer: TypeAlias = "Callable[[Control, _Request], Any]"
_Handler: TypeAlias = "Callable[[web.BaseRequest, Mapping[str, str], Mapping[str, str]], Awaitable[web.StreamResponse]]"
"""Called with the request, the parameters of its path and those of its query."""


class Control:
    """Answers the control API of a sandbox, and serves the inspector page."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._router = web.UrlDispatcher()
        for (method, path), answer in _ROUTES.items():
            self._route(method, f"/_sandbox/{path}", functools.partial(self._answer, answer))
        self._route("GET", "/_sandbox/events", self._events)
        for method in ("GET", "HEAD"):
            self._route(method, "/", self._file)
            self._route(method, "/_sandbox/static/{name}", self._file)

    def _route(self, method: str, path: str, handler: _Handler) -> None:
        # The router never calls a handler, so a handler may take more arguments than the router's type says.
        self._router.add_route(method, path, cast(Any, handler))

    async def handle(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        """Answer a request for ``/`` or below ``/_sandbox``; `path` and `query` are percent-encoded."""
        try:
            unquote(path, errors="strict")
            match = await self._router.resolve(cast(web.Request, request))
            values = decode_query(query) if query else {}
            if isinstance(match.http_exception, web.HTTPMethodNotAllowed):
                allowed = ", ".join(sorted(match.http_exception.allowed_methods))
                return _json(405, {"message": f"{path} takes {allowed}"}, {"Allow": allowed})
            if match.http_exception is not None:
                return _json(404, {"message": f"no {path}; docs/sandbox.md lists the calls"})
            return await cast(_Handler, match.handler)(request, match, values)
        except _NotFoundError as error:
            return _json(404, {"message": str(error) or "not found"})
        except ValueError as error:
            return _json(400, {"message": str(error)})
        except ConnectionError:
            return mishaps.reset(request)

    async def _answer(
        self, answer: _Answer, request: web.BaseRequest, params: Mapping[str, str], query: Mapping[str, str]
    ) -> web.Response:
        account = self._account(query)
        bound = REPORT_BOUND if answer is Control.report else _BODY_BOUND
        body = await read_body(request, bound)
        if body is None:
            return _json(413, {"message": f"the body is larger than {bound >> 10} KiB"})
        return _json(200, answer(self, _Request(account, params, query, body)))

    async def _events(
        self, request: web.BaseRequest, _: Mapping[str, str], query: Mapping[str, str]
    ) -> web.StreamResponse:
        since = request.headers.get("Last-Event-ID") or query.get("since", "")
        return await stream(request, self._account(query), self._sandbox.stopping, since)

    async def _file(self, _: web.BaseRequest, params: Mapping[str, str], __: Mapping[str, str]) -> web.Response:
        name = params.get("name", "inspector.html")
        if name not in _FILES:
            raise _NotFoundError
        headers = {**SECURITY_HEADERS, **MARK, "Content-Type": f"{_FILES[name]}; charset=utf-8"}
        return web.Response(body=_packaged(name), headers=headers)

    def _account(self, query: Mapping[str, str]) -> Account:
        name = query.get("account", DEFAULT_ACCOUNT)
        for account in self._sandbox.accounts():
            if account.name == name:
                return account
        raise _NotFoundError(f"the sandbox has no account {name!r}")

    # --- state and log -----------------------------------------------------------------------------------------

    def state(self, request: _Request) -> dict[str, Any]:
        """GET state: everything that a page or a script needs at its start."""
        account = request.account
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

    def instance(self, request: _Request) -> dict[str, Any]:
        """GET instance: identifies the present contents; the paths of the APIs. For clients that look for a sandbox."""
        account = request.account
        return {
            "account": account.name,
            "instance": account.instance,
            "paths": {name: account.base_url(name).removeprefix(self._sandbox.url) for name in vendors()},
        }

    def counters(self, request: _Request) -> dict[str, Any]:
        """GET counters."""
        return request.account.counters.as_json()

    def clear_log(self, request: _Request) -> dict[str, Any]:
        """DELETE requests: clear the log and the counters."""
        request.account.evidence.clear()
        return {"cleared": True}

    def quotas(self, request: _Request) -> list[dict[str, Any]]:
        """GET quotas."""
        return [attrs.asdict(gauge) for gauge in request.account.quotas()]

    def limiters(self, request: _Request) -> list[dict[str, Any]]:
        """GET limiters: the quotas that clients report to have learned, beside the enforced ones."""
        return request.account.limiters.listing()

    def report(self, request: _Request) -> dict[str, Any]:
        """PUT limiters/CLIENT: {"name", "ended", "more", "buckets"}; the buckets' fields are BucketSnapshot's."""
        request.account.limiters.report(request.params["client"], request.object())
        return {"kept": request.params["client"]}

    def requests(self, request: _Request) -> dict[str, Any]:
        """GET requests?limit=: the newest, oldest first."""
        evidence = request.account.evidence
        newest = evidence.newest(request.number("limit", _PAGE, 10_000))
        return {"finished": evidence.finished, "requests": [one.summary() for one in newest]}

    def request(self, request: _Request) -> dict[str, Any]:
        """GET requests/NUMBER: one exchange with headers, both bodies and a curl command."""
        text = request.params["number"]
        found = request.account.evidence.find(int(text)) if text.isascii() and text.isdecimal() else None
        if found is None:
            raise _NotFoundError(f"the log has no request {text}")
        return {
            **found.summary(),
            "headers": dict(found.headers),
            "body": _text(found.body),
            "answer_headers": dict(found.answer_headers),
            "answer": _text(found.answer),
            "curl": as_curl(found, request.account.base_url(found.vendor)),
        }

    # --- contacts ----------------------------------------------------------------------------------------------

    def contacts(self, request: _Request) -> dict[str, Any]:
        """GET contacts/VENDOR?search=&duplicates=1&limit=&offset=: newest first."""
        account, vendor = request.account, _vendor(request)
        total, found = account.store.page(
            account.name,
            vendor,
            search=request.query.get("search", ""),
            only_duplicates=request.query.get("duplicates") in {"1", "true", "yes"},
            limit=request.number("limit", _PAGE, 1000),
            offset=request.number("offset", 0, 10**9),
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

    def contact(self, request: _Request) -> dict[str, Any]:
        """GET contacts/VENDOR/ID: one contact with its history, lists and messages."""
        account, vendor = request.account, _vendor(request)
        record = account.store.by_id(account.name, vendor, request.params["id"])
        if record is None:
            raise _NotFoundError(f"{vendor} has no contact {request.params['id']!r}")
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

    def add(self, request: _Request) -> dict[str, Any]:
        """POST contacts/VENDOR: add one contact or an array of them, in the vendor's fields."""
        value = request.json()
        contacts = value if isinstance(value, list) else [value]
        if not all(isinstance(one, dict) for one in contacts):
            raise ValueError("a contact is a JSON object")
        return {"ids": request.account.add_contacts(_vendor(request), contacts)}

    def seed(self, request: _Request) -> dict[str, Any]:
        """POST seed/VENDOR: add the contacts of a CSV."""
        lines = request.body.decode("utf-8-sig").splitlines(keepends=True)
        return {"added": add_rows(request.account, _vendor(request), lines)}

    # --- behaviour ---------------------------------------------------------------------------------------------

    def switches(self, request: _Request) -> list[dict[str, Any]]:
        """GET switches: every behaviour, documented or assumed."""
        settings = request.account.settings
        return table(settings.behaviours(), settings.values())

    def assume(self, request: _Request) -> dict[str, str]:
        """PATCH switches: set {name: value}; all or none."""
        return request.account.assume(request.object())

    def faults(self, request: _Request) -> list[dict[str, Any]]:
        """GET faults: the faults in force."""
        return request.account.plan.listing()

    def add_fault(self, request: _Request) -> dict[str, Any]:
        """POST faults: add a fault, given as an object or as {"fault": TEXT} in the form of the command line."""
        value = request.object()
        if isinstance(value.get("fault"), str):
            return {"number": request.account.add_fault(value["fault"])}
        try:
            return {"number": request.account.add_fault(Fault(**value))}
        except TypeError as error:
            raise ValueError(f"not a fault: {str(error).partition('()')[2].strip() or error}") from None

    def clear_faults(self, request: _Request) -> dict[str, Any]:
        """DELETE faults: remove all."""
        request.account.clear_faults()
        return {"cleared": True}

    def remove_fault(self, request: _Request) -> dict[str, Any]:
        """DELETE faults/NUMBER: remove one."""
        text = request.params["number"]
        if not (text.isascii() and text.isdecimal() and request.account.remove_fault(int(text))):
            raise _NotFoundError(f"there is no fault {text}")
        return {"removed": int(text)}

    def clock(self, request: _Request) -> dict[str, Any]:
        """GET clock; POST clock: {"advance": seconds} or {"frozen": true}."""
        clock = request.account.clock
        if request.body:
            value = request.object()
            if not value or set(value) - {"advance", "frozen"}:
                raise ValueError('write {"advance": seconds} or {"frozen": true}')
            frozen, advance = value.get("frozen"), value.get("advance", 0)
            if isinstance(advance, bool) or not isinstance(advance, (int, float)):
                raise ValueError("advance is not a number of seconds")
            if not (frozen is None or isinstance(frozen, bool)):
                raise ValueError("frozen is neither true nor false")
            clock.advance(advance)
            if frozen is not None:
                (clock.freeze if frozen else clock.resume)()
        return {"now": clock.now(), "frozen": clock.frozen}

    def set_tokens(self, request: _Request) -> dict[str, Any]:
        """PUT tokens/VENDOR: accept the credentials of an array, and no others."""
        value = request.json()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError("write an array of strings")
        request.account.set_tokens(_vendor(request), *value)
        return {"accepted": len(value)}

    # --- reset -------------------------------------------------------------------------------------------------

    def reset(self, request: _Request) -> dict[str, Any]:
        """POST reset: delete everything and restore the initial settings."""
        request.account.reset()
        return {"reset": request.account.name}

    def snapshots(self, request: _Request) -> list[str]:
        """GET snapshots: their names."""
        return request.account.snapshots()

    def snapshot(self, request: _Request) -> dict[str, Any]:
        """PUT snapshots/NAME: save the contacts under this name."""
        request.account.snapshot(request.params["name"])
        return {"kept": request.params["name"]}

    def restore(self, request: _Request) -> dict[str, Any]:
        """POST snapshots/NAME/restore: replace the contacts by those of a snapshot."""
        request.account.restore(request.params["name"])
        return {"restored": request.params["name"]}

    def accounts(self, request: _Request) -> list[str]:  # noqa: ARG002 - all answers have one signature
        """GET accounts: their names."""
        return [account.name for account in self._sandbox.accounts()]

    def add_account(self, request: _Request) -> dict[str, Any]:
        """POST accounts: add {"name", "switches", "faults"}, all optional; an existing account is not changed."""
        value = request.object()
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

    def remove_account(self, request: _Request) -> dict[str, Any]:
        """DELETE accounts/NAME: delete an account and its contents."""
        if not self._sandbox.remove_account(request.params["name"]):
            raise _NotFoundError(f"the sandbox has no account {request.params['name']!r}")
        return {"removed": request.params["name"]}

    def openapi(self, request: _Request) -> Any:
        """GET openapi/VENDOR.json: the OpenAPI document of the vendor's API, with this sandbox as its server."""
        vendor = vendors().get(request.params["file"].removesuffix(".json"))
        if vendor is None or vendor.openapi is None:
            raise _NotFoundError
        document = json.loads(vendor.openapi.read_bytes())
        document["servers"] = [{"url": request.account.base_url(vendor.name), "description": "this sandbox"}]
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


@functools.cache
def _packaged(name: str) -> bytes:
    return (resources.files("aelyst_async.sandbox") / "static" / name).read_bytes()


def _vendor(request: _Request) -> str:
    name = request.params["vendor"]
    if name not in vendors():
        raise _NotFoundError(f"no vendor named {name!r}; the sandbox has {', '.join(vendors())}")
    return name


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")


def _json(status: int, value: Any, extra: Mapping[str, str] | None = None) -> web.Response:
    headers = {**SECURITY_HEADERS, **MARK, "Content-Type": "application/json; charset=utf-8", **(extra or {})}
    return web.Response(status=status, body=dump_json(value).encode(), headers=headers)
