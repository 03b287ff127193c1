"""Between objects and bytes: the contact of the vendor's page read, the fields of an update written.

Decoding is all that an adapter does with an answer: from the body's bytes to a typed contact. Encoding is all that it
does with fields: checks, the vendor's names, bytes. The json module alone is beside them. Where orjson is installed
the adapter uses it, so a second process runs without.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.client import FIELDS, OURS
from benchmarks.rounds import Job, Row, middle, take_turns, workers
from benchmarks.server import BODY

LOOPS = 2_000


def _timed(work: Callable[[], object]) -> dict[str, float]:
    for _ in range(LOOPS // 10):
        work()
    computing = time.process_time()
    for _ in range(LOOPS):
        work()
    return {"us": (time.process_time() - computing) / LOOPS * 1e6}


def job(with_orjson: bool) -> Job:
    if not with_orjson:
        sys.modules["orjson"] = None  # type: ignore[assignment]  # what `import orjson` then raises is ImportError
    from aelyst_async.transport.messages import Request, Response
    from aelyst_async.transport.redaction import Redactor
    from aelyst_providers.aelyst import wire

    request = Request(method="GET", endpoint="/contact/{identifier}", path="/contact/id:12345")
    redactor = Redactor()

    def decode() -> object:
        # A response of its own each time, since it keeps what it has parsed.
        return wire.read_contact(
            Response(request=request, status=200, headers={}, body=BODY, url="", redactor=redactor)
        )

    def encode() -> bytes | None:
        body = wire.SCHEMA.encode(OURS, "update")
        return Request(method="PUT", endpoint="/contact/{identifier}", path="/contact/id:12345", json=body).body()

    dump: Any = partial(json.dumps, FIELDS, ensure_ascii=False, separators=(",", ":"))
    works: dict[str, Callable[[], object]] = {
        "decode": decode,
        "encode": encode,
        "json.loads": lambda: json.loads(BODY),
        "json.dumps": lambda: dump().encode(),
    }
    return lambda name: _timed(works[name])


def measure(*, quick: bool) -> list[Row]:
    makers: dict[str, Callable[[], Job]] = {"json": partial(job, False)}
    if find_spec("orjson"):
        makers["orjson"] = partial(job, True)
    rows: list[Row] = []
    with workers(makers) as ask:
        for work in ("decode", "json.loads", "encode", "json.dumps"):
            for name, figures in take_turns(ask, 5 if quick else 15, work).items():
                if name == "json" or not work.startswith("json."):
                    least = min(each["us"] for each in figures)
                    rows.append({"work": work, "with": name, "CPU µs": middle(figures, "us"), "least": least})
    return rows
