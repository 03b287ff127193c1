"""Taking credentials out of text.

The first line of defence is to put the credential into nothing but the request itself: our `Request` and our URLs
never hold it, and aiohttp's exceptions, which do, are never passed on. What remains is the server: an error body
or a header may echo the key, also percent-encoded or JSON-escaped. So every text of a server is scrubbed of every
form of every credential in use before it enters an error.
"""

from __future__ import annotations

import html
import json
import re
from collections import deque
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "Redactor"]

MASK = "***"

_REMEMBERED = 16
"""Credentials kept in mind: a rotated one may still be echoed by an answer under way."""


class Redactor:
    """Remembers the credentials in use and replaces them in text by ``***``."""

    __slots__ = ("_known", "_pattern")

    def __init__(self) -> None:
        self._known: deque[str] = deque(maxlen=_REMEMBERED)
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secret: str) -> None:
        """Scrub `secret` from now on."""
        if secret in self._known:
            return
        self._known.append(secret)
        forms = {form for known in self._known for form in _forms(known)}
        # The longest first: a form may contain another. Percent-encoding may use either case.
        alternatives = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        self._pattern = re.compile(alternatives, re.IGNORECASE)

    def scrub(self, text: str) -> str:
        """Return `text` with every known credential replaced by ``***``."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._known)} credentials>"


def _forms(secret: str) -> set[str]:
    escaped = json.dumps(secret)[1:-1]
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        quote(secret),
        escaped,
        escaped.replace("/", "\\/"),
        html.escape(secret),
        repr(secret)[1:-1],
    }
