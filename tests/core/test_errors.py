"""The errors: class tree, messages, pickling and copying."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from multidict import CIMultiDict

from aelyst_async import Email, Phone, errors, parse_identifier
from aelyst_async.errors import ApiError, ContactsError, TransportError, error_class_for

TREE = {
    "ContactsError": "Exception",
    "ApiError": "ContactsError",
    "BadRequestError": "ApiError",
    "AuthenticationError": "ApiError",
    "ContactNotFoundError": "ApiError",
    "ConflictError": "ApiError",
    "RateLimitedError": "ApiError",
    "QueuedError": "ApiError",
    "ServerError": "ApiError",
    "TransportError": "ContactsError",
    "RequestTimeoutError": "TransportError",
    "ResponseDecodeError": "ContactsError",
    "PartialChangeError": "ContactsError",
    "InvalidIdentifierError": "ContactsError",
    "UnsupportedFieldError": "ContactsError",
    "UnsupportedOperationError": "ContactsError",
    "ConfigurationError": "ContactsError",
}

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ContactsError)]


def example(kind: Any) -> Any:
    full: dict[str, Any] = {}
    if issubclass(kind, ApiError):
        full = {
            "status": 449, "code": "E1", "message": "no", "method": "PUT", "url": "https://x/y",
            "headers": CIMultiDict({"X-A": "1"}), "body": "{}", "retry_after": 1.5, "attempts": 3,
            "may_have_been_applied": True, "repeatable": True, "endpoint": "/y", "identifier": Email("a@b.c"),
        }  # fmt: skip
    elif issubclass(kind, TransportError):
        full = {"message": "no", "may_have_been_applied": True, "method": "PUT", "url": "https://x/y", "attempts": 3}
    elif kind is errors.ResponseDecodeError:
        full = {
            "problem": "p", "status": 201, "method": "PUT", "url": "u", "body": "b", "attempts": 2,
            "may_have_been_applied": True,
        }  # fmt: skip
    elif kind is errors.PartialChangeError:
        full = {"done": ("a",), "left": ("b@example.com",), "failure": example(errors.ServerError)}
    make: Any = kind
    return make(**full) if full else make("words")


def state(error: ContactsError) -> dict[str, Any]:
    kind: Any = type(error)
    fields = {field.name: getattr(error, field.name) for field in attrs.fields(kind)} if attrs.has(kind) else {}
    return {name: state(value) if isinstance(value, ContactsError) else value for name, value in fields.items()}


def test_partial_change_error_counts_changes_and_masks_addresses() -> None:
    error = example(errors.PartialChangeError)
    assert str(error).startswith("applied in part: 1 went through ('a'), 1 did not ('…'): 449 no")
    assert error.may_have_been_applied is True


def test_error_classes_match_the_documented_tree() -> None:
    assert {kind.__name__ for kind in ALL} == set(TREE)
    for kind in ALL:
        assert kind.__mro__[1].__name__ == TREE[kind.__name__]
        assert kind.__name__ in (errors.__doc__ or "")
        assert kind.__name__ in errors.__all__


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidIdentifierError, ValueError),
        (errors.UnsupportedFieldError, ValueError),
        (errors.ConfigurationError, ValueError),
        (errors.UnsupportedOperationError, TypeError),
    ],
)
def test_errors_derive_from_matching_builtins(kind: type[ContactsError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin):
        raise kind("words")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "again",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deepcopy"],
)
def test_errors_survive_pickle_and_copy(kind: type[ContactsError], again: Any) -> None:
    error = example(kind)
    vars(error)["__notes__"] = ["row 7"]  # what add_note does, from Python 3.11
    other: Any = again(error)
    assert type(other) is kind
    assert other is not error
    assert (str(other), repr(other), repr(other.args)) == (str(error), repr(error), repr(error.args))
    assert state(other) == state(error)
    assert vars(other)["__notes__"] == ["row 7"]
    assert other.__cause__ is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_survive_every_pickle_protocol(protocol: int) -> None:
    error = example(errors.ServerError)
    assert state(pickle.loads(pickle.dumps(error, protocol))) == state(error)


def test_unpickled_headers_are_case_insensitive() -> None:
    error = pickle.loads(pickle.dumps(example(errors.RateLimitedError)))
    assert error.headers["x-a"] == "1"


def test_user_subclasses_of_api_error_pickle() -> None:
    error = pickle.loads(pickle.dumps(TeapotError(status=418, message="teapot")))
    assert isinstance(error, TeapotError)
    assert error.status == 418


class TeapotError(ApiError):
    pass


def test_errors_are_hashable_and_compare_by_identity() -> None:
    one, other = example(ApiError), example(ApiError)
    assert one != other
    assert len({one, other}) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequestError), (401, errors.AuthenticationError), (403, errors.AuthenticationError),
        (404, errors.ContactNotFoundError), (409, errors.ConflictError), (429, errors.RateLimitedError),
        (449, errors.QueuedError), (500, errors.ServerError), (503, errors.ServerError), (599, errors.ServerError),
        (302, ApiError), (418, ApiError), (422, ApiError), (600, ApiError), (100, ApiError),
    ],
)  # fmt: skip
def test_error_class_for_maps_status_to_class(status: int, kind: type[ApiError]) -> None:
    assert error_class_for(status) is kind


def test_errors_have_the_documented_messages() -> None:
    error = errors.RateLimitedError(
        status=429, code=7, message="slow", method="GET", url="https://x/y", retry_after=1.5, attempts=2
    )
    assert str(error) == "429 slow · code 7 · GET https://x/y · retry after 1.5 s · 2 attempts"
    assert repr(error).startswith("RateLimitedError(")
    lost = errors.RequestTimeoutError("late", may_have_been_applied=True, method="POST", url="https://x", attempts=1)
    assert str(lost) == "late · POST https://x · the call may have taken effect"
    assert "problem" in str(errors.ResponseDecodeError(problem="problem", body="x"))


PEOPLE = [Email("Ann.O+x@example.com"), Phone("+60198765432")]


@pytest.mark.parametrize("identifier", PEOPLE, ids=str)
@pytest.mark.parametrize(
    "words",
    [
        "Contact {} not found", "the contact '{}' exists", "{}", "no contact: {}, or <{}>", "email={}&x",
        "GET /contact/email:{}", '"{}"',
    ],
)  # fmt: skip
def test_str_and_repr_mask_emails_and_phones(identifier: Email | Phone, words: str) -> None:
    for value in (
        identifier.value,
        quote(identifier.value),
        identifier.value.lower(),
        "other@example.org",
        "+49 30 123456",
    ):
        vendor_text = words.replace("{}", value)
        error = errors.ContactNotFoundError(
            status=404, code=vendor_text, message=vendor_text, method="GET", endpoint="/contact/{identifier}", url=f"https://x/{value}",
            body=vendor_text, identifier=identifier,
        )  # fmt: skip
        for text in (str(error), repr(error)):
            assert value not in text
            assert "example" not in text
            assert not any(len(digits) > 5 for digits in re.findall("[0-9]+", text))
        assert "404" in str(error)
        assert "GET /contact/{identifier}" in str(error)
        assert error.message == vendor_text


def test_str_keeps_words_that_are_no_address() -> None:
    words = (
        "firstName is required; 12345678 is no phone; see https://docs.example.com/contacts#email (code E-1 @ 12:00)"
    )
    assert words in str(errors.BadRequestError(status=400, message=words, identifier=Email("a@b.c")))


@pytest.mark.parametrize("identifier", PEOPLE, ids=str)
def test_invalid_identifier_error_keeps_the_input_in_an_attribute(identifier: Email | Phone) -> None:
    for given in (
        f"email: {identifier.value}",
        f"phone:x{identifier.value}",
        identifier.value,
        f"id: {identifier.value}",
    ):
        with pytest.raises(errors.InvalidIdentifierError) as caught:
            parse_identifier(given)
        assert identifier.value not in str(caught.value)
        assert identifier.value in str(caught.value.identifier)
        assert pickle.loads(pickle.dumps(caught.value)).identifier == caught.value.identifier


@pytest.mark.parametrize("kind", [errors.ServerError, errors.ConflictError, TransportError, errors.ResponseDecodeError])
def test_str_says_that_the_call_may_have_taken_effect(kind: Any) -> None:
    error = example(kind)
    assert "the call may have taken effect" in str(error)
    error.may_have_been_applied = False
    assert "taken effect" not in str(error)
