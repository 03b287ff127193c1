"""``aelyst sandbox``: serves the vendors' APIs until Ctrl-C. ``aelyst sandbox explain`` prints its rules.

On a terminal it opens with a panel of its addresses. Elsewhere, or with ``--json``, the first line on stdout is JSON
with the URLs and the token, for programs that start it, and what people read goes to stderr. Exit codes: 0 stopped,
2 it cannot start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aelyst_async.cli.output import printable

if TYPE_CHECKING:
    from aelyst_async.sandbox import Sandbox

__all__ = ["add_parser"]

_EPILOG = """\
faults: KIND[,OPTION:VALUE]…=WHEN[@[VENDOR ]METHOD /route], for example
  --fault 503=0.1                        one call in ten answers 503
  --fault latency,seconds:0.2,sigma:0.5=100%
  --fault "reset-after=nth:3@aelyst POST /contact/{identifier}"
  kinds: status, html, reset, queued, latency, late, reset-after, truncate, garbage, slow-body, content-type
  options: code, seconds, sigma, retry_after, form (seconds, date), applied (yes, no)
  when: a rate (0.1 or 10%), nth:N, first:N, every:N
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``aelyst``."""
    parser = subparsers.add_parser(
        "sandbox",
        help="serve the vendors' APIs on this machine",
        description="Serve the vendors' contacts APIs on this machine, with an inspector page.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", choices=["serve", "explain"], default="serve", help="default: serve")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8787, help="0: any free port (default: %(default)s)")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a further accepted host name"
    )
    parser.add_argument("--db", metavar="PATH", help="keep the contacts in this SQLite file (default: in memory)")
    parser.add_argument("--quota", help="every API's quota: 10/s, 600/min, 5/2s or none (default: see explain)")
    parser.add_argument(
        "--scope",
        choices=["endpoint", "path", "account"],
        help="what has its own quota",
    )
    parser.add_argument("--assume", action="append", default=[], metavar="SWITCH=VALUE", help="see explain")
    parser.add_argument("--fault", action="append", default=[], metavar="KIND=RATE", help="see below")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of ids and faults (default: 0)")
    parser.add_argument(
        "--contacts", action="append", default=[], metavar="[VENDOR:]FILE", help="add the contacts of a file"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, on a terminal too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve, or explain; return the exit code."""
    try:
        switches = dict(_pair(text) for text in arguments.assume)
        if arguments.action == "explain":
            return _explain(arguments, switches)
        return _serve(arguments, switches)
    except BrokenPipeError:
        raise  # the reader has ended (`explain | head`); `main` handles it
    except (ValueError, OSError) as error:
        return _refuse(str(error))


def _refuse(reason: str) -> int:
    print(f"aelyst sandbox: {reason}", file=sys.stderr)
    return 2


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--assume {text}: write SWITCH=VALUE; `aelyst sandbox explain` lists the switches")
    return name.strip(), value.strip()


def _make(arguments: argparse.Namespace, switches: dict[str, str]) -> Sandbox:
    from aelyst_async.sandbox import Sandbox

    return Sandbox(
        host=arguments.host,
        port=arguments.port,
        db=arguments.db,
        quota=arguments.quota,
        scope=arguments.scope,
        switches=switches,
        faults=arguments.fault,
        seed=arguments.seed,
        hosts=arguments.allow_host,
    )


def _serve(arguments: argparse.Namespace, switches: dict[str, str]) -> int:
    sandbox = _make(arguments, switches)
    factory: Any = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    loop = factory() if factory else asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        panel = sys.stdout.isatty() and not arguments.json
        return int(loop.run_until_complete(_run(sandbox, arguments.contacts, panel=panel)))
    finally:
        with contextlib.suppress(Exception):
            loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


async def _run(sandbox: Sandbox, files: Sequence[str], *, panel: bool) -> int:
    from aelyst_async.sandbox.server import SandboxError, is_loopback

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no signal handlers in an event loop. There Ctrl-C raises KeyboardInterrupt.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    try:
        await sandbox.start()
    except SandboxError as error:
        return _refuse(str(error))
    try:
        _seed(sandbox, files)
        if panel:
            _print_panel(sandbox)
        else:
            print(json.dumps(_ready(sandbox)), flush=True)
        if not is_loopback(sandbox.host):
            print(
                f"warning: --host {sandbox.host}: other machines can connect to this sandbox and read its contacts",
                file=sys.stderr,
            )
        if not panel:
            print(f"inspector page: {sandbox.url}/   stop with Ctrl-C", file=sys.stderr, flush=True)
        await stop.wait()
    finally:
        await sandbox.aclose()
    return 0


