"""Upsert against servers that differ in what the vendors' pages leave open: the outcome is always the same.

Each server is a dictionary of contacts behind one function. At the end it must contain the fields once, and the
receipt must not claim what is not known.
"""

from __future__ import annotations

import itertools
from typing import Any

import aiohttp
import attrs
import pytest

from aelyst_async import errors
from aelyst_providers.aelyst import AelystFields, CustomField
from aelyst_providers.dmchamp import DmChampFields
from tests.doubles import Answer, Sent, scripted
from tests.providers.conftest import make
from tests.virtual_time import run

PHONE = "phone:+601"


@attrs.define(kw_only=True)
class FakeAelyst:
    """Aelyst, with variants: the response to a PUT of a missing and to a POST of an existing contact."""

    missing: str = "404"
    existing: str = "409"
    contacts: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    born_before_post: bool = False
    invalid: bool = False

    def __call__(self, sent: Sent) -> Answer:
        name = sent.name
        if sent.method == "GET":
            return Answer(200, {"id": 1, **self.contacts[name]}) if name in self.contacts else self.refuse(404)
        if self.invalid:
            return self.refuse(400)
        if sent.method == "PUT":
            if name in self.contacts:
                self.contacts[name].update(sent.json)
                return Answer(200, {"contactId": 1})
            return {
                "404": self.refuse(404), "400": self.refuse(400), "200": Answer(200, {}),
                "200, empty": Answer(200, b""), "200, code": Answer(200, {"code": "404", "message": "no"}),
            }[self.missing]  # fmt: skip
        if self.born_before_post:
            self.contacts.setdefault(name, {"firstName": "Another client's"})
        if name in self.contacts:
            return {
                "409": self.refuse(409),
                "400": self.refuse(400),
                "200, code": Answer(200, {"code": "409", "message": "x"}),
            }[self.existing]
        self.contacts[name] = dict(sent.json)
        return Answer(200, {"code": "200", "message": "ok"})

    def refuse(self, status: int) -> Answer:
        return Answer(status, {"code": status, "message": "no"})


MISSING = ["404", "400", "200", "200, empty", "200, code"]
EXISTING = ["409", "400", "200, code"]
ANN = AelystFields(first_name="Ann", last_name="Lee")


@pytest.mark.parametrize(("missing", "existing"), list(itertools.product(MISSING, EXISTING)))
@pytest.mark.parametrize("state", ["missing", "existing", "race"])
def test_aelyst_composed_upsert_stores_the_fields_once(missing: str, existing: str, state: str) -> None:
    server = FakeAelyst(missing=missing, existing=existing, born_before_post=state == "race")
    if state == "existing":
        server.contacts[PHONE] = {"firstName": "Old", "email": "kept@example.com"}

    async def main() -> None:
        session, lent = scripted(server)
        gateway = make("aelyst", upsert="compose", session=lent, base_url="http://127.0.0.1:9")
        receipt = await gateway.upsert(PHONE, ANN)
        assert receipt.created is (state == "missing")
        assert len(session.sent) <= 5
        if state == "existing":
            assert session.methods == ["PUT"]

    run(main())
    contact = server.contacts.pop(PHONE)
    assert (contact["firstName"], contact["lastName"]) == ("Ann", "Lee")
    assert contact.get("email") == ("kept@example.com" if state == "existing" else None)
    assert not server.contacts


@pytest.mark.parametrize("exists", [False, True])
def test_aelyst_composed_upsert_raises_bad_request_for_bad_data(exists: bool) -> None:
    server = FakeAelyst(invalid=True)
    if exists:
        server.contacts[PHONE] = {}

    async def main() -> None:
        session, lent = scripted(server)
        with pytest.raises(errors.BadRequestError) as caught:
            await make("aelyst", upsert="compose", session=lent, base_url="http://127.0.0.1:9").upsert(PHONE, ANN)
        assert caught.value.method == ("PUT" if exists else "POST")
        assert len(session.sent) <= 4
        assert caught.value.__context__ is None

    run(main())


