"""Protection against requests that web pages of other origins send through a developer's browser.

Two rules. They depend on what browsers send and enforce, so other clients are not affected:

- **Host** must be ``localhost``, an IP address, or a name allowed by the user. Another name that resolves to 127.0.0.1
  (DNS rebinding) is refused, so such a page cannot read anything.
- **Origin** of a request that may change something must be the sandbox itself; browsers send it in ``Origin`` and
  ``Sec-Fetch-Site``. Reading across origins is prevented by the browser, since no CORS header is sent.
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
    # Scripts and styles come only from our own files; nothing inline, and no DOM sink takes a plain string.
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
    """The two rules. `names` are host names that are allowed besides localhost and IP addresses."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}
        self._known: dict[str, bool] = {}

    def refusal(self, method: str, headers: MultiMapping[str]) -> str | None:
        """Return why a request is refused, or `None`. `headers` is case-insensitive."""
        host, *others = headers.getall("Host", [""])
        if others:
            return "more than one Host header"
        allowed = self._known.get(host)
        if allowed is None:
            allowed = self._is_ours(host)
            if len(self._known) < 1000:
                self._known[host] = allowed
        if not allowed:
            return "this Host is not allowed; use localhost or an IP address, or allow the name with --allow-host"
        if method not in _SAFE:
            origin = headers.get("Origin")
            # Browsers omit the port 80 in both headers, so the two can be compared as they are.
            if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
                return "pages of another origin must not change the sandbox"
            if headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}:
                return "pages of another site must not change the sandbox"
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
