"""Between objects and bytes: the contact of the vendor's page read, the fields of an update written.

Decoding is all that an adapter does with an answer: from the body's bytes to a typed contact. Encoding is all that it
does with fields: checks, the vendor's names, bytes. What json, and orjson where it is installed, take alone is beside
them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
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


def job() -> Job:
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
    if find_spec("orjson"):
        orjson = import_module("orjson")
        works["orjson.loads"] = lambda: orjson.loads(BODY)
        works["orjson.dumps"] = lambda: orjson.dumps(FIELDS)
    return lambda name: _timed(works[name]) if name in works else {}


def measure(*, quick: bool) -> list[Row]:
    rows: list[Row] = []
    with workers({"codec": job}) as ask:
        for work in ("decode", "json.loads", "orjson.loads", "encode", "json.dumps", "orjson.dumps"):
            figures = take_turns(ask, 5 if quick else 15, work)["codec"]
            if figures[0]:
                rows.append(
                    {"work": work, "CPU µs": middle(figures, "us"), "least": min(each["us"] for each in figures)}
                )
    return rows
