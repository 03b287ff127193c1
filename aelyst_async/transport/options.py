"""Options of a call: extra headers, and requests to routes that no method wraps.

All options are checked before anything is sent. Error messages name the header, the parameter or the rule, never a
value.

A route is a template, such as ``/contact/{identifier}/channels``, whose fields are replaced by percent-encoded values.
The template is the key of the rate limit, and logs, events and errors show it instead of the path. A path without
fields is converted to a template: a segment of lower-case letters, ``_`` and ``-`` stays; any other segment may
identify a person and becomes ``{identifier}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote

from aelyst_async.contacts import Unset
from aelyst_async.errors import ConfigurationError
from aelyst_async.identifiers import ContactId, Email, Phone, encode_segment
from aelyst_async.transport.messages import Request

__all__ = ["Params", "check_headers", "make_request"]

Params: TypeAlias = Mapping[str, str | int | float | bool | Sequence[str | int] | None]
"""Query parameters. True and False become ``true`` and ``false``, None is left out, several values repeat the name."""

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
"""A header's name (RFC 9110, 5.6.2)."""

_SECRET = re.compile(r"auth|cookie|credential|passw|secret|token|api-?_?key|session", re.IGNORECASE)
"""Words in the names of headers that contain credentials."""

_SECRET_VALUE = re.compile(r"\s*(?:basic|bearer|digest|negotiate)\s", re.IGNORECASE)
"""Schemes of HTTP authentication."""

_OURS = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
        "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that the transport sets, because they frame the message or limit the response."""

_ROUTE_WORD = re.compile(r"[a-z][a-z_-]{0,40}")
_FIELD = re.compile(r"\{([a-z_]{1,40})\}")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%{}/-]*")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return checked extra headers. Raises `ConfigurationError` for a header that is invalid, that contains a
    credential according to its name or scheme, or that the transport sets.
    """
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers: expected a mapping of names to values, got {type(headers).__name__}")
    checked: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError("headers: a name is letters, digits and hyphens, such as X-Trace")
        if not isinstance(value, str):
            raise ConfigurationError(f"headers: {name} must be a str, not {type(value).__name__}")
        if _SECRET.search(name) or _SECRET_VALUE.match(value):
            raise ConfigurationError(f"headers: {name} may contain a credential; only the gateway sends credentials")
        if name.lower() in _OURS:
            raise ConfigurationError(f"headers: {name} is set by the transport and cannot be changed")
        if len(value) > 4096 or not all(" " <= character <= "~" for character in value) or value != value.strip():
            raise ConfigurationError(
                f"headers: the value of {name} must be printable ASCII without line breaks or blanks around it, "
                "at most 4,096 characters"
            )
        if name.lower() in seen:
            raise ConfigurationError(f"headers: {name} is given twice")
        seen.add(name.lower())
        checked[name] = value
    return checked


def make_request(
    method: str,
    path: str,
    *,
    fields: Mapping[str, object],
    params: Params | None,
    json: Any | Unset,
    secret_params: frozenset[str],
) -> Request:
    """Return the `Request` for a route that no method wraps. Raises `ConfigurationError` for an invalid one.

    `secret_params`: query parameters that contain the gateway's credential.
    """
    if not isinstance(method, str) or method.upper() not in _METHODS:
        raise ConfigurationError(f"request: the method must be one of {', '.join(sorted(_METHODS))}")
    endpoint, filled = _route(path, fields)
    request = Request(
        method=method.upper(), endpoint=endpoint, path=filled, query=_query(params, secret_params), json=json
    )
    problem = None
    try:
        request.body()
    except (TypeError, ValueError, RecursionError) as error:
        problem = type(error).__name__
    if problem is not None:
        raise ConfigurationError(f"request: json contains a value that JSON cannot represent ({problem})")
    return request


def _route(path: object, fields: Mapping[str, object]) -> tuple[str, str]:
    """Return the template of a path, and the path with its fields filled in."""
    if not isinstance(path, str):
        raise ConfigurationError(f"request: the path must be a str, not {type(path).__name__}")
    if not path.startswith("/") or path.startswith("//"):
        raise ConfigurationError("request: the path must begin with one / and is relative to base_url, without a host")
    if "?" in path or "#" in path:
        raise ConfigurationError("request: the path must not contain ? or #; pass params=")
    if not _PATH.fullmatch(path) or _ESCAPE.search(path):
        raise ConfigurationError(
            "request: the path must be ASCII and percent-encoded; write a {field} and pass its value by name"
        )
    template: list[str] = []
    filled: list[str] = []
    used: set[str] = set()
    for segment in path[1:].split("/"):
        field = _FIELD.fullmatch(segment)
        if field is not None:
            value = _field(field[1], fields)
            used.add(field[1])
            template.append(segment)
            filled.append(value)
            continue
        if "{" in segment or "}" in segment:
            raise ConfigurationError(
                "request: the path has a brace outside of a field; a field such as {identifier} is a whole segment"
            )
        _check_segment(segment)
        template.append(segment if _ROUTE_WORD.fullmatch(segment) else "{identifier}")
        filled.append(segment)
    if unused := sorted(set(fields) - used):
        raise ConfigurationError(f"request: the path has no field {{{unused[0][:40]}}}")
    return "/" + "/".join(template), "/" + "/".join(filled)


def _field(name: str, fields: Mapping[str, object]) -> str:
    if name not in fields:
        raise ConfigurationError(f"request: the path's field {{{name}}} has no value; pass fields={{{name!r}: …}}")
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, (str, int, ContactId, Email, Phone)):
        raise ConfigurationError(f"request: the field {name} must be a str, an int or an identifier")
    text = str(value)
    if not text or text in {".", ".."} or any(not character.isprintable() for character in text):
        raise ConfigurationError(f"request: the field {name} is empty, a dot segment, or has control characters")
    return encode_segment(text)


def _check_segment(segment: str) -> None:
    if not segment:
        raise ConfigurationError("request: the path has an empty segment")
    plain = segment
    for _ in range(3):  # the path must be the same for a server or proxy that decodes repeatedly
        plain = unquote(plain)
        if any(part in {".", ".."} for part in re.split(r"[/\\]", plain)):
            raise ConfigurationError("request: the path must not contain . or .. segments, encoded or not")
    if not plain.isprintable():
        raise ConfigurationError("request: the path contains encoded control characters")


def _query(params: Params | None, secret_params: frozenset[str]) -> tuple[tuple[str, str], ...]:
    if params is None:
        return ()
    if not isinstance(params, Mapping):
        raise ConfigurationError(f"request: params must be a mapping, not {type(params).__name__}")
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        if not isinstance(name, str) or not name:
            raise ConfigurationError("request: a parameter's name must be a non-empty str")
        if name in secret_params:
            raise ConfigurationError(f"request: the parameter {name} is for the credential; only the gateway sends it")
        several: Sequence[object] = value if isinstance(value, (list, tuple)) else (value,)
        for one in several:
            if one is None:
                continue
            if not isinstance(one, (str, int, float)):
                raise ConfigurationError(f"request: the parameter {name} must be a str or a number, or a list of them")
            text = str(one).lower() if isinstance(one, bool) else str(one)
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ConfigurationError(f"request: the parameter {name} contains a lone surrogate")
            pairs.append((name, text))
    return tuple(pairs)
