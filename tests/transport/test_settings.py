"""Invalid or unsafe settings are rejected when the gateway is constructed."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from aelyst_async import RateLimiter, errors
from aelyst_async.transport.settings import check_base_url, make_timeout, masked_url
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway
from tests.servers import RawServer, reply
from tests.transport.conftest import Opener


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("https://api.example.com///", "https://api.example.com"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("http://127.0.0.1:8787/aelyst/v1", "http://127.0.0.1:8787/aelyst/v1"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:1", "http://[::1]:1"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://LOCALHOST:1", "http://LOCALHOST:1"),
        ("http://api.localhost", "http://api.localhost"),
        ("HTTPS://api.example.com", "HTTPS://api.example.com"),
    ],
)
def test_check_base_url_accepts_and_normalizes_urls(given: str, kept: str) -> None:
    assert check_base_url(given, allow_insecure=False) == kept


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com", "http://10.0.0.1", "http://0.0.0.0", "http://localhost.evil.example",
        "http://127.0.0.1.evil.example", "http://127.0.0.1@evil.example", "http://evil.example#@127.0.0.1",
        "http://evil.example\\@127.0.0.1", "HTTP://api.example.com", "http://2130706433", "http://[::ffff:10.0.0.1]",
        "http://notlocalhost", "http://[fe80::1%25lo]",
    ],
)  # fmt: skip
def test_plain_http_is_rejected_for_remote_hosts(url: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        AelystGateway("t", base_url=url)


def test_allow_insecure_permits_plain_http() -> None:
    assert AelystGateway("t", base_url="http://api.example.com", allow_insecure=True).base_url


@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize(
    "url",
    [
        "", "/", "api.example.com", "//api.example.com", "ftp://api.example.com", "https://", "https:///v1",
        "https://user:pw@api.example.com", "https://user@api.example.com", "https://@api.example.com",
        "https://api.example.com?x=1", "https://api.example.com?", "https://api.example.com#", "https://api.example.com/#x",
        "https://api.example.com/a b", "https://api.example.com/\n", "https://bücher.example", "https://api.example.com:x",
        "https://api.example.com:99999", "https://[::1", "https://api.example.com/\x7f", "javascript:alert(1)",
        None, 1, b"https://api.example.com",
    ],
)  # fmt: skip
def test_gateway_rejects_invalid_base_urls(url: Any, allow: bool) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        DmChampGateway("k", base_url=url, allow_insecure=allow)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1//", "/a%20b/v1"])
async def test_request_paths_are_joined_to_the_base_url(aelyst: Opener, suffix: str) -> None:
    async with RawServer(reply(200, {"id": 1})) as server:
        await aelyst(server.url.replace("http", "HTTP") + suffix).get("id:1")
    assert server.requests[0].target == suffix.rstrip("/") + "/contact/id:1"


@pytest.mark.parametrize(
    ("given", "total", "connect"),
    [
        (30.0, 30.0, 5.0),
        (None, 30.0, 5.0),
        (2, 2.0, 1.8),
        (aiohttp.ClientTimeout(), 30.0, 5.0),
        (aiohttp.ClientTimeout(total=None), 30.0, 5.0),
        (aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None), 30.0, 5.0),
        (aiohttp.ClientTimeout(total=60, connect=20), 60.0, 20.0),
    ],
)
def test_make_timeout_always_bounds_total_and_connect(given: Any, total: float, connect: float) -> None:
    timeout = make_timeout(given)
    assert (timeout["total"], timeout["connect"]) == (total, connect)
    assert None not in timeout.values()


def test_make_timeout_keeps_the_socket_timeouts() -> None:
    assert make_timeout(aiohttp.ClientTimeout(sock_read=3, sock_connect=2)) == {
        "total": 30.0, "connect": 5.0, "sock_read": 3.0, "sock_connect": 2.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "timeout",
    [
        0, -1, 0.0, float("nan"), float("inf"), "30", True, False, object(), (5, 30), 10**400,
        aiohttp.ClientTimeout(total=0), aiohttp.ClientTimeout(total=-1), aiohttp.ClientTimeout(sock_read=float("nan")),
        aiohttp.ClientTimeout(connect=0),
    ],
)  # fmt: skip
def test_gateway_rejects_invalid_timeouts(timeout: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="timeout"):
        CallabGateway("t", timeout=timeout)


@pytest.mark.parametrize("settle", [-1, None, "1", float("nan"), float("inf"), True, 10**400])
def test_gateway_rejects_invalid_settle(settle: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="settle"):
        AelystGateway("t", settle=settle)


@pytest.mark.parametrize("retry", [None, 3, {"max_attempts": 1}])
def test_gateway_rejects_invalid_retry(retry: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="retry"):
        AelystGateway("t", retry=retry)


@pytest.mark.parametrize("limiter", [1, "10/s", RateLimiter, object()])
def test_gateway_rejects_invalid_limiter(limiter: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="limiter: expected a RateLimiter"):
        AelystGateway("t", limiter=limiter)


@pytest.mark.parametrize("session", [1, "session", aiohttp.ClientSession, object()])
def test_gateway_rejects_invalid_session(session: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"session: expected an aiohttp\.ClientSession"):
        AelystGateway("t", session=session)


@pytest.mark.parametrize(
    "path",
    ["contact/{id}", "/contact", "/c/{id}/{id}", "/c/{id}?x", "/c/{id}#", "/c d/{id}", "/ü/{id}", "", None, 5],
)
def test_callab_gateway_rejects_invalid_contact_path(path: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="contact_path"):
        CallabGateway("t", contact_path=path)


@pytest.mark.parametrize(
    "secret", ["", " ", "hun ter", "hunter\n", "\thunter", "hun\x00ter", "hünter", None, 1, b"hunter", ["h"]]
)
@pytest.mark.parametrize("kind", [AelystGateway, DmChampGateway, CallabGateway])
def test_gateways_reject_invalid_credentials(kind: Any, secret: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"token|api_key") as caught:
        kind(secret)
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("https://[::1]:8080/a@b/c", "https://[::1]:8080/a@b/c"),
        ("https://user:hunter2@host/v1", "https://***@host/v1"),
        ("https://hunter2@host", "https://***@host"),
        ("https://u:hunter2@x@host:1/", "https://***@host:1/"),
        ("https://host/v1?key=hunter2", "https://host/v1?***"),
        ("https://host/v1#hunter2", "https://host/v1#***"),
        ("https://host/#hunter2?x", "https://host/#***"),
        ("https://host/v1?", "https://host/v1?"),
        ("https:/u:hunter2@host", "***@host"),
        ("https:///u:hunter2@host/v1", "***@host/v1"),
        ("u:hunter2@host", "***@host"),
        ("", ""),
        (None, None),
        (5, 5),
    ],
)
def test_masked_url_hides_credentials(url: Any, masked: Any) -> None:
    assert masked_url(url) == masked
    if url != masked and url is not None:
        with pytest.raises(errors.ConfigurationError):
            check_base_url(masked, allow_insecure=True)  # the masked URL is rejected, as the original is