NOT_UNDERSTOOD = [Answer(200, b""), Answer(200, b"<html>"), Answer(200, {})]
LOOK_UPS: list[tuple[Any, type[errors.ContactsError], str]] = [
    (Answer(200, b"<html>"), errors.ResponseDecodeError, "PUT"),
    (Answer(500, {}), errors.ServerError, "GET"),
    (Answer(429, {}), errors.RateLimitedError, "GET"),
    (Answer(401, {}), errors.AuthenticationError, "GET"),
    (Answer(400, {}), errors.BadRequestError, "GET"),
    (aiohttp.ServerDisconnectedError(), errors.TransportError, "GET"),
]


@pytest.mark.parametrize("put", NOT_UNDERSTOOD)
@pytest.mark.parametrize(("look_up", "kind", "method"), LOOK_UPS)
def test_aelyst_failed_lookup_keeps_that_the_update_may_be_applied(
    put: Any, look_up: Any, kind: Any, method: str
) -> None:
    """The update got a success response, so it may have been applied, even if the lookup fails."""

    async def main() -> None:
        _, lent = scripted([put, look_up])
        with pytest.raises(kind) as caught:
            await make("aelyst", upsert="compose", session=lent, base_url="http://127.0.0.1:9").upsert(PHONE, ANN)
        assert caught.value.may_have_been_applied is True
        assert caught.value.method == method
        assert caught.value.__context__ is None

    run(main())


def test_aelyst_composed_upsert_raises_the_error_of_the_write() -> None:
    async def main() -> None:
        refusals = [Answer(400, {"message": "bad language"}), Answer(400, {"message": "bad identifier"})]
        _, lent = scripted(list(refusals))
        with pytest.raises(errors.BadRequestError, match="bad language") as caught:
            await make("aelyst", upsert="compose", session=lent, base_url="http://127.0.0.1:9").upsert(PHONE, ANN)
        assert caught.value.may_have_been_applied is False

    run(main())


@pytest.mark.parametrize("last", [Answer(500, {}), Answer(429, {}), Answer(200, b""), aiohttp.ClientConnectionError()])
def test_dmchamp_failed_update_keeps_that_the_create_may_be_applied(last: Any) -> None:
    """The create returned a full contact. It may be the new one, without fields that the server omits."""

    async def main() -> None:
        script = [Answer(404, {}), Answer(200, {"id": "c1", "phoneNumber": "+601"}), last]
        session, lent = scripted(script)
        gateway = make("dmchamp", session=lent, base_url="http://127.0.0.1:9")
        with pytest.raises(errors.ContactsError) as caught:
            await gateway.upsert(PHONE, DmChampFields(first_name="Ann"))
        assert session.methods == ["GET", "POST", "PUT"]
        assert caught.value.may_have_been_applied is True  # type: ignore[attr-defined]

    run(main())


