"""A logged request as a curl command that can be pasted into a shell.

The credential is not in the log. The command takes it from the variable TOKEN and falls back to the sandbox's
well-known one. Everything that came over the wire is quoted: pasting the command runs curl and nothing else.
"""

from __future__ import annotations

import base64
import shlex

from aelyst_async.sandbox.evidence import HIDDEN, LoggedRequest

__all__ = ["as_curl"]

_TOKEN = '"${TOKEN:-sandbox-token}"'  # noqa: S105 - of the sandbox
_LEFT_OUT = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding", "user-agent"})


def as_curl(request: LoggedRequest, base_url: str) -> str:
    """Return the command; `base_url` is the vendor's."""
    parts = ["curl", "-sS", "--path-as-is", "-g", "-X", _quote(request.method), _spliced(base_url + request.path)]
    for name, value in request.headers.items():
        if name.lower() not in _LEFT_OUT:
            parts += ["-H", _spliced(f"{name}: {value}")]
    if not request.body:
        return " ".join(parts)
    try:
        text = request.body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        encoded = base64.b64encode(request.body).decode()
        return f"echo {encoded} | base64 -d | {' '.join(parts)} --data-binary @-"
    return f"{' '.join(parts)} --data-raw {_quote(text)}"


def _quote(text: str) -> str:
    # Control characters that a terminal could act on when pasted are written as escapes of the shell.
    if any(ord(character) < 32 and character not in "\n\t" for character in text) or "\x7f" in text:
        escaped = "".join(f"\\x{ord(one):02x}" if ord(one) < 32 or one in "\x7f'\\" else one for one in text)
        return f"$'{escaped}'"
    return shlex.quote(text)


def _spliced(text: str) -> str:
    """Quote `text` with the shell's variable in the place of a hidden credential."""
    before, hidden, after = text.partition(HIDDEN)
    if not hidden:
        return _quote(text)
    return _quote(before) + _TOKEN + (_quote(after) if after else "")
