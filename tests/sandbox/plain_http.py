"""A plain HTTP client for the sandbox tests. It uses nothing of this library."""

from __future__ import annotations

import io
import json as json_module
from collections.abc import Mapping
from typing import Any

import aiohttp
import attrs
from yarl import URL

from aelyst_async.sandbox import Account


@attrs.frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json_module.loads(self.body)


class Http:
    """Sends the path byte for byte, with a valid credential by default."""

    def __init__(self, session: aiohttp.ClientSession, account: Account) -> None:
        self.session = session
        self.account = account

    async def __call__(
        self,
        vendor: str,
        method: str,
        path: str,
        json: Any = None,
        *,
        data: bytes | None = None,
        token: str | None = "sandbox-token",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        url = self.account.base_url(vendor) + path
        if token is not None and vendor == "dmchamp":
            url += ("&" if "?" in path else "?") + f"apiKey={token}"
        elif token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if json is not None:
            data, sent["Content-Type"] = json_module.dumps(json).encode(), "application/json"
        body = io.BytesIO(data) if data and len(data) > 1 << 20 else data  # aiohttp warns of large bytes
        return await self.raw(method, url, data=body, headers=sent)

    async def raw(self, method: str, url: str, **options: Any) -> Answer:
        async with self.session.request(method, URL(url, encoded=True), allow_redirects=False, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def control(self, method: str, path: str, json: Any = None, **options: Any) -> Answer:
        if json is not None:
            options["data"] = json_module.dumps(json).encode()
        root = self.account.url.partition("/@")[0]
        return await self.raw(method, f"{root}/_sandbox/{path}", **options)
