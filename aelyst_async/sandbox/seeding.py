"""Contacts from a CSV file, put straight into a sandbox.

The header holds the vendor's names, or ours in snake_case. An empty cell is a field that is not there; ``tags``
takes a JSON array or one tag; ``custom_fields.NAME`` columns become custom fields.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aelyst_async.sandbox.account import Account

__all__ = ["add_csv", "add_rows"]

_OURS = {
    "aelyst": {
        "first_name": "firstName",
        "last_name": "lastName",
        "profile_pic": "profilePic",
        "country_code": "countryCode",
        "is_blocked": "isBlocked",
    },
    "dmchamp": {
        "id": "contactId",
        "first_name": "firstName",
        "last_name": "lastName",
        "phone": "phoneNumber",
        "instagram_id": "instagramId",
        "current_campaign": "currentCampaign",
        "external_id": "externalId",
        "custom_channel": "customChannel",
        "chat_widget_id": "chatWidgetId",
        "is_chat_window_open": "isChatWindowOpen",
    },
    "callab": {"first_name": "firstname", "last_name": "lastname", "phone": "phone_number"},
}


def add_csv(account: Account, vendor: str, path: str | Path) -> int:
    """Add the contacts of a UTF-8 file and return their number. Raises `ValueError` naming the row, `OSError`."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return add_rows(account, vendor, file)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None


def add_rows(account: Account, vendor: str, lines: Iterable[str]) -> int:
    """Add the contacts of CSV lines, the header first, all or none, and return their number. Raises `ValueError`."""
    names = _OURS.get(vendor, {})
    parsed: list[dict[str, Any]] = []
    try:
        for row in csv.DictReader(lines):
            if None in row:
                raise ValueError(f"row {len(parsed) + 1} has more cells than the header")
            parsed.append(_fields(row, names))
    except csv.Error as error:
        raise ValueError(f"row {len(parsed) + 1}: {error}") from None
    account.add_contacts(vendor, parsed)
    return len(parsed)


def _fields(row: dict[str, str], names: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    custom: list[dict[str, str]] = []
    for column, cell in row.items():
        if not cell:
            continue
        name = column.strip()
        if name.startswith("custom_fields."):
            custom.append({"name": name.partition(".")[2], "value": cell})
        elif name == "tags":
            fields[name] = _tags(cell)
        else:
            fields[names.get(name, name)] = cell
    if custom:
        fields["custom_fields"] = custom
    return fields


def _tags(cell: str) -> list[Any]:
    if cell.lstrip().startswith("["):
        try:
            value = json.loads(cell)
        except ValueError:
            return [cell]
        if isinstance(value, list):
            return value
    return [cell]
