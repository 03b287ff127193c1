"""No credential in logs, errors or events: every fault, with the credential echoed in every encoding.

The credential has special characters around a core of letters that no escape changes. If the core appears in a
log record, an error, a repr, a pickle or the variables of a traceback's frames, a test fails.
"""

from __future__ import annotations

import asyncio
import gzip
import html
import json
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async import Email, Phone, RetryPolicy, errors, open_gateway
from aelyst_async.errors import ContactsError
from aelyst_async.transport.redaction import MASK, Redactor
from aelyst_providers.aelyst import AelystFields, AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampFields, DmChampGateway
from tests.doubles import free_limiter
from tests.servers import Answer, Connection, RawServer, Seen, hang, head, raw, reply, reset, stop

pytestmark = pytest.mark.hostile

CORE = "hunter2hunter2"
SECRET = f"{CORE}/+=\"'&<>\\?#%41~{CORE}"


def percent(text: str) -> str:
    return "".join(f"%{ord(character):02x}" for character in text)


def every_special(form: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "".join(character if character.isalnum() else form(character) for character in text)


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent": lambda text: quote(text, safe=""),
    "percent, but not /": quote,
    "form": quote_plus,
    "percent, lower case": every_special(percent),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent thrice": lambda text: quote(quote(quote(text, safe=""), safe=""), safe=""),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "JSON with \\/": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON with \\u": every_special(lambda character: f"\\u{ord(character):04X}"),
    "percent in JSON": lambda text: json.dumps(quote(text))[1:-1],
    "HTML": html.escape,
    "HTML, decimal": every_special(lambda character: f"&#{ord(character)};"),
    "HTML, padded hex": every_special(lambda character: f"&#x{ord(character):04X};"),
    "HTML of HTML": lambda text: html.escape(html.escape(text)),
    "repr": lambda text: repr(text)[1:-1],
    "repr of repr": lambda text: repr(repr(text)),
    "swapped case": str.swapcase,
    "a line break": lambda text: f"{text[:9]}\n{text[9:]}",
    "folded": lambda text: "\r\n ".join(text[at : at + 5] for at in range(0, len(text), 5)),
    "folded, in JSON": lambda text: json.dumps("\r\n\t".join(text[at : at + 7] for at in range(0, len(text), 7)))[1:-1],
    "folded, in JSON in JSON": lambda text: json.dumps(json.dumps(f"{text[:11]}\n{text[11:]}")[1:-1])[1:-1],
    "folded, percent": lambda text: quote(f"{text[:5]}\r\n{text[5:]}", safe=""),
    "folded, quoted-printable": lambda text: f"{text[:11]}=\r\n{text[11:]}",
    "HTML breaks": lambda text: "<br/>".join((text[:3], text[3:])),
    "one character per line": "\n".join,
    "some characters only": lambda text: text.replace("&", "\\u0026").replace("<", "\\u003c").replace("'", "\\u0027"),
}


@pytest.mark.parametrize("form", FORMS)
def test_redactor_masks_the_credential_in_every_encoding(form: str) -> None:
    redactor = Redactor()
    redactor.learn(SECRET)
    text = FORMS[form](SECRET)
    scrubbed = redactor.scrub(f"before {text} after").lower()
    assert scrubbed.count("hunter2") == "".join(scrubbed.split()).count("hunter2") == 0
    assert redactor.scrub(f"before {text} after").startswith("before ")
    assert redactor.scrub(f"before {text} after").endswith(" after")


@pytest.mark.parametrize("secret", [r"0\V0", r"a\nb=c", "x%0Ay", "k<br>y", r"\t\\r="])
@pytest.mark.parametrize("form", FORMS)
def test_redactor_masks_a_credential_that_contains_an_escaped_line_break(secret: str, form: str) -> None:
    redactor = Redactor()
    redactor.learn(secret)
    assert MASK in redactor.scrub(f"before {FORMS[form](secret)} after")


