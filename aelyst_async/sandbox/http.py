"""The handling of a request:

    guard → account (path prefix) → vendor → route → credential → quota → faults before → operation → faults after

The path is decoded from its raw form (``raw_path``), segment by segment, so that ``%2F`` in an identifier stays inside
its segment and ``+`` in a path is a plus. The order is that of real APIs: a wrong token costs no quota, and a refused
call has no effect.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import math
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote

from aiohttp import web

from aelyst_async.sandbox import mishaps
from aelyst_async.sandbox.account import DEFAULT_ACCOUNT, Account
from aelyst_async.sandbox.evidence import Entry
from aelyst_async.sandbox.faults import Fault, Strike
from aelyst_async.sandbox.guard import Guard
from aelyst_async.sandbox.quota import Verdict
from aelyst_async.sandbox.vendor import Match, Refusal, Reply, Vendor, decode_query, decode_segment, reply
from aelyst_async.sandbox.vendors import vendors

__all__ = ["MARK", "Frontend", "read_body"]

logger: logging.Logger = logging.getLogger("aelyst_async.sandbox")

MARK = {"X-Sandbox": "aelyst-async"}
"""Header of every response, so that a client can refuse to run a production job against a sandbox."""

_JSON = "application/json; charset=utf-8"
_BEFORE = frozenset({"status", "html", "reset", "queued"})
_BODY_BOUND = 1 << 20
"""Largest body in bytes that a vendor's API takes."""


async def read_body(request: web.BaseRequest, bound: int) -> bytes | None:
    """Read a body; `None` if it is longer than `bound` bytes. Raises `ConnectionError` if the client disconnects."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        # aiohttp does this in its application, which is not used here. curl asks before it sends a large body.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > bound:
            return None
    return bytes(body)


class Frontend:
    """The server's request handler."""

    def __init__(
        self,
        accounts: Callable[[str], Account | None],
        guard: Guard,
        control: Callable[[web.BaseRequest, str, str], Awaitable[web.StreamResponse]],
    ) -> None:
        self._accounts = accounts
        self._guard = guard
        self._control = control

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        refusal = self._guard.refusal(request.method, request.headers)
        if refusal is not None:
            return _plain(403, refusal)
        raw = request.raw_path
        if not raw.startswith("/"):
            # A client that uses the sandbox as a proxy sends the whole URL.
            raw = "/" + raw.partition("://")[2].partition("/")[2]
        path, _, query = raw.partition("?")
        name = DEFAULT_ACCOUNT
        if path.startswith("/@"):
            quoted, _, rest = path[2:].partition("/")
            name, path, raw = unquote(quoted), f"/{rest}", raw[len(quoted) + 2 :]
        head, _, tail = path[1:].partition("/")
        vendor = vendors().get(head)
        if vendor is not None and (tail == "v1" or tail.startswith("v1/")):
            account = self._accounts(name)
            if account is None:
                return _plain(404, f"the sandbox has no account {name!r}")
            return await self._serve(request, account, vendor, tail[2:], query, raw)
        if name == DEFAULT_ACCOUNT and (path == "/" or head == "_sandbox"):
            return await self._control(request, path, query)
        prefixes = ", ".join(one.prefix for one in vendors().values())
        return _plain(404, f"not found; the APIs are below {prefixes}, the inspector page is at /")

    async def _serve(
        self, request: web.BaseRequest, account: Account, vendor: Vendor, path: str, query: str, raw: str
    ) -> web.StreamResponse:
        begun = time.monotonic()
        method = request.method
        now = account.clock.now()
        try:
            match = vendor.match(method, [decode_segment(one) for one in path.split("/")[1:]])
        except ValueError:
            match = None
        route = match.route if match else None
        shown = raw[len(vendor.prefix) :]
        entry = account.evidence.begin(now, vendor.name, method, shown, route.endpoint if route else "")
        entry.headers = request.raw_headers
        try:
            # Without this turn of the loop, each request would be answered before the next one is counted, and the peak
            # of concurrent requests would always be 1.
            await asyncio.sleep(0)
            return await self._answer(request, account, vendor, match, path, query, entry)
        except BaseException:
            if entry.status is None and not entry.fault:
                entry.fault = "broken off"
            raise
        finally:
            entry.duration = time.monotonic() - begun
            account.evidence.finish(entry)

    async def _answer(
        self,
        request: web.BaseRequest,
        account: Account,
        vendor: Vendor,
        match: Match | None,
        path: str,
        raw_query: str,
        entry: Entry,
    ) -> web.StreamResponse:
        if request.body_exists:
            try:
                body = await read_body(request, _BODY_BOUND)
            except ConnectionError:
                entry.fault = "broken off by the client"
                return mishaps.reset(request)
            if body is None:
                return _send(entry, vendor.error(413, "the body is larger than 1 MiB"))
            entry.body = body
        if match is None:
            return _send(entry, vendor.error(400, "the path is not UTF-8"))
        route = match.route
        if route is None:
            if match.allowed:
                return _send(entry, vendor.error(405, "Method Not Allowed"), {"Allow": ", ".join(match.allowed)})
            return _send(entry, vendor.error(404, "Not Found"))
        try:
            query = decode_query(raw_query) if raw_query else {}
        except ValueError:
            return _send(entry, vendor.error(400, "the query cannot be read"))

        token = vendor.credential(request.headers, query)
        if token is None or not account.accepts(vendor.name, token):
            return _send(entry, account.refuse(vendor, entry.at))
        verdict = account.charge(vendor, token, route, path, entry.at)
        limits = _limit_headers(account, vendor, verdict, entry.at) if verdict is not None else {}
        if verdict is not None and not verdict.allowed:
            return _send(entry, vendor.error(429), limits)
        strikes = (
            account.plan.strikes(vendor.name, route.endpoint, entry.method, entry.path, entry.body)
            if account.plan
            else ()
        )
        late = 0.0
        if strikes:
            entry.fault = ", ".join(str(strike.fault) for strike in strikes)
            late = sum(strike.delay for strike in strikes if strike.fault.kind == "late")
            latency = sum(strike.delay for strike in strikes if strike.fault.kind == "latency")
            if latency:
                await asyncio.sleep(latency)

        def operate() -> Reply:
            call = account.call(
                vendor,
                now=account.clock.now(),
                method=entry.method,
                params=match.params,
                query=query,
                body=entry.body,
                number=entry.number,
                late=late,
            )
            try:
                if entry.method == "GET":
                    return route.answer(call)
                with account.store.transaction():
                    return route.answer(call)
            except Refusal as refusal:
                return refusal.answer
            except sqlite3.Error as error:
                # A full disk or a locked file: the client gets a 500, the log has the reason.
                logger.error("the database failed at %s: %s", route.endpoint, error)  # noqa: TRY400 - one line
                return vendor.error(500)

        contact = f"{vendor.name}{path}"
        if account.plan.queued(contact, entry.at):
            entry.fault = entry.fault or "queued"
            return _send(entry, vendor.error(449), limits)
        for strike in strikes:
            if strike.fault.kind in _BEFORE:
                return self._strike_before(request, account, vendor, strike, operate, contact, limits, entry)
        answer = operate()
        for strike in strikes:
            if strike.fault.kind not in {"latency", "late"}:
                return await _strike_after(request, strike, answer, limits, entry)
        return _send(entry, answer, limits)

    @staticmethod
    def _strike_before(
        request: web.BaseRequest,
        account: Account,
        vendor: Vendor,
        strike: Strike,
        operate: Callable[[], Reply],
        contact: str,
        limits: Mapping[str, str],
        entry: Entry,
    ) -> web.StreamResponse:
        fault = strike.fault
        if fault.kind == "reset":
            return mishaps.reset(request)
        if fault.kind == "queued":
            account.plan.queue(contact, entry.at + strike.delay)
            return _send(entry, vendor.error(449), limits)
        if fault.applied:
            operate()
        headers = {**limits, **_retry_after(fault, entry.at)}
        if fault.code == 429 and "X-RateLimit-Remaining" in headers:
            headers["X-RateLimit-Remaining"] = "0"
        if fault.kind == "html":
            return _send(entry, Reply(fault.code, mishaps.html_error(fault.code), {}, "text/html"), headers)
        return _send(entry, vendor.error(fault.code), headers)


