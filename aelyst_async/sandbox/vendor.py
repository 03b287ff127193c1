"""The extension API: what a package brings to add its API to the sandbox.

A `Vendor` has routes, and each route a function from a `Call` to a `Reply`. The function reads the call, uses the
store, and returns the response or raises `Refusal` with it. Sockets, quotas, faults, the log and the inspector page
are the sandbox's work. A package publishes its `Vendor` under the entry-point group ``aelyst_async.sandboxes``::

    [project.entry-points."aelyst_async.sandboxes"]
    acme = "acme_client.sandbox:ACME"

``behaviours`` must include `common_behaviours`, the switches that the sandbox itself reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn, Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

import attrs

from aelyst_async.sandbox.assumptions import Behaviour, assumed, common_behaviours
from aelyst_async.sandbox.store import Record, Store, dump_json

__all__ = [
    "Behaviour",
    "Call",
    "ErrorBody",
    "Match",
    "Record",
    "Refusal",
    "Reply",
    "Route",
    "Vendor",
    "assumed",
    "bearer_token",
    "common_behaviours",
    "decode_json",
    "decode_query",
    "decode_segment",
    "phrase",
    "reply",
]


@attrs.frozen
class Reply:
    """A response: status, encoded body, and headers besides Content-Type."""

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=dict)
    content_type: str = "application/json"


def reply(status: int, value: Any) -> Reply:
    """Return a response with `value` as JSON."""
    return Reply(status, dump_json(value).encode())


class Refusal(Exception):  # noqa: N818 - carries a response; nothing has failed
    """Raised by a route's function to respond with an error."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(answer.status)
        self.answer = answer


class ErrorBody(Protocol):
    """A function that returns a vendor's error response. Not every vendor's format has a place for the message."""

    def __call__(self, status: int, message: str = "", /) -> Reply:
        """Return the response."""
        ...


@attrs.define(slots=True, eq=False)
class Call:
    """One call, as a route's function gets it. ``params`` and ``query`` are decoded.

    ``now`` is the time of the sandbox's clock in Unix seconds. ``number`` is the request's number in the log. ``late``
    is a delay in seconds, added by a fault, until a new contact can be found.
    """

    account: str
    vendor: str
    store: Store
    switches: Callable[[str], str]
    mint: Callable[[int], str]
    method: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    now: float
    number: int | None = None
    late: float = 0.0

    def switch(self, name: str) -> str:
        """Return the value of this vendor's switch."""
        return self.switches(f"{self.vendor}.{name}")

    def json(self, error: ErrorBody) -> Any:
        """Return the decoded body. Raises `Refusal` with the vendor's 400."""
        try:
            return decode_json(self.body)
        except ValueError as problem:
            raise Refusal(error(400, f"the body is not JSON: {problem}")) from None

    def json_object(self, error: ErrorBody) -> dict[str, Any]:
        """Return the body as a JSON object. Raises `Refusal` with the vendor's 400."""
        value = self.json(error)
        if not isinstance(value, dict):
            raise Refusal(error(400, "the body is not a JSON object"))
        return value

    def delete(self, record: Record) -> None:
        """Delete a contact."""
        self.store.delete(self.account, self.vendor, record, now=self.now, request=self.number)

    def visible(self, record: Record) -> bool:
        """Whether the contact can be found already (see the switch ``visible_after``)."""
        return record.visible_at <= self.now

    def insert(
        self, document: dict[str, Any], *, email: object, phone: object, contact_id: str | None = None
    ) -> Record:
        """Create a contact. Without `contact_id` it gets the account's next id."""
        if contact_id is None:
            contact_id = self.mint(self.store.next_number(self.account, self.vendor))
        return self.store.insert(
            self.account,
            self.vendor,
            contact_id,
            document,
            email=email,
            phone=phone,
            now=self.now,
            visible_at=self.now + float(self.switch("visible_after")) + self.late,
            request=self.number,
        )

    def update(self, record: Record, document: dict[str, Any], *, email: object, phone: object) -> None:
        """Replace a contact's document."""
        self.store.update(
            self.account,
            self.vendor,
            record,
            document,
            email=email,
            phone=phone,
            now=self.now,
            request=self.number,
        )


