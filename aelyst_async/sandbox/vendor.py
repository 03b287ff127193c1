"""What a vendor module is made of: routes, and functions from a `Call` to a `Reply`.

A vendor function knows no socket, no quota and no fault: it reads the call, works on the store and returns the
answer, or raises `Refusal` with it. What all vendors share about reading a request stands here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn, Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

import attrs

from aelyst_async.sandbox.assumptions import Behaviour, common_behaviours
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
    "common_behaviours",
    "decode_json",
    "decode_query",
    "decode_segment",
    "phrase",
    "reply",
]


@attrs.frozen
class Reply:
    """An answer: status, JSON text as bytes, and headers beside Content-Type."""

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=dict)
    content_type: str = "application/json"


def reply(status: int, value: Any) -> Reply:
    """Return `value` as a JSON answer."""
    return Reply(status, dump_json(value).encode())


class Refusal(Exception):  # noqa: N818 - it carries an answer; nothing has failed
    """Raised by a vendor function to answer with an error."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(answer.status)
        self.answer = answer


class ErrorBody(Protocol):
    """Builds a vendor's error answer. ``detail`` is for people; not every vendor has a place for it."""

    def __call__(self, status: int, message: str = "", /) -> Reply:
        """Return the answer."""
        ...


@attrs.define(slots=True, eq=False)
class Call:
    """One call as a vendor function sees it. ``params`` and ``query`` are decoded; ``now`` is the sandbox's clock.

    ``late`` is what a fault adds to the time until a new contact can be found.
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

    def json_object(self, error: ErrorBody) -> dict[str, Any]:
        """Return the body as a JSON object. Raises `Refusal` with the vendor's 400."""
        try:
            value = decode_json(self.body)
        except ValueError as problem:
            raise Refusal(error(400, f"the body is not JSON: {problem}")) from None
        if not isinstance(value, dict):
            raise Refusal(error(400, "the body is not a JSON object"))
        return value

    def visible(self, record: Record) -> bool:
        """Whether the contact has been processed so far that it can be found."""
        return record.visible_at <= self.now

    def insert(
        self, document: dict[str, Any], *, email: object, phone: object, contact_id: str | None = None
    ) -> Record:
        """Create a contact; without `contact_id` the account's next id is taken."""
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
    """A method and a path template, ``/contact/{identifier}``, and what answers there."""

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
    """The route of a path, or the methods that its path has."""

    route: Route | None
    params: Mapping[str, str]
    allowed: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Vendor:
    """An API: where it lives, who may call it, what it answers and why.

    ``credential`` takes the token out of a request (headers, whose names are looked up without regard to case, and
    the query), `None` where there is none. ``add`` puts a contact in as a test describes it. ``mint`` makes the text
    of the nth id. ``secret_query`` names the query parameter that holds the credential, so that no log shows it.
    ``openapi`` is the file of the API's OpenAPI document; ``field_names`` maps this library's field names to the API's.
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
    secret_query: str | None = None
    openapi: Path | None = None
    field_names: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def prefix(self) -> str:
        """The path under which the vendor's API stands."""
        return f"/{self.name}/v1"

    def match(self, method: str, segments: list[str]) -> Match:
        """Find the route. A literal segment goes before a parameter; a parameter is never empty."""
        best: Route | None = None
        found: list[Route] = []
        for route in self.routes:
            if len(route.segments) != len(segments):
                continue
            for template, segment in zip(route.segments, segments, strict=True):
                if template != segment and not (segment and template.startswith("{")):
                    break
            else:
                found.append(route)
                if route.method == method and (best is None or "{" in best.template):
                    best = route
        if best is None:
            # `/contacts/lists` is a resource of its own, though `/contacts/{contactId}` would fit it as well.
            literal = [route for route in found if "{" not in route.template] or found
            return Match(None, {}, tuple(sorted({route.method for route in literal})))
        pairs = zip(best.segments, segments, strict=True)
        return Match(best, {name[1:-1]: value for name, value in pairs if name.startswith("{")})


def phrase(status: int) -> str:
    """Return the standard phrase of a status; some of the vendors' statuses have none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def decode_segment(raw: str) -> str:
    """Decode one raw path segment; a ``+`` is a plus. Raises `ValueError` if it is not UTF-8."""
    return unquote_to_bytes(raw).decode() if "%" in raw else raw.encode("utf-8", "surrogateescape").decode()


def decode_query(raw: str) -> dict[str, str]:
    """Decode a raw query as a form: ``+`` is a blank. The first value of a repeated name counts.

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
    """Decode a JSON body strictly (UTF-8; no NaN or Infinity). Raises `ValueError`."""
    try:
        return _DECODER.decode(body.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