async def _strike_after(
    request: web.BaseRequest, strike: Strike, answer: Reply, limits: Mapping[str, str], entry: Entry
) -> web.StreamResponse:
    kind = strike.fault.kind
    if kind == "reset-after":
        return mishaps.reset(request)
    if kind == "garbage":
        return _send(entry, Reply(answer.status, mishaps.garbage(strike.noise, len(answer.body))), limits)
    if kind == "content-type":
        return _send(entry, Reply(answer.status, answer.body, answer.headers, "text/html"), limits)
    headers = {**MARK, "Content-Type": _JSON, **answer.headers, **limits}
    entry.status, entry.answer, entry.answer_headers = answer.status, answer.body, headers
    if kind == "truncate":
        return await mishaps.truncate(request, answer.status, headers, answer.body)
    return await mishaps.send_slowly(request, answer.status, headers, answer.body, strike.delay)


def _send(entry: Entry, answer: Reply, extra: Mapping[str, str] | None = None) -> web.Response:
    content_type = _JSON if answer.content_type == "application/json" else f"{answer.content_type}; charset=utf-8"
    headers = {**MARK, "Content-Type": content_type, **answer.headers, **(extra or {})}
    entry.status, entry.answer, entry.answer_headers = answer.status, answer.body, headers
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def _plain(status: int, message: str) -> web.Response:
    answer = reply(status, {"message": message})
    return web.Response(status=status, body=answer.body, headers={**MARK, "Content-Type": _JSON})


def _limit_headers(account: Account, vendor: Vendor, verdict: Verdict, now: float) -> dict[str, str]:
    headers: dict[str, str] = {}
    shown = account.settings[f"{vendor.name}.quota_headers"]
    if shown == "all" or (shown == "429" and not verdict.allowed):
        headers["X-RateLimit-Limit"] = str(verdict.limit)
        headers["X-RateLimit-Remaining"] = str(max(0, verdict.remaining))
    if not verdict.allowed:
        form = account.settings[f"{vendor.name}.retry_after"]
        if form == "seconds":
            headers["Retry-After"] = str(max(1, math.ceil(verdict.retry_after)))
        elif form == "decimal":
            # Rounded up: a client that waits for this time must not be refused again.
            headers["Retry-After"] = str(math.ceil(verdict.retry_after * 1000 + 0.5) / 1000)
        elif form == "date":
            headers["Retry-After"] = _date(now + verdict.retry_after)
    return headers


def _retry_after(fault: Fault, now: float) -> dict[str, str]:
    if fault.retry_after is None:
        return {}
    if fault.retry_after_form == "date":
        return {"Retry-After": _date(now + fault.retry_after)}
    return {"Retry-After": f"{fault.retry_after:g}"}


def _date(at: float) -> str:
    # An HTTP date has whole seconds: rounded up for the same reason.
    return email.utils.formatdate(math.ceil(at), usegmt=True)