@attrs.frozen
class Route:
    """A method, a path template such as ``/contact/{identifier}``, and the function that answers."""

    method: str
    template: str
    answer: Callable[[Call], Reply]
    segments: tuple[str, ...] = attrs.field(init=False, eq=False)
    endpoint: str = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.template.split("/")[1:]))
        object.__setattr__(self, "endpoint", f"{self.method} {self.template}")


@attrs.frozen
class Match:
    """The route of a request, or the methods that its path allows."""

    route: Route | None
    params: Mapping[str, str]
    allowed: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Vendor:
    """One vendor's API.

    ``name`` is the name of the entry point and of the path: the API is at ``/NAME/v1``. ``title`` is for people.
    ``credential`` returns the token of a request from its headers (case-insensitive) and its query, or `None`.
    ``error`` returns the error response of a status, ``unauthorized`` that of a missing or wrong credential. ``add``
    adds a contact for `Account.add_contact` and returns its id. ``mint`` returns the id of the nth contact for a seed.
    ``secret_names`` are the names, in lower case, of headers and query parameters that hold the credential and are
    hidden in the log; usual names (Authorization, apiKey, token, …) are always hidden.
    ``openapi`` is the file of the OpenAPI document. ``field_names`` maps this library's field names to the API's, for
    CSV files.
    """

    name: str
    title: str
    credential: Callable[[Mapping[str, str], Mapping[str, str]], str | None]
    error: ErrorBody
    unauthorized: Callable[[Call], Reply]
    routes: tuple[Route, ...]
    behaviours: tuple[Behaviour, ...]
    add: Callable[[Call, Mapping[str, Any]], str]
    mint: Callable[[int, int], str]
    secret_names: frozenset[str] = frozenset()
    openapi: Path | None = None
    field_names: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def prefix(self) -> str:
        """The path below which the API is."""
        return f"/{self.name}/v1"

    def match(self, method: str, segments: list[str]) -> Match:
        """Find the route. A path without parameters has precedence over one with. A parameter is never empty."""
        found: list[Route] = []
        for route in self.routes:
            if len(route.segments) != len(segments):
                continue
            for template, segment in zip(route.segments, segments, strict=True):
                if template != segment and not (segment and template.startswith("{")):
                    break
            else:
                found.append(route)
        # `/contacts/lists` is a resource of its own, although it also matches `/contacts/{contactId}`.
        found = [route for route in found if "{" not in route.template] or found
        best = next((route for route in found if route.method == method), None)
        if best is None:
            return Match(None, {}, tuple(sorted({route.method for route in found})))
        pairs = zip(best.segments, segments, strict=True)
        return Match(best, {name[1:-1]: value for name, value in pairs if name.startswith("{")})


def bearer_token(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:  # noqa: ARG001
    """Return the token of ``Authorization: Bearer`` (RFC 6750), or `None`. For `Vendor.credential`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def phrase(status: int) -> str:
    """Return the standard phrase of a status, or "Error" for a status without one, such as 449."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def decode_segment(raw: str) -> str:
    """Decode a percent-encoded path segment; ``+`` is a plus. Raises `ValueError` if it is not UTF-8."""
    return unquote_to_bytes(raw).decode() if "%" in raw else raw.encode("utf-8", "surrogateescape").decode()


def decode_query(raw: str) -> dict[str, str]:
    """Decode a query string; ``+`` is a blank. Of a repeated name the first value counts.

    Raises `ValueError` if it is not UTF-8.
    """
    decoded: dict[str, str] = {}
    for name, value in parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=100):
        decoded.setdefault(name, value)
    return decoded


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def decode_json(body: bytes) -> Any:
    """Decode a JSON body strictly: UTF-8, no NaN or Infinity. Raises `ValueError`."""
    try:
        return _DECODER.decode(body.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