def _ready(sandbox: Sandbox) -> dict[str, Any]:
    from aelyst_async.sandbox.vendors import default_vendor, vendors

    return {
        "ready": True,
        "url": sandbox.url,
        "inspector": f"{sandbox.url}/",
        "base_urls": {vendor: sandbox.base_url(vendor) for vendor in vendors()},
        "token": sandbox.token(default_vendor()),
    }


def _print_panel(sandbox: Sandbox) -> None:
    """Print the URLs and the token for a person."""
    from aelyst_async.sandbox.vendors import default_vendor, vendors

    rows = [("inspector", f"{sandbox.url}/"), ("token", sandbox.token(default_vendor()))]
    rows += [(name, sandbox.base_url(name)) for name in vendors()]
    rows += [("try it", "aelyst sync people.csv --to sandbox" + _elsewhere(sandbox)), ("stop", "Ctrl-C")]
    try:
        from rich.console import Console
        from rich.panel import Panel
        from rich.table import Table
    except ImportError:
        print("\n".join(f"{name:<10} {value}" for name, value in rows), flush=True)
        return
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(f"[bold]{name}[/bold]", value)
    Console(highlight=False).print(Panel(table, title="aelyst sandbox", title_align="left", expand=False))


def _elsewhere(sandbox: Sandbox) -> str:
    """Return the option for a sandbox that is not at the default address."""
    from aelyst_async.cli.target import SANDBOX_URL

    return "" if sandbox.url == SANDBOX_URL else f" --base-url {sandbox.url}"


def _seed(sandbox: Sandbox, files: Sequence[str]) -> None:
    from aelyst_async.sandbox.seeding import add_source
    from aelyst_async.sandbox.vendors import default_vendor, vendors
    from aelyst_async.tables import SourceError, read_contacts

    for text in files:
        vendor, colon, path = text.partition(":")
        if not colon or vendor not in vendors():
            vendor, path = default_vendor(), text
        if not Path(path).exists():
            raise ValueError(f"--contacts {text}: No such file")
        source = read_contacts(path)
        try:
            count = add_source(sandbox, vendor, source, functools.partial(_vendor_fields, vendor=vendor))
        except SourceError as error:
            raise ValueError(str(error)) from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        print(f"{printable(path)}: {count} contacts for {vendor}", file=sys.stderr)


def _vendor_fields(columns: Sequence[str], vendor: str) -> dict[str, Any]:
    """Return the argument `fields` of `add_source`: the fields of a sync's mapping, and the read-only fields.

    Raises `ValueError` for columns that no field fits.
    """
    from aelyst_async.registry import gateway_class
    from aelyst_async.schema import ContactSchema
    from aelyst_async.tables import Mapper
    from aelyst_async.tables.cells import Changed

    schema = getattr(gateway_class(vendor), "schema", None)
    if not isinstance(schema, ContactSchema):
        return {}
    ours = {name: wire for wire, name in schema.read_only.items()}
    mapper = Mapper(schema, key=",".join(name for name in ("email", "phone") if schema.rule(name) is not None))
    header = mapper.header([name for name in columns if name not in {*schema.read_only, *ours}])
    unknown = [column.name for column in header.columns if column.match == "unknown"]
    if unknown:
        raise ValueError(
            f"no field of {vendor} for the columns {', '.join(map(repr, unknown))}; rename or remove them "
            f"(aelyst fields {vendor} lists the fields)"
        )

    def converter(name: str) -> Any:
        rule = mapper.step(name).rule

        def convert(cell: Any) -> Any:
            value = rule(cell)
            return value.value if isinstance(value, Changed) else value

        return convert

    fields: dict[str, Any] = {name: (ours[name], None) for name in columns if name in ours}
    for column in header.columns:
        rule = schema.rule(column.field or "")
        if rule is not None:
            fields[column.name] = (rule.wire, None)
        elif column.field is not None:  # a custom field with a type
            typed = f"{column.field}:{column.kind}" if column.kind else column.field
            fields[column.name] = (column.field, converter(typed))
    return fields


def _explain(arguments: argparse.Namespace, switches: dict[str, str]) -> int:
    from aelyst_async.sandbox.assumptions import table

    sandbox = _make(arguments, switches)
    rows = table(sandbox.settings.behaviours(), sandbox.settings.values())
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    for basis in ("documented", "assumed"):
        print(f"{basis.upper()}" + ("" if basis == "documented" else ": set with --assume SWITCH=VALUE"))
        for row in rows:
            if row["basis"] == basis:
                print(f"  {row['name']:<28} {row['summary']}")
                if row["values"]:
                    values = row["values"][0] if row["free"] else " | ".join(row["values"])
                    print(f"  {'':<28} = {row['value']}   of: {values}")
                print(f"  {'':<28} source: {row['source']}")
                if row["url"]:
                    print(f"  {'':<28} page:   {row['url']}")
        print()
    return 0
