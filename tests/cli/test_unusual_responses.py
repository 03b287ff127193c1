"""The command line with unusual responses: characters that a terminal cannot show, and writes in doubt."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import pytest

from aelyst_async.cli import main
from tests.servers import Answer, RawServer, head, raw, reply, stop

Serve: TypeAlias = Callable[..., str]


@contextmanager
def served(*script: Answer) -> Iterator[str]:
    """Run a server in another thread, since the command runs its own event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = RawServer(*script)
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
    try:
        yield server.url
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(*script: Answer) -> str:
            url = stack.enter_context(served(*script))
            for name in ("AELYST", "DMCHAMP"):
                monkeypatch.setenv(f"{name}_BASE_URL", url)
                monkeypatch.setenv(f"{name}_TOKEN", "key")
                monkeypatch.setenv(f"{name}_API_KEY", "key")
            return url

        yield start


def json_text(text: str) -> Answer:
    content = text.encode()
    return raw(head(200, [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]) + content)


def terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    return written


HOSTILE = r'{"id": 1, "firstName": "Zo\u00eb \ud83d\u001b[31m", "custom_fields": [{"name": "n", "value": 1e400}]}'


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_get_json_is_valid_json_in_every_terminal_encoding(
    serve: Serve, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(json_text(HOSTILE))
    written = terminal(encoding, monkeypatch)
    assert main(["get", "id:1", "--from", "aelyst", "--json"]) == 0
    shown = json.loads(written.getvalue().decode(encoding), parse_constant=pytest.fail)
    assert (shown["first_name"], shown["custom_fields"][0]["value"]) == ("Zo\u00eb \ud83d\u001b[31m", "inf")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_get_escapes_characters_in_every_terminal_encoding(
    serve: Serve, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(json_text(HOSTILE))
    written = terminal(encoding, monkeypatch)
    assert main(["get", "id:1", "--from", "aelyst"]) == 0
    assert rb"\ud83d\x1b[31m" in written.getvalue()


@pytest.mark.parametrize("what", ["tags", "messages"])
def test_tags_and_messages_print_valid_json(serve: Serve, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(json_text(r'[{"name": "\ud800", "text": "\udfff", "x": 1e400}]'))
    written = terminal("utf-8", monkeypatch)
    assert main([what, "id:1", "--from", "dmchamp", "--json"]) == 0
    assert json.loads(written.getvalue(), parse_constant=pytest.fail)


@pytest.mark.parametrize("answer", [reply(500), reply(200, b"<html>"), stop])
def test_create_in_doubt_says_that_it_may_have_taken_effect(
    serve: Serve, answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(answer)
    assert main(["create", "email:a@b.co", "first_name=Ann", "--to", "aelyst"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "may have taken effect" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("nofield=1", "'nofield' is no field of aelyst; fields: first_name, "),
        ("frist_name=1", "(did you mean first_name?); fields: "),
        ("tags=x", "'tags': aelyst shows tags but takes no changes to it\n"),
        ("custom_fields.=x", "'custom_fields.': the custom field has no name\n"),
    ],
)
def test_unknown_field_error_gives_advice_for_update(
    serve: Serve, field: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(reply(500))
    assert main(["update", "id:1", field, "--to", "aelyst"]) == 2
    _, err = capsys.readouterr()
    assert words in err
    assert "--map" not in err
    assert "column" not in err


@pytest.mark.parametrize(
    ("status", "body", "headers", "message"),
    [
        (200, {"instance": "1", "paths": {"aelyst": "/aelyst"}}, {"X-Sandbox": "1"},
            "has no API named 'dmchamp'; it has sandbox:aelyst"),
        (200, {"instance": "1"}, {"X-Sandbox": "1"}, "the sandbox there has another version"),
        (404, {"message": "no account 'x'"}, {"X-Sandbox": "1"}, "no account 'x'"),
        (200, {"instance": "1"}, {}, "the server there is not a sandbox"),
    ],
    ids=["other APIs", "another version", "an error", "another server"],
)  # fmt: skip
def test_server_that_is_not_the_wanted_sandbox_is_named(
    serve: Serve, status: int, body: object, headers: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = serve(reply(status, body, headers))
    assert main(["get", "id:1", "--from", "sandbox:dmchamp", "--base-url", url]) == 2
    assert message in capsys.readouterr().err
