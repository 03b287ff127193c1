"""``aelyst get``, ``create``, ``update``, ``upsert``: one contact at a time.

Fields are ``FIELD=VALUE`` by the same rules as a column of a sync: our names or the vendor's,
``custom_fields.NAME:TYPE=VALUE``, and nothing after ``=`` clears.
"""

from __future__ import annotations

import argparse
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aelyst_async.cli.explain import run_async
from aelyst_async.cli.output import CommandError, printable, to_json
from aelyst_async.cli.parser import IDENTIFIER, add_target
from aelyst_async.cli.target import check_name, open_target

if TYPE_CHECKING:
    from aelyst_async.contacts import ContactFields

__all__ = ["add_parser", "plain", "show"]


def add_parser(subparsers: Any) -> None:
    """Add the four commands."""
    get = subparsers.add_parser("get", help="show a contact", description="Show a contact.")
    get.add_argument("identifier", metavar="IDENTIFIER", help=IDENTIFIER)
    add_target(get, "--from")
    get.add_argument("--json", action="store_true", help="print JSON")
    get.set_defaults(run=lambda arguments: _run(arguments, "get"))
    for name, words in (
        ("create", "create a contact"),
        ("update", "change the given fields and keep the others"),
        ("upsert", "update a contact, or create it if it does not exist"),
    ):
        parser = subparsers.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        parser.add_argument("identifier", metavar="IDENTIFIER", help=IDENTIFIER)
        parser.add_argument(
            "fields", metavar="FIELD=VALUE", nargs="+",
            help="first_name=Ann, custom_fields.Age:number=41; FIELD= without a value clears the field",
        )  # fmt: skip
        add_target(parser, "--to", can=name)
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(run=lambda arguments, name=name: _run(arguments, name))


def _run(arguments: argparse.Namespace, name: str) -> int:
    command = _get if name == "get" else _write
    return run_async(lambda: command(arguments, name), name, provider=arguments.provider, whom=arguments.identifier)


async def _get(arguments: argparse.Namespace, operation: str) -> int:
    from aelyst_async.identifiers import parse_identifier

    who = parse_identifier(arguments.identifier)
    check_name(arguments.provider, operation, "show a contact")
    async with AsyncExitStack() as stack:
        target = await open_target(arguments.provider, arguments.base_url, stack)
        contact = await target.gateway.get(who)
    show(contact, as_json=arguments.json)
    return 0


async def _write(arguments: argparse.Namespace, operation: str) -> int:
    from aelyst_async.identifiers import parse_identifier

    who = parse_identifier(arguments.identifier)
    check_name(arguments.provider, operation, f"{operation} a contact")
    async with AsyncExitStack() as stack:
        gateway = (await open_target(arguments.provider, arguments.base_url, stack)).gateway
        fields = _fields(gateway, arguments.fields)
        if operation == "create":
            receipt = await gateway.create(fields, identifier=who)
        elif operation == "update":
            receipt = await gateway.update(who, fields)
        else:
            receipt = await gateway.upsert(who, fields)
    if arguments.json:
        print(to_json(plain(receipt), indent=2))
    else:
        done = "written" if receipt.created is None else "created" if receipt.created else "updated"
        contact_id = f" (id {printable(receipt.contact_id)})" if receipt.contact_id else ""
        print(f"{done} {printable(str(who))}{contact_id}")
        if receipt.not_applied:
            print(f"not applied, because the contact exists: {', '.join(receipt.not_applied)}")
    return 0


def _fields(gateway: Any, pairs: list[str]) -> ContactFields:
    from aelyst_async.tables.mapping import Mapper, schema_of

    names, values = [], []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise CommandError(f"{pair!r}: write FIELD=VALUE")
        names.append(name.strip())
        values.append(value)
    mapper = Mapper(schema_of(gateway), empty="clear")
    read, problems = mapper.record_plan(names).values(values)
    if problems:
        raise CommandError("; ".join(f"{problem.column}: {problem.message}" for problem in problems))
    return mapper.fields(read)


def plain(model: Any) -> dict[str, Any]:
    """Return a model as JSON-ready values, without the raw response."""
    from aelyst_async.converter import make_converter  # imports cattrs

    values: dict[str, Any] = make_converter().unstructure(model)
    return values


def show(value: Any, *, as_json: bool = False) -> None:
    """Print a model: JSON, or a line for each field that has a value."""
    values = plain(value)
    if as_json:
        print(to_json(values, indent=2))
        return
    rows: list[tuple[str, str]] = []
    for name, item in values.items():
        if name == "custom_fields":
            rows += [(f"{name}.{custom['name']}", str(custom["value"])) for custom in item or ()]
        elif item is not None and item not in ([], ()):
            rows.append((name, item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)))
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        print(f"{printable(name):<{width}}  {printable(text)}")
