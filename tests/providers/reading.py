"""Makes `Response` objects, to test decoding without a network."""

from __future__ import annotations

import json
from typing import Any

from multidict import CIMultiDict

from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.redaction import Redactor


def answer(body: Any, status: int = 200, method: str = "GET") -> Response:
    """Return a response with `body`: bytes, or anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(
        request=Request(method=method, endpoint="/x", path="/x"),
        status=status,
        headers=CIMultiDict(),
        body=content,
        url="https://x/x",
        redactor=Redactor(),
    )
