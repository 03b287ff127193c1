"""Checks of the transport's settings, when a gateway is constructed."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aelyst_async.errors import ConfigurationError

if TYPE_CHECKING:
    from aiohttp import ClientTimeout

__all__ = [
    "CONNECT_TIMEOUT",
    "LONGEST",
    "TOTAL_TIMEOUT",
    "check_base_url",
    "check_seconds",
    "is_loopback",
    "make_timeout",
    "masked_url",
    "shown",
]

CONNECT_TIMEOUT = 5.0
"""Seconds to open a connection: name look-up, TCP and TLS."""

TOTAL_TIMEOUT = 30.0
"""Seconds for one attempt, from sending to the last byte of the response."""

LONGEST = 1e9
"""Largest number of seconds (31 years) that event loops can add to their clocks without overflow."""


def masked_url(url: Any) -> Any:
    """Return `url` with ``***`` for user name, password, query and fragment, which may contain secrets.

    A constructor calls this first, so that the frames of an error for the URL do not contain them. A value that is not
    a `str` is returned unchanged.
    """
    if not isinstance(url, str):
        return url
    mark = min((character for character in "?#" if character in url), key=url.index, default="")
    head, _, tail = url.partition(mark) if mark else (url, "", "")
    scheme, separator, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    if not authority:  # not a URL, or a mistyped one: the part before an @ may be a password
        *before, last = head.rsplit("@", 1)
        masked = f"***@{last}" if before else head
    else:
        *before, host = authority.rsplit("@", 1)
        masked = f"{scheme}{separator}{'***@' if before else ''}{host}{slash}{path}"
    return f"{masked}{mark}{'***' if tail else ''}"


def check_base_url(base_url: str, *, allow_insecure: bool) -> str:
    """Return `base_url` without a trailing slash. Raises `ConfigurationError` for an invalid one.

    ``http://`` would send the credential unencrypted, so it is accepted only for loopback addresses.
    """
    if not isinstance(base_url, str):
        raise ConfigurationError(f"base_url: expected a str, got {type(base_url).__name__}")
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError("base_url is not a valid URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigurationError("base_url must begin with https:// and a host, such as https://api.example.com/v1")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise ConfigurationError("base_url must not contain a user name or password; pass the credential separately")
    if parts.query or parts.fragment or "?" in base_url or "#" in base_url:
        raise ConfigurationError("base_url must not contain a query or a fragment")
    if not all("!" <= character <= "~" for character in base_url):
        raise ConfigurationError("base_url must be ASCII without blanks; percent-encode the rest")
    if parts.scheme == "http" and not allow_insecure and not is_loopback(host):
        raise ConfigurationError(
            f"base_url: http:// would send the credential to {host} unencrypted; use https://, or allow_insecure=True"
        )
    return base_url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine: ``localhost``, 127.0.0.0/8, ``::1``."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, 6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_seconds(value: object, name: str) -> float:
    """Return `value` as seconds, at least 0. Raises `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST:
        raise ConfigurationError(f"{name} must be a number of seconds from 0 to {LONGEST:.0e}, not {shown(value)}")
    return float(value)


def connect_within(total: float) -> float:
    """Return the time-out for connecting, in seconds, for a total time-out.

    It is shorter than `total`, so that connecting times out first: for aiohttp a total time-out while connecting (the
    request was surely not sent) looks like one while it waits for the response (a create may have been applied).
    """
    return min(CONNECT_TIMEOUT, 0.9 * total)


def shown(value: object) -> str:
    """Return a wrong value for an error message: its truncated repr, or its type if the repr fails."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's __repr__, or an int of too many digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"


def make_timeout(timeout: float | ClientTimeout | None) -> dict[str, Any]:
    """Return the arguments of a `ClientTimeout` for `timeout`: total seconds, or a `ClientTimeout`.

    None, also inside a `ClientTimeout`, selects our defaults (in aiohttp, None and 0 mean "no limit"). Raises
    `ConfigurationError`.
    """
    given: dict[str, Any] = {}
    if timeout is None or isinstance(timeout, (int, float)):
        given["total"] = timeout
    elif all(hasattr(timeout, name) for name in ("total", "connect", "sock_connect", "sock_read")):
        given = {name: getattr(timeout, name) for name in ("total", "connect", "sock_connect", "sock_read")}
    else:
        raise ConfigurationError(f"timeout: expected seconds or an aiohttp.ClientTimeout, got {type(timeout).__name__}")
    given = {name: check_seconds(value, f"timeout {name}") for name, value in given.items() if value is not None}
    for name, value in given.items():
        if value == 0:
            raise ConfigurationError(f"timeout {name} must not be 0; leave it out for the default")
    given.setdefault("total", TOTAL_TIMEOUT)
    given.setdefault("connect", connect_within(given["total"]))
    return given