@pytest.mark.parametrize("bad", [None, {"first_name": "Ann"}, "first_name=Ann", AelystFields, ["Ann"]])
@pytest.mark.parametrize("provider", ["aelyst", "dmchamp"])
def test_writes_reject_other_types_before_anything_is_sent(provider: str, bad: Any) -> None:
    async def main() -> None:
        session, lent = scripted([Answer(200, {})])
        gateway = make(provider, session=lent, base_url="http://127.0.0.1:9")
        calls = [
            gateway.create(bad), gateway.create(bad, identifier=PHONE), gateway.update(PHONE, bad),
            gateway.update("id:1", bad), gateway.upsert(PHONE, bad), gateway.upsert("email:a@b.c", bad),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(errors.UnsupportedFieldError, match="expected ContactFields"):
                await call
        assert session.sent == []

    run(main())


@pytest.mark.parametrize("series", [tuple, list, iter, lambda fields: (field for field in fields)])
def test_aelyst_upsert_sends_iterator_custom_fields_in_both_requests(series: Any) -> None:
    """An upsert that creates sends the custom fields twice. A generator would be exhausted."""
    server = FakeAelyst()
    fields = AelystFields(first_name="Ann", custom_fields=series([CustomField("Seats", 3)]))
    assert fields == AelystFields(first_name="Ann", custom_fields=(CustomField("Seats", 3),))
    assert hash(fields)

    async def main() -> None:
        _, lent = scripted(server)
        await make("aelyst", upsert="compose", session=lent, base_url="http://127.0.0.1:9").upsert(PHONE, fields)

    run(main())
    assert server.contacts[PHONE]["custom_fields"] == [{"name": "Seats", "value": 3}]


def test_aelyst_composed_upsert_never_creates_an_id() -> None:
    for missing in MISSING:
        server = FakeAelyst(missing=missing)

        async def main(server: FakeAelyst = server) -> None:
            session, lent = scripted(server)
            with pytest.raises((errors.ContactNotFoundError, errors.BadRequestError, errors.ResponseDecodeError)):
                await make("aelyst", upsert="compose", session=lent, base_url="http://127.0.0.1:9").upsert("id:5", ANN)
            assert "POST" not in session.methods

        run(main())


def test_aelyst_required_fields_are_checked_only_for_a_create() -> None:
    fields = AelystFields(last_name="Lee")

    async def main() -> None:
        _, lent = scripted(FakeAelyst(contacts={PHONE: {}}))
        assert (
            await make("aelyst", upsert="compose", session=lent, base_url="http://127.0.0.1:9").upsert(PHONE, fields)
        ).created is False
        session, lent = scripted(FakeAelyst())
        with pytest.raises(errors.UnsupportedFieldError, match="first_name"):
            await make("aelyst", upsert="compose", session=lent, base_url="http://127.0.0.1:9").upsert(PHONE, fields)
        assert session.methods == ["PUT"]

    run(main())


@attrs.define(kw_only=True)
class FakeDmChamp:
    """DM Champ, with variants: the responses that mean "not found" and "already exists"."""

    missing: str = "404"
    existing: str = "409"
    whole: bool = False
    contacts: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    born_before_post: bool = False

    def __call__(self, sent: Sent) -> Answer:
        query = dict(pair.split("=", 1) for pair in sent.url.partition("?")[2].split("&"))
        if sent.method == "GET":
            phone = query.get("phoneNumber", "").replace("%2B", "+")
            found = next((c for c in self.contacts.values() if c["phoneNumber"] == phone), None)
            return self.nobody() if found is None else Answer(200, {"success": True, "contactId": found["id"]})
        if sent.method == "PUT":
            self.contacts[sent.name].update(sent.json)
            return Answer(200, {"success": True, "message": "ok"})
        if self.born_before_post:
            self.contacts["c9"] = {"id": "c9", "phoneNumber": "+601", "firstName": "Another client's"}
        found = next((c for c in self.contacts.values() if c["phoneNumber"] == sent.json["phoneNumber"]), None)
        if found is not None:
            return self.exists(found)
        self.contacts["c1"] = {"id": "c1", **sent.json}
        if self.whole:
            return Answer(200, {"success": True, "data": self.contacts["c1"]})
        return Answer(200, {"success": True, "data": {"message": "ok", "contactId": "c1"}})

    def nobody(self) -> Answer:
        return {
            "404": Answer(404, {"success": False, "message": "Contact not found"}),
            "200, false": Answer(200, {"success": False, "message": "Contact not found"}),
            "200, code": Answer(200, {"error_code": 404, "message": "x"}),
            "200, null": Answer(200, {"success": True, "contactId": None}),
            "200, []": Answer(200, {"success": True, "data": []}),
        }[self.missing]

    def exists(self, contact: dict[str, Any]) -> Answer:
        return {
            "409": Answer(409, {"success": False, "message": "x"}),
            "200, code": Answer(200, {"error_code": 409, "message": "Contact already exists"}),
            "200, false": Answer(200, {"success": False, "message": "Contact already exists"}),
            "200, contact": Answer(200, {"success": True, "data": contact}),
            "200, words": Answer(
                200, {"success": True, "data": {"message": "Contact already exists", "contactId": contact["id"]}}
            ),
        }[self.existing]


DM_MISSING = ["404", "200, false", "200, code", "200, null", "200, []"]
DM_EXISTING = ["409", "200, code", "200, false", "200, contact", "200, words"]


@pytest.mark.parametrize(("missing", "existing"), list(itertools.product(DM_MISSING, DM_EXISTING)))
@pytest.mark.parametrize("state", ["missing", "existing", "race"])
@pytest.mark.parametrize("whole", [False, True])
def test_dmchamp_upsert_stores_the_fields_once(missing: str, existing: str, state: str, whole: bool) -> None:
    server = FakeDmChamp(missing=missing, existing=existing, whole=whole, born_before_post=state == "race")
    if state == "existing":
        server.contacts["c5"] = {"id": "c5", "phoneNumber": "+601", "firstName": "Old", "email": "kept@example.com"}

    async def main() -> None:
        session, lent = scripted(server)
        gateway = make("dmchamp", session=lent, base_url="http://127.0.0.1:9")
        receipt = await gateway.upsert(PHONE, DmChampFields(first_name="Ann", do_not_disturb=True))
        assert receipt.contact_id in server.contacts
        # A response with a full contact does not say whether it is new.
        assert receipt.created is {"missing": None if whole else True, "existing": False, "race": False}[state]
        assert (
            session.methods
            == {
                "missing": ["GET", "POST"],
                "existing": ["GET", "PUT"],
                "race": ["GET", "POST", "PUT"]
                if existing in {"200, contact", "200, words"}
                else ["GET", "POST", "GET", "PUT"],
            }[state]
        )

    run(main())
    (contact,) = server.contacts.values()
    assert (contact["firstName"], contact["do_not_disturb"], contact["phoneNumber"]) == ("Ann", True, "+601")


def test_dmchamp_receipt_lists_create_only_fields_as_not_applied() -> None:
    server = FakeDmChamp(contacts={"c5": {"id": "c5", "phoneNumber": "+601"}})
    fields = DmChampFields(phone="+60 1", first_name="Ann", channel="wa", external_id="x")

    async def main() -> None:
        _, lent = scripted(server)
        receipt = await make("dmchamp", session=lent, base_url="http://127.0.0.1:9").upsert(PHONE, fields)
        assert receipt.not_applied == ("channel", "external_id")
        assert str(receipt.identifier) == PHONE

    run(main())
    assert "channel" not in server.contacts["c5"]


def test_dmchamp_upsert_sends_no_empty_update() -> None:
    async def main() -> None:
        session, lent = scripted(FakeDmChamp(contacts={"c5": {"id": "c5", "phoneNumber": "+601"}}))
        gateway = make("dmchamp", session=lent, base_url="http://127.0.0.1:9")
        receipt = await gateway.upsert(PHONE, DmChampFields(channel="wa"))
        assert (receipt.contact_id, receipt.created, receipt.not_applied) == ("c5", False, ("channel",))
        assert session.methods == ["GET"]

    run(main())


def test_dmchamp_upsert_checks_create_and_update_before_sending() -> None:
    async def main() -> None:
        session, lent = scripted(FakeDmChamp())
        gateway = make("dmchamp", session=lent, base_url="http://127.0.0.1:9")
        for fields in (DmChampFields(phone="+602"), DmChampFields(channel=5), DmChampFields(first_name=None)):  # type: ignore[arg-type]
            with pytest.raises(errors.UnsupportedFieldError):
                await gateway.upsert(PHONE, fields)
        assert session.sent == []

    run(main())
