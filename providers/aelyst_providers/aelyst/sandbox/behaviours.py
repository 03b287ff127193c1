"""The behaviours of Aelyst's sandbox, with their sources."""

from __future__ import annotations

from aelyst_async.sandbox.vendor import Behaviour, assumed, common_behaviours

__all__ = ["BEHAVIOURS"]

_FRONT = "https://developers.aelyst.ai/"
_GET, _CREATE, _UPDATE = "Get a contact", "Create a contact", "Update a contact"
_URLS = {
    _GET: f"{_FRONT}api/operations/getcontact/",
    _CREATE: f"{_FRONT}api/operations/createcontact/",
    _UPDATE: f"{_FRONT}api/operations/updatecontact/",
}
_FULLER = "the vendor's fuller documentation"
_FAMILY = "the vendor family's own clients do so"


def _documented(name: str, summary: str, page: str = "") -> Behaviour:
    source = f"page '{page}'" if page else _FULLER
    return Behaviour(
        name=f"aelyst.{name}", summary=summary, source=source, url=_URLS.get(page, _FRONT), basis="documented"
    )


BEHAVIOURS: tuple[Behaviour, ...] = (
    _documented("identifier", "id:, email: and phone: name a contact; create takes email: and phone:", _CREATE),
    _documented("create_answer", '{"code": "200", "message": …}: the code is a string, there is no id', _CREATE),
    _documented("update_answer", '{"contactId": number}', _UPDATE),
    _documented("partial_update", "fields that are not in the body are kept; null clears", _UPDATE),
    _documented("first_match", "of several contacts with one identifier the first is updated", _UPDATE),
    _documented("first_name", "firstName is required to create, and cannot be null", _CREATE),
    _documented("errors", "{code, message} with 400, 401, 404, 429, 449 and 500", _GET),
    _documented("rate_limit_headers", "X-RateLimit-Limit, X-RateLimit-Remaining, Retry-After", _GET),
    assumed(
        "aelyst.put_missing",
        "PUT on a contact that does not exist (200: it is created)",
        "the update page lists no 404",
        "404",
        "400",
        "200",
        url=_URLS[_UPDATE],
    ),
    assumed(
        "aelyst.create_existing",
        "POST with an identifier that a contact has",
        "the update page mentions duplicates, the create page lists no conflict",
        "duplicate",
        "400",
        "409",
        url=_URLS[_CREATE],
    ),
    assumed(
        "aelyst.put_first_name",
        "whether PUT demands firstName",
        "the update page marks it required and calls the update partial",
        "optional",
        "required",
        url=_URLS[_UPDATE],
    ),
    assumed(
        "aelyst.custom_fields",
        "PUT with custom_fields: the others are kept, or the whole array is replaced",
        "'only the contact fields that are included' may mean either",
        "merge",
        "replace",
        url=_URLS[_UPDATE],
    ),
    assumed("aelyst.unknown_fields", "a field that the pages do not name", "not documented", "ignore", "400"),
    assumed("aelyst.bare_identifier", "an identifier without a prefix", "not documented", "400", "404"),
    assumed("aelyst.email_case", "whether the case of an e-mail address matters", "not documented", "any", "exact"),
    assumed(
        "aelyst.id_form",
        "the id as a number or as a numeric string",
        "both were seen by clients of the API",
        "number",
        "text",
    ),
    assumed(
        "aelyst.invisible_as",
        "what a contact answers that was created and is not visible yet",
        "404 and 449 are both documented errors",
        "404",
        "449",
        url=_URLS[_UPDATE],
    ),
    _documented("delete", 'DELETE answers {"contactId": number}; of several contacts the first goes'),
    _documented("tags", "POST and DELETE of /tag take a bare array of 1 to 10 different strings"),
    _documented("lifecycle", "a null or empty name removes the stage"),
    _documented("merge", "exactly two ids; the older contact becomes the primary one"),
    _documented("list", 'limit 1 to 99; filter is {"$and": […]}; next is a full URL without the API\'s version'),
    _documented(
        "custom_field_types", "text, list, checkbox, email, number, url, date, time; values are checked", _CREATE
    ),
    assumed(
        "aelyst.create_or_update",
        "create_or_update is there, or the route is unknown",
        "documented; a server of an older version may not have it",
        *("200", "404", "405"),
        url=_FRONT,
    ),
    assumed(
        "aelyst.tags_of_contact",
        "how many tags a contact may have",
        "the get page shows at most 10 items, and names no error",
        *("any", "10"),
        url=_URLS[_GET],
    ),
    assumed("aelyst.merge_fields", "a merge fills what the primary contact lacks; tags are united", "not documented"),
    assumed(
        "aelyst.list_conditions",
        "the form of a condition: category, field, operator, value",
        _FAMILY,
    ),
    assumed("aelyst.list_everybody", 'filter may be {"$or": []}, which means everybody too', _FAMILY),
    assumed("aelyst.list_order", "contacts are listed oldest first, in pages of 10 by default", "not documented"),
    assumed("aelyst.search", "search looks for a part of name, e-mail address or phone", "not documented"),
    assumed(
        "aelyst.contains",
        "whether conditions have the operator contains",
        "no client of the family sends it",
        "yes",
        "400",
    ),
    assumed(
        "aelyst.last_page",
        "pagination.next on the last page",
        "all three are said to occur",
        *("empty", "null", "absent"),
    ),
    assumed("aelyst.channels", "a contact has no channels: an empty page", "the sandbox has none"),
    assumed(
        "aelyst.custom_field_list",
        "definitions come as a page, or as a bare array",
        f"{_FULLER} lists definitions, the vendor family's client reads a page",
        *("page", "array"),
    ),
    assumed(
        "aelyst.allowed_values",
        "a list's allowedValues is an array, or an object with listValues",
        "both are described",
        *("array", "object"),
    ),
    assumed(
        "aelyst.unknown_custom_fields",
        "a custom field that no definition names, where there are definitions",
        "not documented",
        *("keep", "400", "ignore"),
    ),
    assumed("aelyst.custom_field_slug", "a custom field may be written by its slug", _FAMILY),
    assumed("aelyst.custom_field_create", "POST /space/custom_field defines one; GET …/{id} shows it", _FAMILY),
    *common_behaviours(
        "aelyst",
        quota="10/s",
        page=f"page '{_GET}': the example's limit is 10",
        url=_URLS[_GET],
        front_url=_FRONT,
        create_url=_URLS[_CREATE],
    ),
)
