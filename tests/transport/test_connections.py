"""Pooled connections: stray responses are discarded, and the library knows whether a request was sent."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aelyst_async import errors
from aelyst_async.transport.session import make_session
from aelyst_providers.aelyst import AelystFields, AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampFields, DmChampGateway
from tests.doubles import free_limiter
from tests.servers import Connection, RawServer, Seen, hang, head, raw, reply, stop
from tests.transport.conftest import ONCE, Opener

pytestmark = pytest.mark.hostile

ANN = AelystFields(first_name="Ann")


def whole(body: object, status: int = 200) -> bytes:
    content = json.dumps(body).encode()
    return head(status, [("Content-Length", str(len(content)))]) + content


def asked(seen: Seen) -> int:
    return int(seen.segments[-1].removeprefix("id:"))


STRAY = whole({"id": 99, "firstName": "Somebody else"})


def twice(pause: float, stray: bytes = STRAY) -> Callable[[Connection, Seen], Awaitable[bool]]:
    """Send the right response, and `pause` seconds later a stray one."""

    async def answer(connection: Connection, seen: Seen) -> bool:
        body = whole({"id": asked(seen)})
        if pause == 0:
            await connection.send(body + stray)
        else:
            await connection.send(body)
            await asyncio.sleep(pause)
            await connection.send(stray)
        return True

    return answer


@pytest.mark.parametrize("pause", [0, 0.005])
@pytest.mark.parametrize(
    "stray",
    [STRAY, STRAY[:1], STRAY[:20], STRAY[:-5], b"\r\n"],
    ids=["whole", "1 byte", "20 bytes", "without the end", "CRLF"],
)
async def test_extra_response_on_an_idle_connection_is_discarded(aelyst: Opener, pause: float, stray: bytes) -> None:
    async with RawServer(twice(pause, stray)) as server:
        gateway = aelyst(server.url, retry=ONCE)
        for number in range(1, 6):
            assert (await gateway.get(f"id:{number}")).id == str(number)
            await asyncio.sleep(0.02)
    assert len(server.requests) == 5
    if stray != b"\r\n" and (pause or stray in {STRAY, STRAY[:-5]}):
        assert server.connections >= 4


@pytest.mark.parametrize("rest", [STRAY, b""], ids=["stray", "closed"])
async def test_unread_bytes_or_eof_on_a_pooled_connection_are_detected(aelyst: Opener, rest: bytes) -> None:
    """The loop is blocked while stray bytes or EOF arrive, so they are still unread in the kernel."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        gateway = aelyst(f"http://127.0.0.1:{listener.getsockname()[1]}", retry=ONCE)
        first = asyncio.create_task(gateway.get("id:1"))
        peer, _ = await loop.sock_accept(listener)
        await loop.sock_recv(peer, 65_536)
        await loop.sock_sendall(peer, whole({"id": 1}))
        assert (await first).id == "1"
        if rest:
            peer.send(rest)
        else:
            peer.shutdown(socket.SHUT_WR)
        time.sleep(0.02)  # noqa: ASYNC251 - blocks the loop on purpose
        second = asyncio.create_task(gateway.create(ANN, identifier="phone:+1"))
        other, _ = await asyncio.wait_for(loop.sock_accept(listener), 2)
        await loop.sock_recv(other, 65_536)
        await loop.sock_sendall(other, whole({"code": "200", "message": "created"}))
        assert (await second).created is True
        peer.close()
        other.close()


async def test_clean_connection_is_reused(aelyst: Opener) -> None:
    async with RawServer(reply(200, {"id": 1})) as server:
        gateway = aelyst(server.url)
        for _ in range(10):
            await gateway.get("id:1")
            await asyncio.sleep(0)
    assert server.connections == 1


OTHERS: dict[str, tuple[Any, Callable[[Any], Awaitable[Any]], object, bool]] = {
    "aelyst get": (AelystGateway, lambda gateway: gateway.get("id:2"), {"id": 99}, False),
    "aelyst get, text": (AelystGateway, lambda gateway: gateway.get("id:2"), {"id": "99"}, False),
    "aelyst update": (AelystGateway, lambda gateway: gateway.update("id:2", ANN), {"contactId": 99}, True),
    "dmchamp update": (
        DmChampGateway,
        lambda gateway: gateway.update("id:abc", DmChampFields(first_name="Ann")),
        {"success": True, "contact": {"contactId": "xyz"}},
        True,
    ),
    "dmchamp list": (
        DmChampGateway, lambda gateway: gateway.add_to_list("id:abc", "l"), {"success": True, "contactId": "xyz"}, True,
    ),
    "callab get": (CallabGateway, lambda gateway: gateway.get("id:2"), {"status": "ok", "data": {"id": "99"}}, False),
}  # fmt: skip


