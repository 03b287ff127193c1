"""Callab AI's JSON: two fields named status, times with and without a time zone, and errors in a 200."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from aelyst_async import errors
from aelyst_providers.callab import CallabContact
from aelyst_providers.callab.wire import read_contact
from tests.providers.reading import answer
from tests.providers.seeds import CALLAB_ANSWER

DATA: dict[str, Any] = CALLAB_ANSWER["data"]  # type: ignore[assignment]

AT = datetime(2023, 11, 7, 5, 31, 56, tzinfo=timezone.utc)


def read(**changes: Any) -> CallabContact:
    return read_contact(answer({**CALLAB_ANSWER, "data": {**DATA, **changes}}))


@pytest.mark.parametrize("key", [key for key in DATA if key != "id"])
def test_callab_contact_accepts_null_or_absent_keys(key: str) -> None:
    absent = {name: value for name, value in DATA.items() if name != key}
    assert read(**{key: None}) == read_contact(answer({**CALLAB_ANSWER, "data": absent}))


def test_callab_contact_status_is_not_the_envelope_status() -> None:
    assert read(status="error").status == "error"
    assert read(status=None).status is None


@pytest.mark.parametrize("code", ["+1", "US", "", None])
def test_callab_country_code_is_kept_unchanged(code: str | None) -> None:
    assert read(number_country_code=code).number_country_code == code


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2023-11-07T05:31:56Z", AT),
        ("2023-11-07T05:31:56", AT),
        ("2023-11-07 05:31:56", AT),
        ("2023-11-07T05:31:56.1Z", AT.replace(microsecond=100_000)),
        ("2023-11-07T05:31:56.123456789", AT.replace(microsecond=123_456)),
        ("2023-11-07T07:31:56+02:00", AT),
        ("2023-11-07T07:31:56.5+02:00", AT.replace(microsecond=500_000)),
        (" 2023-11-07T05:31:56z ", AT),
    ],
)
def test_callab_times_are_read_in_every_format(text: str, moment: datetime) -> None:
    contact = read(last_call_at=text, created_at=text, updated_at=text)
    for value in (contact.last_call_at, contact.created_at, contact.updated_at):
        assert value == moment
        assert value is not None
        assert value.tzinfo is not None


@pytest.mark.parametrize("value", ["yesterday", "", 5, [], "2023-13-45T00:00:00Z", "2023-11-07T05:31:56Zjunk"])
def test_callab_invalid_times_are_read_as_none(value: Any) -> None:
    contact = read(created_at=value)
    assert contact.created_at is None
    assert contact.raw["data"]["created_at"] == value


def test_callab_unknown_keys_are_kept_in_raw_only() -> None:
    contact = read(workspace_id="w", tags=[1], email={"no": "text"}, raw=5, first_name="wrong", phone="wrong")
    assert contact == read()
    assert contact.raw["data"]["workspace_id"] == "w"


@pytest.mark.parametrize(("name", "tags"), [("vip, gold", ("vip, gold",)), ("", ()), (None, ())])
def test_callab_tag_name_becomes_the_only_tag(name: str | None, tags: tuple[str, ...]) -> None:
    assert read(tag_name=name).tags == tags


@pytest.mark.parametrize("duration", [0, 123, 1.5])
def test_callab_call_duration_is_a_number(duration: float) -> None:
    assert read(last_call_duration=duration).last_call_duration == duration


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"status": "error", "message": "x", "data": ""}, errors.ApiError),
        ({"status": "error", "message": "Contact not found", "data": ""}, errors.ContactNotFoundError),
        ({"status": "ERROR", "message": "Contact does not exist"}, errors.ContactNotFoundError),
        ({"status": "error", "message": "Unauthorized", "data": DATA}, errors.AuthenticationError),
        ({"status": "fail", "data": None}, errors.ApiError),
        ({"status": "error", "message": {"no": "text"}}, errors.ApiError),
    ],
)
def test_callab_errors_in_a_200_raise_the_matching_class(body: Any, kind: type[errors.ApiError]) -> None:
    with pytest.raises(errors.ApiError) as caught:
        read_contact(answer(body))
    assert type(caught.value) is kind
    assert caught.value.status == 200


@pytest.mark.parametrize("body", [{}, {"id": "c1"}, {"status": None, "data": []}, [], "ok", None, b"", b"<html>"])
def test_callab_body_without_a_status_raises_decode_error(body: Any) -> None:
    with pytest.raises(errors.ResponseDecodeError):
        read_contact(answer(body))


def test_callab_error_without_message_is_not_called_ok() -> None:
    with pytest.raises(errors.ApiError, match="an error without words") as caught:
        read_contact(answer({"status": "error", "data": ""}))
    assert "OK" not in str(caught.value)


@pytest.mark.parametrize("status", ["ok", "OK", "success", "Ok"])
def test_callab_accepts_synonyms_of_ok(status: str) -> None:
    assert read_contact(answer({"status": status, "data": DATA})).id == DATA["id"]


@pytest.mark.parametrize(
    "body", [{"status": "ok"}, {"status": "ok", "data": ""}, {"status": "ok", "data": [DATA]}, [], "ok", None, 5, b"ok"]
)
def test_callab_success_without_a_contact_raises_decode_error(body: Any) -> None:
    with pytest.raises(errors.ResponseDecodeError):
        read_contact(answer(body))
