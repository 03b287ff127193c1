"""``aelyst tags``, ``messages``, ``lists``: data related to a contact, where the provider has it."""

from __future__ import annotations

import argparse
import json
from contextlib import AsyncExitStack
from typing import Any

from aelyst_async.cli.explain import run_async
from aelyst_async.cli.output import printable, to_json
from aelyst_async.cli.parser import IDENTIFIER, add_target
from aelyst_async.cli.target import check_name, open_target

__all__ = ["add_parser"]


def add_parser(subparsers: Any) -> None:
    """Add the three commands."""
    for name, words in (("tags", "show the tags of a contact"), ("messages", "show the messages of a contact")):
        parser = subparsers.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        parser.add_argument("identifier", metavar="IDENTIFIER", help=IDENTIFIER)
        add_target(parser, "--from", can=name)
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(run=lambda arguments, name=name: _run(arguments, name))
    lists = subparsers.add_parser(
        "lists", help="add a contact to a list, or remove it", description="Add a contact to a list, or remove it."
    )
    lists.add_argument("action", choices=["add", "remove"])
    lists.add_argument("identifier", metavar="IDENTIFIER", help=IDENTIFIER)
    lists.add_argument("list_id", metavar="LIST", help="the id of the list")
    add_target(lists, "--to", can="add_to_list")
    lists.set_defaults(run=lambda arguments: _run(arguments, "lists"))


def _run(arguments: argparse.Namespace, name: str) -> int:
    command = _lists if name == "lists" else _read
    return run_async(lambda: command(arguments, name), name, provider=arguments.provider, whom=arguments.identifier)


async def _read(arguments: argparse.Namespace, what: str) -> int:
    from aelyst_async.cli.contacts import plain
    from aelyst_async.identifiers import parse_identifier

    who = parse_identifier(arguments.identifier)
    check_name(arguments.provider, what, f"show {what}")
    async with AsyncExitStack() as stack:
        gateway = (await open_target(arguments.provider, arguments.base_url, stack)).gateway
        items: tuple[Any, ...] = await (gateway.tags(who) if what == "tags" else gateway.messages(who))
    if arguments.json:
        # The raw item, because an API may send more of a message than the model has.
        print(to_json([_whole(item, plain(item)) for item in items], indent=2))
        return 0
    for item in items:
        print(printable(_line(item)))
    return 0


def _whole(item: Any, plain: Any) -> Any:
    raw = getattr(item, "raw", None)
    return plain if raw is None else {**plain, "raw": raw}


def _line(item: Any) -> str:
    if hasattr(item, "name"):
        return item.name if item.description is None else f"{item.name}: {item.description}"
    when = "" if item.created_at is None else f"{item.created_at.isoformat()} "
    direction = "" if item.direction is None else f"[{item.direction}] "
    text = item.text if item.text is not None else json.dumps(item.raw, ensure_ascii=False, default=str)
    return f"{when}{direction}{text}"


async def _lists(arguments: argparse.Namespace, _: str) -> int:
    from aelyst_async.identifiers import parse_identifier

    who = parse_identifier(arguments.identifier)
    check_name(arguments.provider, "add_to_list", "put contacts on lists")
    async with AsyncExitStack() as stack:
        gateway = (await open_target(arguments.provider, arguments.base_url, stack)).gateway
        if arguments.action == "add":
            await gateway.add_to_list(who, arguments.list_id)
        else:
            await gateway.remove_from_list(who, arguments.list_id)
    done = "added to" if arguments.action == "add" else "removed from"
    print(f"{printable(arguments.identifier)} {done} {printable(arguments.list_id)}")
    return 0
