"""Lifespans of gateways: composition, dependency injection, closing, use outside, and tenants over one pool."""

# No `from __future__ import annotations` here: FastAPI could not resolve types that are local to a test.
import asyncio
import gc
import logging
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import aiohttp
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request

from aelyst_async import Contact, RateLimiter, RetryPolicy, open_gateway
from aelyst_async.errors import AuthenticationError, ConfigurationError, ContactNotFoundError, ServerError
from aelyst_async.fastapi import (
    AppGateway,
    Jobs,
    TenantGateways,
    add_error_handlers,
    attach,
    health_router,
    lifespans,
)
from aelyst_async.sandbox import Sandbox
from aelyst_providers.aelyst import AelystFields, AelystGateway
from tests.fastapi.apps import client, served
from tests.servers import RawServer, reply


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(quota="none") as running:
        yield running


def gateway_of(sandbox: Sandbox, **settings: Any) -> AppGateway[AelystGateway]:
    def factory() -> AelystGateway:
        return AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), settle=0, **settings)

    return AppGateway(factory)


async def test_lifespans_nest_in_order_and_merge_their_states() -> None:
    log: list[str] = []

    def part(name: str, state: Any) -> Any:
        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
            log.append(f"+{name}")
            yield state
            log.append(f"-{name}")

        return lifespan

    app = FastAPI(lifespan=lifespans(part("a", {"x": 1}), part("b", None), part("c", {"y": 2})))
    attach(app, part("d", {"z": 3}))
    async with app.router.lifespan_context(app) as state:
        assert state == {"x": 1, "y": 2, "z": 3}
        assert log == ["+d", "+a", "+b", "+c"]
    assert log[4:] == ["-c", "-b", "-a", "-d"]


async def test_lifespans_work_with_a_server_without_lifespan_state(sandbox: Sandbox) -> None:
    sent: list[str] = []
    received = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(received)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    app = FastAPI(lifespan=lifespans(gateway_of(sandbox), Jobs()))
    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_entered_lifespans_are_closed_when_a_later_one_fails(sandbox: Sandbox) -> None:
    gateway = gateway_of(sandbox)

    @asynccontextmanager
    async def broken(app: FastAPI) -> AsyncIterator[None]:
        assert gateway.current()
        raise RuntimeError("no database")
        yield

    with pytest.raises(RuntimeError, match="no database"):
        async with lifespans(gateway, broken)(None):
            pass
    assert gateway.problem() == "gateway: not open"


def test_lifespans_rejects_jobs_before_their_gateway(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigurationError, match="before the jobs"):
        lifespans(Jobs(), gateway_of(sandbox))
    with pytest.raises(ConfigurationError, match="before the jobs"):
        lifespans(gateway_of(sandbox), Jobs(), TenantGateways(AelystGateway))


async def test_app_gateway_opens_at_startup_serves_routes_and_closes(sandbox: Sandbox) -> None:
    gateway = gateway_of(sandbox)
    app = FastAPI(lifespan=gateway.lifespan)
    seen: list[AelystGateway] = []

    @app.post("/people/{email}")
    async def put(
        email: str, gateway: Annotated[AelystGateway, Depends(gateway)], tasks: BackgroundTasks
    ) -> dict[str, bool | None]:
        seen.append(gateway)
        receipt = await gateway.upsert(f"email:{email}", AelystFields(first_name="Ann"))
        tasks.add_task(gateway.update, f"email:{email}", AelystFields(last_name="Lee"))
        return {"created": receipt.created}

    @app.get("/people/{email}")
    async def get(email: str, gateway: Annotated[AelystGateway, Depends(gateway)]) -> dict[str, str | None]:
        contact: Contact = await gateway.get(f"email:{email}")
        return {"first": contact.first_name, "last": contact.last_name}

    for _ in range(2):  # an app may be started again
        async with served(app) as http:
            assert (await http.post("/people/ann@example.com")).status_code == 200
            assert (await http.get("/people/ann@example.com")).json() == {"first": "Ann", "last": "Lee"}
    assert seen[0] is not seen[1]
    assert "closed" in repr(seen[0])
    assert "closed" in repr(seen[1])
    gc.collect()