@pytest.mark.parametrize("borrowed", [False, True], ids=["own", "borrowed"])
@pytest.mark.parametrize("call", OTHERS)
async def test_response_about_another_id_is_rejected_and_connection_closed(call: str, borrowed: bool) -> None:
    kind, make, body, applied = OTHERS[call]
    async with RawServer(reply(200, body)) as server, aiohttp.ClientSession() as session:
        gateway = kind(
            "token", base_url=server.url, retry=ONCE, limiter=free_limiter()[1], session=session if borrowed else None
        )
        for _ in range(2):
            with pytest.raises(errors.ResponseDecodeError, match="another") as caught:
                await make(gateway)
            assert caught.value.may_have_been_applied is applied
        await gateway.aclose()
    assert server.connections == len(server.requests) == 2


@pytest.mark.parametrize("sent_id", [7, "7", "07"])
async def test_response_id_may_be_written_differently(aelyst: Opener, sent_id: object) -> None:
    async with RawServer(reply(200, {"id": sent_id})) as server:
        assert (await aelyst(server.url).get("id:7")).id == str(sent_id)


# ---- sent or not ----------------------------------------------------------------------------------------------------


async def refuse_connect(connection: Connection, seen: Seen) -> bool:
    assert seen.method == "CONNECT"
    return await stop(connection, seen)


@pytest.mark.parametrize("borrowed", [False, True], ids=["own", "borrowed"])
@pytest.mark.parametrize(
    "answer", [refuse_connect, reply(502), raw(b"HTTP/1.1 200 OK\r\n\r\n"), raw(b"nonsense\r\n\r\n"), hang]
)
async def test_failed_proxy_connect_is_not_reported_as_perhaps_applied(
    monkeypatch: pytest.MonkeyPatch, aelyst: Opener, answer: Any, borrowed: bool
) -> None:
    limiter, lent = free_limiter()
    async with RawServer(answer) as proxy, aiohttp.ClientSession(trust_env=True) as session:
        monkeypatch.setenv("https_proxy", proxy.url)
        gateway = aelyst(
            "https://contacts.example", limiter=lent, retry=ONCE, timeout=0.5, session=session if borrowed else None
        )
        with pytest.raises(errors.TransportError) as caught:
            await gateway.create(ANN, identifier="phone:+1")
    assert caught.value.may_have_been_applied is False
    assert [permit.was_unsent for permit in limiter.permits] == [True]


@pytest.mark.parametrize("lent", ["own", "borrowed", "made by us"])
@pytest.mark.parametrize("answer", [hang, stop])
async def test_sent_request_without_response_may_have_been_applied(aelyst: Opener, answer: Any, lent: str) -> None:
    limiter, free = free_limiter()
    async with RawServer(answer) as server:
        session = aiohttp.ClientSession() if lent == "borrowed" else make_session(server.url)
        async with session:
            gateway = aelyst(
                server.url,
                limiter=free,
                retry=ONCE,
                timeout=1 if answer is hang else 5,  # a busy machine may need most of it to connect
                session=None if lent == "own" else session,
            )
            with pytest.raises(errors.TransportError) as caught:
                await gateway.create(ANN, identifier="phone:+1")
        assert len(server.requests) == 1
    assert caught.value.may_have_been_applied is True
    assert [permit.was_unsent for permit in limiter.permits] == [False]


async def test_borrowed_session_keeps_its_trace_configs(aelyst: Opener) -> None:
    seen: list[str] = []
    trace = aiohttp.TraceConfig()

    async def noted(*_: object) -> None:
        seen.append("sent")

    trace.on_request_headers_sent.append(noted)
    async with RawServer(reply(200, {"id": 1})) as server, aiohttp.ClientSession(trace_configs=[trace]) as session:
        await aelyst(server.url, session=session).get("id:1")
        assert session.trace_configs == [trace]
    assert seen == ["sent"]


# ---- two loops ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_gateway_left_open_when_its_loop_ends_is_closed_without_warning(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        gateway = AelystGateway("t", base_url=f"http://127.0.0.1:{listener.getsockname()[1]}")

        async def first() -> None:
            loop = asyncio.get_running_loop()
            call = asyncio.create_task(gateway.get("id:1"))
            peer, _ = await loop.sock_accept(listener)
            await loop.sock_recv(peer, 65_536)
            await loop.sock_sendall(peer, whole({"id": 1}))
            await call
            peer.close()

        async def second() -> None:
            with pytest.raises(errors.ConfigurationError, match="another event loop"):
                await gateway.get("id:1")

        asyncio.run(first())
        asyncio.run(second())
        session = gateway._transport._session._session
        assert session is not None
        assert session.closed
        session = None
        gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
    assert [str(warning.message) for warning in recwarn] == []


async def test_certificate_that_is_not_trusted_is_named_and_nothing_was_sent(aelyst: Opener, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem"
    options = ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = await asyncio.create_subprocess_exec(
        *command.split(), *options, cwd=tmp_path, stderr=asyncio.subprocess.DEVNULL
    )
    assert await made.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        gateway = aelyst(f"https://127.0.0.1:{port}", retry=ONCE)
        with pytest.raises(errors.TransportError, match="the server's TLS certificate is not valid") as caught:
            await gateway.create(ANN, identifier="phone:+60123456789")
    assert caught.value.may_have_been_applied is False
    assert heard == []
