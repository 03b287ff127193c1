"""Aelyst's emulation: the contact API of the vendor's pages and of its fuller documentation.

Identifiers have a prefix: ``id:123``, ``email:a@b.c``, ``phone:+60…``. Ids are numbers. Several contacts of an account
may have one e-mail address; calls use the first of them.
"""

from __future__ import annotations

from pathlib import Path

from aelyst_async.sandbox.vendor import Call, Reply, Route, Vendor, bearer_token
from aelyst_providers.aelyst.sandbox import contacts, fields, listing
from aelyst_providers.aelyst.sandbox.answers import error
from aelyst_providers.aelyst.sandbox.behaviours import BEHAVIOURS

__all__ = ["AELYST"]


def _unauthorized(call: Call) -> Reply:  # noqa: ARG001
    return error(401)


def _mint(number: int, seed: int) -> str:  # noqa: ARG001
    return str(100_000 + number)


AELYST = Vendor(
    name="aelyst",
    title="Aelyst",
    credential=bearer_token,
    error=error,
    unauthorized=_unauthorized,
    routes=(
        Route("GET", "/contact/{identifier}", contacts.get_contact),
        Route("POST", "/contact/{identifier}", contacts.create_contact),
        Route("PUT", "/contact/{identifier}", contacts.update_contact),
        Route("DELETE", "/contact/{identifier}", contacts.delete_contact),
        Route("POST", "/contact/create_or_update/{identifier}", contacts.create_or_update),
        Route("POST", "/contact/list", listing.list_contacts),
        Route("POST", "/contact/merge", contacts.merge_contacts),
        Route("POST", "/contact/{identifier}/tag", contacts.add_tags),
        Route("DELETE", "/contact/{identifier}/tag", contacts.remove_tags),
        Route("POST", "/contact/{identifier}/lifecycle/update", contacts.set_lifecycle),
        Route("GET", "/contact/{identifier}/channels", listing.list_channels),
        Route("GET", "/space/custom_field", fields.list_fields),
        Route("POST", "/space/custom_field", fields.create_field),
        Route("GET", "/space/custom_field/{id}", fields.get_field),
    ),
    add=contacts.insert,
    mint=_mint,
    openapi=Path(__file__).parent.with_name("openapi.json"),
    field_names={
        "first_name": "firstName",
        "last_name": "lastName",
        "profile_pic": "profilePic",
        "country_code": "countryCode",
        "is_blocked": "isBlocked",
    },
    behaviours=BEHAVIOURS,
)