async def test_app_gateway_accepts_async_factory_and_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AELYST_TOKEN", sandbox.token("aelyst"))
    monkeypatch.setenv("AELYST_BASE_URL", sandbox.base_url("aelyst"))

    async def async_factory() -> AelystGateway:
        await asyncio.sleep(0)
        return AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"))

    for gateway in (AppGateway[Any](partial(open_gateway, "aelyst")), AppGateway[Any](async_factory)):
        async with gateway.lifespan():
            with pytest.raises(ContactNotFoundError):
                await gateway.current().get("email:nobody@example.com")


async def test_gateway_outside_its_lifespan_raises_with_advice(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    gateway, tenants = gateway_of(sandbox), TenantGateways(AelystGateway)
    inner = FastAPI(lifespan=gateway.lifespan)
    add_error_handlers(inner)

    @inner.get("/")
    async def route(found: Annotated[AelystGateway, Depends(gateway)]) -> None: ...

    outer = FastAPI()
    outer.mount("/inner", inner)
    async with served(outer) as http:
        answer = await asyncio.wait_for(http.get("/inner/"), 5)
    assert answer.status_code == 500
    assert answer.json() == {"detail": "internal error"}
    assert "mounted sub-app" in caplog.text
    with pytest.raises(ConfigurationError, match="outside its lifespan"):
        gateway.current()
    with pytest.raises(ConfigurationError, match="outside its lifespan"):
        tenants.get("token")


async def test_lifespan_parts_cannot_be_opened_twice(sandbox: Sandbox) -> None:
    gateway, tenants, jobs = gateway_of(sandbox), TenantGateways(AelystGateway), Jobs()
    for part in (gateway, tenants, jobs):
        async with part.lifespan():
            with pytest.raises(ConfigurationError, match="already open"):
                async with part.lifespan():
                    pass


async def test_readiness_depends_on_the_credential(sandbox: Sandbox) -> None:
    token = "wrong"
    gateway = AppGateway(lambda: AelystGateway(lambda: token, base_url=sandbox.base_url("aelyst")))
    app = FastAPI(lifespan=gateway.lifespan)
    app.include_router(health_router(gateway))
    async with client(app) as http:
        before = await http.get("/readyz")
    assert (before.status_code, before.json()["problems"]) == (503, ["gateway: not open"])
    async with served(app) as http:
        assert (await http.get("/readyz")).status_code == 200
        with pytest.raises(AuthenticationError):
            await gateway.current().get("id:1")
        refused = await http.get("/readyz")
        assert (refused.status_code, refused.json()["problems"]) == (503, ["gateway: the credential was refused"])
        assert (await http.get("/healthz")).status_code == 200
        token = sandbox.token("aelyst")
        with pytest.raises(ContactNotFoundError):
            await gateway.current().get("id:1")
        assert (await http.get("/readyz")).json() == {"status": "ready"}


async def test_readiness_ignores_an_outage_after_a_refused_credential() -> None:
    refused, down, absent = (reply(status, {"message": "no"}) for status in (401, 503, 404))
    async with RawServer(refused, down, absent) as server:
        gateway = AppGateway(
            lambda: AelystGateway("token", base_url=server.url, retry=RetryPolicy(max_attempts=1), settle=0)
        )
        async with gateway.lifespan():
            problems = []
            for error in (AuthenticationError, ServerError, ContactNotFoundError):
                with pytest.raises(error):
                    await gateway.current().get("id:1")
                problems.append(gateway.problem())
    assert problems == ["gateway: the credential was refused"] * 2 + [None]


async def test_tenants_share_pool_and_limiter_and_evict_least_recently_used(sandbox: Sandbox) -> None:
    limiter = RateLimiter()
    tenants = TenantGateways(AelystGateway, limit=2, limiter=limiter, base_url=sandbox.base_url("aelyst"))
    token = sandbox.token("aelyst")
    async with tenants.lifespan():
        one, two = tenants.get(token), tenants.get("two")
        assert tenants.get(token) is one
        assert one.limiter is two.limiter is limiter
        three = tenants.get("three")  # evicts two, the least recently used
        assert len(tenants) == 2
        assert tenants.get(token) is one
        assert tenants.get("three") is three
        assert tenants.get("two") is not two
        assert tenants.get(token) is not one, "evicted just now"
        # Evicted gateways keep working too, over the same connections.
        with pytest.raises(ContactNotFoundError):
            await one.get("id:1")
        with pytest.raises(AuthenticationError):
            await two.get("id:1")
        session = tenants._session
        assert session is not None
        for used in (one, two, three):
            assert used._transport._session._borrowed is session
    assert session.closed
    assert len(tenants) == 0
    assert token not in repr(tenants)


async def test_evicted_tenant_finishes_its_running_requests(sandbox: Sandbox) -> None:
    tenants = TenantGateways(AelystGateway, limit=1, base_url=sandbox.base_url("aelyst"))
    sandbox.add_contact("aelyst", {"firstName": "Ann", "email": "ann@example.com"})
    async with tenants.lifespan():
        reading = [
            asyncio.create_task(tenants.get(sandbox.token("aelyst")).get("email:ann@example.com")) for _ in range(20)
        ]
        await asyncio.sleep(0)
        tenants.get("another")
        assert [contact.first_name for contact in await asyncio.gather(*reading)] == ["Ann"] * 20


async def test_waiting_for_a_shared_pool_is_no_connect_timeout(sandbox: Sandbox) -> None:
    # aiohttp counts the wait for a pool slot as connecting, so 60 requests over 2 connections would time out.
    sandbox.add_contact("aelyst", {"firstName": "Ann", "email": "ann@example.com"})
    sandbox.add_fault("latency,seconds:0.02=100%")
    timeout = aiohttp.ClientTimeout(total=10, connect=0.15)
    once = RetryPolicy(max_attempts=1)
    token = sandbox.token("aelyst")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as session:
        gateways = [
            AelystGateway(token, base_url=sandbox.base_url("aelyst"), session=session, timeout=timeout)
            for _ in range(3)
        ]
        reading = [gateway.with_retry(once).get("email:ann@example.com") for gateway in gateways * 20]
        assert {contact.first_name for contact in await asyncio.gather(*reading)} == {"Ann"}


async def test_tenant_key_allows_credential_rotation(sandbox: Sandbox) -> None:
    tenants = TenantGateways(AelystGateway, base_url=sandbox.base_url("aelyst"))
    token = sandbox.token("aelyst")
    async with tenants.lifespan():
        old = tenants.get("old", key="acme")
        new = tenants.get(token, key="acme")
        assert new is not old
        assert tenants.get(token, key="acme") is new
        assert len(tenants) == 1
        asked = tenants.get(lambda: token, key="other")
        assert tenants.get(lambda: token, key="other") is asked
        with pytest.raises(ConfigurationError, match="key="):
            tenants.get(lambda: token)
        with pytest.raises(ConfigurationError, match="token"):
            tenants.get("bad\ntoken")
        assert len(tenants) == 2


async def test_tenant_gateways_accept_a_class_with_get_only() -> None:
    class Plain:
        def __init__(self, credential: str, *, session: Any, limiter: Any) -> None:
            self.credential = credential
            assert not session.closed

    tenants = TenantGateways(Plain)
    async with tenants.lifespan():
        assert tenants.get("one").credential == "one"
        assert tenants.get("one") is tenants.get("one")
    assert len(tenants) == 0


@pytest.mark.parametrize("limit", [0, True, 1.5])
def test_tenant_gateways_reject_invalid_limits(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="limit"):
        TenantGateways(AelystGateway, limit=limit)


async def test_app_gateway_accepts_a_class_with_get_only() -> None:
    class Plain:
        provider = "plain"

        async def get(self, identifier: Any) -> Contact:
            return Contact(id=str(identifier))

    gateway = AppGateway(Plain)
    app = FastAPI(lifespan=gateway.lifespan)

    @app.get("/{name}")
    async def route(name: str, found: Annotated[Plain, Depends(gateway)], request: Request) -> str:
        return (await found.get(name)).id

    async with served(app) as http:
        assert (await http.get("/ann")).json() == "ann"


async def test_closed_lifespans_cause_no_warning_and_log_no_credential(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = gateway_of(sandbox)
    tenants = TenantGateways(AelystGateway, base_url=sandbox.base_url("aelyst"))
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings():
        warnings.simplefilter("error")
        async with lifespans(gateway, tenants)(None):
            with pytest.raises(ContactNotFoundError):
                await gateway.current().get("id:1")
            with pytest.raises(ContactNotFoundError):
                await tenants.get(sandbox.token("aelyst")).get("id:1")
        gc.collect()
    assert caplog.records
    assert all(sandbox.token("aelyst") not in str(vars(record)) for record in caplog.records)