credentials = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@given(credentials, st.sampled_from(sorted(FORMS)), st.text(max_size=20), st.text(max_size=20))
def test_redactor_masks_any_credential_in_every_encoding(secret: str, form: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.learn(secret)
    text = FORMS[form](secret)
    scrubbed = redactor.scrub(before + text + after)
    assert MASK in scrubbed
    if form == "plain" and secret not in MASK * 3:
        assert secret not in scrubbed


@given(st.lists(credentials, min_size=1, max_size=20, unique=True))
def test_redactor_remembers_the_last_sixteen_credentials(secrets: list[str]) -> None:
    redactor = Redactor()
    for secret in secrets:
        redactor.learn(secret)
    assert redactor.scrub("") == ""
    for secret in secrets[-16:]:
        assert MASK in redactor.scrub(f"<{secret}>")
    assert not any(secret in repr(redactor) for secret in secrets if len(secret) > 12)


@given(st.integers(0, 5_000), st.integers(1, 3_000), st.text(alphabet="ab%/", max_size=5))
def test_preview_never_shows_a_part_of_the_credential(position: int, length: int, filler: str) -> None:
    secret = "S3CR3T/" * 20
    redactor = Redactor()
    redactor.learn(secret)
    shown = redactor.preview("x" * position + quote(secret, safe="") * 50 + filler, length)
    assert "S3CR3T" not in shown
    assert len(shown) <= length


def test_preview_of_a_large_body_has_full_length() -> None:
    redactor = Redactor()
    redactor.learn(SECRET)
    assert redactor.preview("x" * 8_000_000, 2048) == "x" * 2048
    assert redactor.preview(SECRET * 100_000, 2048).replace(MASK, "") == ""


@pytest.mark.parametrize("text", ["token-1234-xyzzy", "token-1\n234-xyzzy", "token-1%0A234-xyzzy"])
def test_redactor_leaves_no_part_of_overlapping_credentials(text: str) -> None:
    redactor = Redactor()
    for secret in ("token-1234", "1234-xyzzy-long", "234-xyzzy"):
        redactor.learn(secret)
    assert redactor.scrub(f"<{text}>") == f"<{MASK}>"


def test_redactor_is_not_slow_for_a_credential_of_backslashes() -> None:
    redactor = Redactor()
    redactor.learn("a" + "\\" * 30 + "/" * 30 + "b")
    text = ("a" + "\\" * 2_000 + "/" * 2_000) * 20
    assert redactor.scrub(text) == text


# ---- faults over the wire -------------------------------------------------------------------------------------------


def echo(make: Callable[[Seen], bytes]) -> Answer:
    async def answer(connection: Connection, seen: Seen) -> bool:
        await connection.send(make(seen))
        return False

    return answer


def answered(status: int, body: object, headers: list[tuple[str, str]] | None = None) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(status, [("Content-Length", str(len(content))), *(headers or [])]) + content


def in_error(form: Callable[[str], str], status: int) -> Answer:
    text = form(SECRET)
    return echo(
        lambda seen: answered(status, {"code": text, "error_code": text, "message": f"bad key {text}", "error": text})
    )


def header_safe(form: Callable[[str], str]) -> str:
    return form(SECRET).replace("\n", "")


OVER_THE_WIRE = {
    name: form for name, form in FORMS.items() if not any(word in name for word in ("break", "fold", "line"))
}

FAULTS: dict[str, Answer] = {
    "reset": reset,
    "stop": stop,
    "hang": hang,
    "garbage that echoes": echo(lambda seen: f"{SECRET} {seen.target} {seen.headers}\r\n\r\n".encode()),
    "status line that echoes": echo(lambda seen: f"HTTP/1.1 400 {SECRET}\r\nContent-Length: 0\r\n\r\n".encode()),
    "header line that is broken": echo(lambda seen: f"HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n".encode()),
    "header name that echoes": echo(lambda seen: f"HTTP/1.1 400 OK\r\n{SECRET}: 1\r\n\r\n".encode()),
    "header that is too long": echo(lambda seen: f"HTTP/1.1 200 OK\r\nX: {SECRET * 2_000}\r\n\r\n".encode()),
    "length that echoes": echo(lambda seen: f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\n\r\n".encode()),
    "chunk size that echoes": echo(
        lambda seen: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n".encode()
    ),
    "redirect that echoes": echo(
        lambda seen: answered(302, b"", [("Location", f"https://evil.example/?k={quote(SECRET)}&t={seen.target}")])
    ),
    "cookie that echoes": echo(
        lambda seen: answered(401, b"", [("Set-Cookie", f"key={quote(SECRET)}"), ("X-Key", SECRET)])
    ),
    "encoding that echoes": echo(lambda seen: answered(200, b"x", [("Content-Encoding", SECRET)])),
    "retry-after that echoes": echo(lambda seen: answered(429, b"", [("Retry-After", SECRET)])),
    "the whole request, as 400": echo(lambda seen: answered(400, json.dumps([seen.target, seen.headers]).encode())),
    "the whole request, as 200": echo(lambda seen: answered(200, json.dumps([seen.target, seen.headers]).encode())),
    "the whole request, no JSON": echo(lambda seen: answered(200, f"{seen.target} {seen.headers}".encode())),
    "a model with wrong types that echoes": echo(
        lambda seen: answered(200, {"id": [SECRET], "contactId": [SECRET], "data": {"id": {SECRET: 1}}, "status": "ok"})
    ),
    "in a bare JSON string": echo(lambda seen: answered(401, json.dumps(f"key {SECRET} is wrong").encode())),
    "error in a 200": echo(lambda seen: answered(200, {"success": False, "status": "error", "message": SECRET})),
    "in UTF-16": echo(lambda seen: answered(400, json.dumps({"message": SECRET}).encode("utf-16"))),
    "in gzip": echo(lambda seen: answered(400, gzip.compress(SECRET.encode()), [("Content-Encoding", "gzip")])),
    "at the end of a long body": echo(lambda seen: answered(500, b"x" * 2_000 + SECRET.encode() * 200)),
    "half a body": echo(lambda seen: answered(200, json.dumps([SECRET]).encode())[:-3]),
    "key of an object": echo(lambda seen: answered(200, {SECRET: {SECRET: SECRET}})),
    "nested": raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000),
    **{f"{status}, {name}": in_error(form, status) for name, form in OVER_THE_WIRE.items() for status in (400, 500)},
    "400, folded": in_error(FORMS["folded"], 400),
    **{
        f"header, {name}": echo(lambda seen, form=form: answered(503, b"", [("X-Echo", header_safe(form))]))  # type: ignore[misc]
        for name, form in OVER_THE_WIRE.items()
    },
}  # fmt: skip

ANN = AelystFields(first_name="Ann")
POLICY = RetryPolicy(max_attempts=2, base=0.001, cap=0.001, queued_base=0.001, total=5)

CALLS: dict[str, tuple[str, Callable[[Any], Awaitable[Any]]]] = {
    "aelyst get": ("aelyst", lambda gateway: gateway.get("email:ann@example.com")),
    "aelyst create": ("aelyst", lambda gateway: gateway.create(ANN, identifier="phone:+1")),
    "aelyst upsert": ("aelyst", lambda gateway: gateway.upsert("phone:+1", ANN)),
    "dmchamp get": ("dmchamp", lambda gateway: gateway.get("phone:+1")),
    "dmchamp create": ("dmchamp", lambda gateway: gateway.create(DmChampFields(phone="+1"))),
    "dmchamp lists": ("dmchamp", lambda gateway: gateway.add_to_list("id:1", "l")),
    "dmchamp messages": ("dmchamp", lambda gateway: gateway.messages("id:1")),
    "callab get": ("callab", lambda gateway: gateway.get("id:1")),
}


class Records(logging.Handler):
    """Keeps all log records."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text += [record.getMessage(), repr(record.args), repr(vars(record))]
        if record.exc_info and record.exc_info[1] is not None:
            self.text += list(all_strings(record.exc_info[1]))


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in ("asyncio", "aiohttp", "aelyst_async"))]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest_asyncio.fixture
async def gateways() -> AsyncIterator[Callable[..., Any]]:
    opened: list[Any] = []

    def make(provider: str, url: str, timeout: float = 20) -> Any:
        kind: Any = {"aelyst": AelystGateway, "dmchamp": DmChampGateway, "callab": CallabGateway}[provider]
        opened.append(kind(SECRET, base_url=url, retry=POLICY, limiter=free_limiter()[1], timeout=timeout, settle=0))
        return opened[-1]

    yield make
    for gateway in opened:
        await gateway.aclose()


def all_strings(error: BaseException, seen: set[int] | None = None) -> Iterator[str]:
    """Yield all strings that an error, its causes, contexts and attributes can show."""
    seen = set() if seen is None else seen
    if id(error) in seen:
        return
    seen.add(id(error))
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)), repr(getattr(error, "__notes__", "")))
    yield "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, ContactsError):
        yield repr(pickle.dumps(error, 0))
        headers = getattr(error, "headers", {})
        yield repr(list(headers.items()))
    for other in (error.__cause__, error.__context__, *error.args):
        if isinstance(other, BaseException):
            yield from all_strings(other, seen)


def assert_clean(texts: list[str]) -> None:
    for text in texts:
        at = text.lower().find("hunter2")
        assert at < 0, text[max(0, at - 200) : at + 200]


@pytest.mark.parametrize(
    "call",
    [
        call if call in ("aelyst upsert", "dmchamp get") else pytest.param(call, marks=pytest.mark.slow)
        for call in CALLS
    ],
)
async def test_faults_show_the_credential_in_no_log_error_or_event(
    call: str, records: Records, gateways: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, make_call = CALLS[call]
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.000_001  # asyncio logs every callback, with its arguments
    texts: list[str] = []
    failed = 0
    for name, fault in FAULTS.items():
        if name == "hang" and "get" not in call:
            continue
        async with RawServer(fault) as server:
            gateway = gateways(provider, server.url, 1.0 if name == "hang" else 20)
            events: list[str] = []
            gateway.subscribe(*[lambda event, events=events: events.append(repr(event))])
            try:
                await make_call(gateway)
            except ContactsError as error:
                failed += 1
                texts += all_strings(error)
            texts += [
                repr(gateway),
                repr(vars(gateway)),
                repr(vars(gateway._transport)),
                await gateway.account(),
                *events,
            ]
            assert server.requests, name
            assert CORE in (server.requests[0].target + server.requests[0].headers.get("authorization", "")), name
            assert events
    loop.set_debug(False)
    assert failed > 0.9 * len(FAULTS)
    assert any("aelyst" in text or "attempt" in text for text in records.text), "nothing was logged: nothing was tested"
    assert any(text.startswith("Executing") for text in records.text), "asyncio's debug records are missing"
    assert_clean(texts)
    assert_clean(records.text)


@pytest.mark.parametrize("call", ["aelyst create", "aelyst upsert", "dmchamp create", "dmchamp lists"])
async def test_receipt_message_is_redacted_when_a_success_echoes_the_credential(
    call: str, gateways: Callable[..., Any]
) -> None:
    provider, make_call = CALLS[call]
    body = {"id": "1", "contactId": 1, "message": f"key {SECRET} is accepted"}
    async with RawServer(echo(lambda seen: answered(200, body))) as server:
        receipt = await make_call(gateways(provider, server.url))
    assert receipt.message == f"key {MASK} is accepted"
    assert_clean([repr(receipt)])


QUIET = ["reset", "stop", "hang", "nested"]


@pytest.mark.parametrize("call", CALLS)
async def test_traceback_variables_do_not_hold_the_credential(call: str, gateways: Callable[..., Any]) -> None:
    """Error trackers and `pytest --showlocals` print the local variables of each frame."""
    provider, make_call = CALLS[call]
    frames: set[str] = set()
    body = {"message": [SECRET], "id": {"x": SECRET}, "data": SECRET}
    echoed = reply(200, [body] if call == "dmchamp lists" else body)
    for fault in (*(FAULTS[name] for name in QUIET), reply(404), reply(429), reply(200, b"nonsense"), echoed):
        async with RawServer(fault) as server:
            with pytest.raises(ContactsError) as caught:
                await make_call(gateways(provider, server.url, 0.5 if fault is hang else 20))
        for frame, _ in traceback.walk_tb(caught.value.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                frames.add(frame.f_code.co_name)
                assert_clean([f"{name}={value!r}" for name, value in frame.f_locals.items()])
    assert {"exchange", "call", call.partition(" ")[2].replace("lists", "add_to_list")} <= frames


WRONG: dict[str, dict[str, Any]] = {
    "base_url": {"base_url": "ftp://x"}, "timeout": {"timeout": -1}, "retry": {"retry": 1}, "settle": {"settle": -1},
    "limiter": {"limiter": 1}, "session": {"session": 1}, "contact_path": {"contact_path": "x"}, "unknown": {"x": 1},
}  # fmt: skip


def variables(error: BaseException) -> list[str]:
    return [
        f"{name}={value!r}"
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if "/tests/" not in frame.f_code.co_filename
        for name, value in frame.f_locals.items()
    ]


@pytest.mark.parametrize(
    ("provider", "wrong"),
    [(provider, wrong) for provider in ("aelyst", "dmchamp") for wrong in WRONG if wrong != "contact_path"]
    + [("callab", wrong) for wrong in WRONG],
)
def test_invalid_setting_shows_no_credential(provider: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        {"aelyst": "AELYST_TOKEN", "dmchamp": "DMCHAMP_API_KEY", "callab": "CALLAB_TOKEN"}[provider], SECRET
    )
    kind: Any = {"aelyst": AelystGateway, "dmchamp": DmChampGateway, "callab": CallabGateway}[provider]
    makers: list[Callable[[], Any]] = [lambda: open_gateway(provider, **WRONG[wrong])]
    makers += [] if wrong == "unknown" else [lambda: kind(SECRET, **WRONG[wrong])]
    for make in makers:
        with pytest.raises(errors.ConfigurationError) as caught:
            make()
        assert variables(caught.value)
        assert_clean(variables(caught.value))


@pytest.mark.parametrize(
    "secret", [f"{SECRET}\n", f" {SECRET}", f"{SECRET}é", SECRET.encode(), [SECRET], {"key": SECRET}]
)
async def test_invalid_credential_is_not_shown(secret: Any) -> None:
    async def later() -> Any:
        return secret

    with pytest.raises(errors.ConfigurationError) as caught:
        AelystGateway(secret)
    assert_clean(variables(caught.value))
    for source in (lambda: secret, later):
        with pytest.raises(errors.ConfigurationError) as caught:
            await AelystGateway(source, base_url="http://127.0.0.1:1").get("id:1")
        assert any("resolve" in frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__))
        assert_clean([text for text in variables(caught.value) if "object at 0x" not in text])


async def test_failed_connection_shows_no_credential(records: Records, gateways: Callable[..., Any]) -> None:
    for url in ("http://127.0.0.1:1", "https://127.0.0.1:1", "https://nowhere.invalid"):
        with pytest.raises(errors.TransportError) as caught:
            await gateways("dmchamp", url).get(Email("a@b.c"))
        assert_clean(list(all_strings(caught.value)))
    assert_clean(records.text)


async def test_echoed_header_name_shows_no_credential() -> None:
    answer = echo(lambda seen: f"HTTP/1.1 400 OK\r\n{CORE}: 1\r\nContent-Length: 0\r\n\r\n".encode())
    async with RawServer(answer) as server, AelystGateway(CORE, base_url=server.url) as gateway:
        with pytest.raises(errors.BadRequestError) as caught:
            await gateway.get("id:1")
    assert_clean(list(all_strings(caught.value)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_request_rejected_by_aiohttp_shows_no_credential(records: Records) -> None:
    """The session adds its own authorization, so aiohttp raises a ValueError."""
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("u", CORE)) as session:
        gateway = AelystGateway(SECRET, base_url="http://127.0.0.1:9", session=session, limiter=free_limiter()[1])
        with pytest.raises(errors.ConfigurationError) as caught:
            await gateway.get(Phone("+1"))
    assert_clean(list(all_strings(caught.value)))
    assert_clean(records.text)


def test_assert_clean_finds_the_credential_in_every_place() -> None:
    """Tests the helpers of this module."""

    inner = ValueError(SECRET)
    caused, noted, in_context = errors.TransportError("x"), errors.TransportError("x"), errors.TransportError("x")
    caused.__cause__ = inner
    in_context.__context__ = inner
    vars(noted)["__notes__"] = [SECRET]
    hiding = [
        caused, in_context, noted, errors.TransportError(SECRET), errors.TransportError("x", url=SECRET),
        errors.ApiError(status=400, headers={"X": SECRET}), errors.ApiError(status=400, code=SECRET),
    ]  # fmt: skip
    for error in hiding:
        with pytest.raises(AssertionError):
            assert_clean(list(all_strings(error)))
