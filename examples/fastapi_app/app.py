"""A small service: it receives webhooks, upserts contacts in the background, and shows its state on a page.

``uvicorn app:app --timeout-graceful-shutdown 5``, with AELYST_TOKEN (and AELYST_BASE_URL) in the environment; with
REDIS_URL also ``--workers 2``. See README.md.
"""

from __future__ import annotations

import hmac
import html
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from aelyst_async import Email, RateLimiter, open_gateway
from aelyst_async.fastapi import (
    Accepted,
    AppGateway,
    Jobs,
    accepted,
    add_error_handlers,
    health_router,
    jobs_router,
    lifespans,
)
from aelyst_async.ratelimit import RedisQuota
from aelyst_providers.aelyst import AelystContact, AelystFields, AelystGateway, CustomField

WEBHOOK_SECRET = os.environ.get("WEBHOOK_SECRET", "")

# One quota for all worker processes, in Redis. Without it, run one worker.
quota = RedisQuota(os.environ["REDIS_URL"]) if os.environ.get("REDIS_URL") else None
gateway = AppGateway[AelystGateway](lambda: open_gateway("aelyst", limiter=RateLimiter(shared=quota)))
jobs = Jobs(journal=os.environ.get("JOBS_JOURNAL", "jobs.db"), concurrency=16, capacity=1000, drain_timeout=8)


@jobs.register
async def save_contact(email: str, fields: dict[str, Any], custom: dict[str, str | float | bool | None]) -> None:
    """Write one person. Idempotent: a second run changes nothing."""
    custom_fields = tuple(CustomField(name, value) for name, value in custom.items())
    if custom_fields:
        fields = {**fields, "custom_fields": custom_fields}
    await gateway.current().upsert(Email(email), AelystFields(email=email, **fields))


class Person(BaseModel):
    """The body of the webhook. A field that is absent is not changed; null clears it."""

    model_config = ConfigDict(extra="forbid")

    email: str
    first_name: str
    last_name: str | None = None
    phone: str | None = None
    language: str | None = None
    custom_fields: dict[str, str | float | bool | None] = {}


def from_our_sender(x_webhook_secret: Annotated[str, Header()] = "") -> None:
    """Refuse requests without the secret, if one is set."""
    if WEBHOOK_SECRET and not hmac.compare_digest(x_webhook_secret.encode(), WEBHOOK_SECRET.encode()):
        raise HTTPException(401, "the webhook secret is missing or wrong")


@asynccontextmanager
async def close_quota(_: FastAPI) -> AsyncIterator[None]:
    """Close the connections to Redis when the app stops."""
    yield
    if quota is not None:
        await quota.aclose()


app = FastAPI(title="Contacts, in the background", lifespan=lifespans(close_quota, gateway, jobs))
add_error_handlers(app)
app.include_router(health_router(gateway, jobs))
app.include_router(jobs_router(jobs))


@app.post("/webhooks/contact", status_code=202, dependencies=[Depends(from_our_sender)])
async def contact_changed(person: Person) -> Accepted:
    """Accept a change. After the 202 it survives ``kill -9``. Ten changes for one person become one update."""
    who = Email(person.email)  # an invalid address is refused now with a 422, not later in the background
    fields = person.model_dump(exclude_unset=True, exclude={"email", "custom_fields"})
    job = await jobs.submit(str(who), save_contact, email=who.value, fields=fields, custom=person.custom_fields)
    return accepted(job)


@app.get("/contacts/{email}")
async def contact(email: str, gateway: Annotated[AelystGateway, Depends(gateway)]) -> dict[str, str | None]:
    """Read one contact, with the same connections and the same rate limit."""
    found: AelystContact = await gateway.get(Email(email))
    return {"id": found.id, "first_name": found.first_name, "last_name": found.last_name, "phone": found.phone}


@app.get("/", response_class=HTMLResponse, include_in_schema=False)
async def status_page(gateway: Annotated[AelystGateway, Depends(gateway)]) -> str:
    """Show the queue and the quota of this worker process."""
    stats = jobs.stats()
    numbers = [(name, getattr(stats, name)) for name in ("waiting", "running", "done", "failed", "merged", "refused")]
    # By endpoint, because the path of a bucket contains a contact.
    buckets = [
        (bucket.endpoint, bucket.limit, bucket.remaining, bucket.waiting, f"{bucket.paused_for:.1f} s")
        for bucket in gateway.limiter.snapshot()[:20]  # with one quota for each path there are many
    ]
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Contacts</title>
<meta http-equiv="refresh" content="2"><meta name="viewport" content="width=device-width">
<style>:root {{ color-scheme: light dark }} body {{ font: 16px/1.5 system-ui; margin: 2rem auto; max-width: 46rem;
padding: 0 1rem }} table {{ border-collapse: collapse; width: 100% }} td, th {{ text-align: left; padding: .25rem .5rem;
border-bottom: 1px solid #8884 }} td + td {{ font-variant-numeric: tabular-nums }}</style></head><body>
<h1>Contacts</h1>
<h2>Jobs</h2>{_table(("state", "jobs"), numbers)}
<h2>Rate limit</h2>{_table(("endpoint", "limit", "remaining", "waiting", "paused for"), buckets)}
<p>{html.escape(gateway.provider)} at {html.escape(gateway.base_url)} · <a href="docs">API</a> ·
<a href="readyz">ready?</a></p></body></html>"""


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape('–' if cell is None else str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
