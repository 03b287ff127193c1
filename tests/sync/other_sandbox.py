"""Client of a sandbox in another process."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import attrs


@attrs.frozen
class OtherSandbox:
    """A sandbox that survives the death of its client."""

    url: str

    @property
    def base_url(self) -> str:
        return f"{self.url}/aelyst/v1"

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Call the control API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{path}", data=data, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def contacts(self) -> list[dict[str, Any]]:
        """Return every contact of the Aelyst account."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.ask(f"contacts/aelyst?limit=1000&offset={len(found)}")
            found += [item["contact"] for item in page["items"]]
            if len(found) >= page["total"]:
                return found
