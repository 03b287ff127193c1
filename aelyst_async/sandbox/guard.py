"""Which requests the sandbox accepts: none from a web page but its own.

The server listens on a developer's machine, where a browser sends what any site tells it to. Two rules keep foreign
pages out. Both rest on what browsers enforce or send, so other clients notice nothing:

- **Host**: the request must be for this machine: ``localhost``, an IP address, or a name allowed by the user. A
  foreign name that resolves to 127.0.0.1 (DNS rebinding) is refused, so such a page cannot read anything.
- **Origin**: a request that may change something must not come from another origin; browsers say where from in
  ``Origin`` and ``Sec-Fetch-Site``. Reading across origins is stopped by the browser: no CORS header is ever sent.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from multidict import MultiMapping

__all__ = ["SECURITY_HEADERS", "Guard"]

SECURITY_HEADERS = {
    # Scripts and styles come from files of our own, nothing inline, nothing foreign; no sink takes a plain string.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """The two rules. `names` are host names that are allowed beside localhost and IP addresses."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}
        self._known: dict[str, bool] = {}

    def refusal(self, method: str, headers: MultiMapping[str]) -> str | None:
        """Return why a request is refused, or `None`. `headers` look names up without regard to case."""
        host, *others = headers.getall("Host", [""])
        if others:
            return "more than one Host"
        allowed = self._known.get(host)
        if allowed is None:
            allowed = self._is_ours(host)
            if len(self._known) < 1000:
                self._known[host] = allowed
        if not allowed:
            return "this Host is not allowed; use localhost or an IP address, or allow the name with --allow-host"
        if method not in _SAFE:
            origin = headers.get("Origin")
            # A browser's port 80 is not written in Host, nor in Origin; so the two compare as they are.
            if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
                return "a page of another origin may not change anything here"
            if headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
                return "a page of another site may not change anything here"
        return None

    def _is_ours(self, host: str) -> bool:
        if not host or any(character in host for character in "/@?#\\ "):
            return False
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name.rstrip(".") in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
