"""``aelyst providers``, ``aelyst fields PROVIDER``, ``aelyst completion SHELL``: lists, and shell completion."""

from __future__ import annotations

import argparse
import os
from typing import Any

from aelyst_async.cli.output import CommandError, complain, printable, say, to_json
from aelyst_async.cli.parser import provider_help

__all__ = ["add_parser"]

_ABILITIES = {
    "get": "read", "create": "create", "update": "update", "upsert": "sync", "tags": "tags", "messages": "messages",
    "add_to_list": "lists", "contacts": "export", "delete": "mirror",
}  # fmt: skip


def add_parser(subparsers: Any) -> None:
    """Add the three commands."""
    providers = subparsers.add_parser(
        "providers", help="list the installed providers", description="List the installed providers and their settings."
    )
    providers.add_argument("--json", action="store_true", help="print JSON")
    providers.set_defaults(run=_providers)
    fields = subparsers.add_parser(
        "fields", help="list the writable fields of a provider", description="List the writable fields of a provider."
    )
    fields.add_argument("provider", metavar="PROVIDER").lazy_help = lambda: provider_help("create")
    fields.add_argument("--json", action="store_true", help="print JSON")
    fields.set_defaults(run=_fields)
    completion = subparsers.add_parser(
        "completion", help="print the completion script of a shell",
        description="Print a script that completes commands and options. "
        'bash: eval "$(aelyst completion bash)". zsh: aelyst completion zsh > a file _aelyst on $fpath.',
    )  # fmt: skip
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    completion.set_defaults(run=_completion)


def _providers(arguments: argparse.Namespace) -> int:
    from aelyst_async.cli.target import variables
    from aelyst_async.errors import ConfigurationError
    from aelyst_async.registry import gateway_class, provider_names

    found: list[dict[str, Any]] = []
    for name in provider_names():
        try:
            kind = gateway_class(name)
        except ConfigurationError as error:
            found.append({"name": name, "problem": str(error)})
            continue
        credential, address = variables(name)
        can = [word for method, word in _ABILITIES.items() if hasattr(kind, method)]
        found.append({
            "name": name, "can": can, "credential": credential, "base_url": address,
            "credential_is_set": bool(os.environ.get(credential)),
        })  # fmt: skip
    if arguments.json:
        print(to_json(found, indent=2))
        return 0
    for one in found:
        say(printable(one["name"]))
        if "problem" in one:
            say(f"  cannot be used: {printable(one['problem'])}")
            continue
        say(f"  can         {', '.join(one['can'])}")
        say(f"  credential  {one['credential']} ({'set' if one['credential_is_set'] else 'not set'})")
        say(f"  address     {one['base_url']}, or --base-url")
    say("sandbox\n  these APIs on this machine, without an account: aelyst sandbox")
    return 0


def _fields(arguments: argparse.Namespace) -> int:
    from aelyst_async.cli.target import schema_for
    from aelyst_async.errors import ConfigurationError
    from aelyst_async.tables.values import CUSTOM_TYPES

    try:
        schema = schema_for(arguments.provider, "create", "write contacts")
    except (CommandError, ConfigurationError) as error:
        complain("fields", str(error))
        return 2
    rows = [
        {
            "field": rule.name, "vendor": rule.wire, "type": rule.kind.replace("_", " "), "create": rule.create,
            "update": rule.update, "required": rule.required, "can_be_cleared": rule.nullable,
        }
        for rule in schema.rules
    ]  # fmt: skip
    read_only = sorted(set(schema.read_only.values()))
    if arguments.json:
        print(to_json({"provider": schema.provider, "fields": rows, "read_only": read_only}, indent=2))
        return 0
    names = [max(len(str(row[column])) for row in [*rows, {column: column}]) for column in ("field", "vendor", "type")]
    say(f"{'field':<{names[0]}}  {'vendor':<{names[1]}}  {'type':<{names[2]}}")
    for row in rows:
        notes = [
            words
            for words, holds in (
                ("required to create", row["required"]), ("only on create", not row["update"]),
                ("only on update", not row["create"]), ("cannot be cleared", not row["can_be_cleared"]),
            )
            if holds
        ]  # fmt: skip
        say(
            f"{row['field']:<{names[0]}}  {row['vendor']:<{names[1]}}  {row['type']:<{names[2]}}  {', '.join(notes)}"
            .rstrip()
        )  # fmt: skip
    if any(rule.item is not None for rule in schema.rules):
        types = ", ".join(CUSTOM_TYPES)
        say(f"custom fields: custom_fields.NAME, or custom_fields.NAME:TYPE with a TYPE of {types}")
    if read_only:
        say(f"read-only: {', '.join(read_only)}")
    return 0


def _completion(arguments: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        complain("completion", "shtab is missing: pip install 'aelyst-async[cli]'")
        return 2
    from aelyst_async.cli.target import providers_that

    parser = arguments.parser
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001 - as shtab does
    for command in commands.choices.values():
        for action in command._actions:  # noqa: SLF001
            if action.dest == "provider":
                action.choices = [*providers_that("get"), "sandbox"]
            elif action.metavar in {"FILE", "JOURNAL", "PATH", "TOML"}:
                action.complete = shtab.FILE
    print(shtab.complete(parser, arguments.shell))
    return 0
