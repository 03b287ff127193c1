"""Small values of the transport: responses in odd charsets, paths, and credentials where they must not go."""

from __future__ import annotations

import pickle

import pytest

from aelyst_async import errors
from aelyst_async.transport.credentials import Secret, bare
from aelyst_async.transport.direct import head_of
from aelyst_providers.aelyst import AelystGateway
from tests.providers.reading import answer
from tests.servers import RawServer, reply
from tests.transport.conftest import Opener


@pytest.mark.parametrize("charset", ["klingon", "windows-9999", "iso-8859-99"])
async def test_a_charset_that_python_lacks_is_a_decode_error(aelyst: Opener, charset: str) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    async with RawServer(reply(200, b'{"firstName": "\xff"}', headers)) as server:
        with pytest.raises(errors.ResponseDecodeError, match="not JSON"):
            await aelyst(server.url).get("id:1")


@pytest.mark.parametrize("path", ["/a/%00", "/a/%250a", "/a/%25250d"])
async def test_request_refuses_control_characters_however_often_they_are_encoded(aelyst: Opener, path: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="encoded control characters"):
        await aelyst("http://127.0.0.1:9").request("GET", path)


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb"])
def test_a_header_holds_no_line_break(value: str) -> None:
    from yarl import URL

    with pytest.raises(ValueError, match="line break"):
        head_of(URL("http://h/"), {"X-A": value})


def test_a_credential_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="cannot be pickled") as refusal:
        pickle.dumps(Secret("s3cret"))
    assert "s3cret" not in repr(refusal.value)


def test_errors_of_a_group_lose_their_frames_and_causes() -> None:
    class FoundGroupError(Exception):
        exceptions: tuple[Exception, ...] = ()

    inner = ValueError("inner")
    with pytest.raises(ValueError, match="inner"):
        raise inner from KeyError("s3cret")
    group = FoundGroupError("outer")
    group.exceptions = (inner,)
    assert bare(group) is group
    assert (inner.__cause__, inner.__context__, inner.__traceback__) == (None, None, None)


def test_raw_responses_show_their_gateway_and_no_credential() -> None:
    gateway = AelystGateway("s3cret")
    assert repr(gateway.with_raw_response) == f"<raw responses of {gateway!r}>"
    assert "s3cret" not in repr(gateway.with_raw_response)


def test_times_outside_the_calendar_and_numbers_that_are_none_are_read_as_absent() -> None:
    from aelyst_providers.callab.wire import read_contact

    contact = read_contact(answer({"data": {"id": "c1", "created_at": "9" * 30, "updated_at": "2025-04-03T09:30:00Z"}}))
    assert contact.created_at is None
    assert contact.updated_at is not None
