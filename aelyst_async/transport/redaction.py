"""Removes credentials from text.

Only the request on the wire contains the credential: our `Request` and our URLs do not, and aiohttp's exceptions, which
do, are never raised to callers. But a server may echo the key in an error body or a header: percent-encoded (once or
several times), with the escapes of JSON, Python or HTML, for all or some of its special characters, and with line
breaks inside, as mail and header software folds long lines. So all text from a server is redacted before it enters an
error. The pattern for a credential allows every escape of each character. It is applied a second time to the text
without its line breaks.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from urllib.parse import unquote_plus

__all__ = ["MASK", "Redactor"]

MASK = "***"

_REMEMBERED = 16
"""Number of credentials to redact: a response that is still pending may echo a rotated one."""

_LONGEST_ESCAPE = 48
"""Largest number of characters that encode one character of a credential, with a line break before it."""

_BREAKS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"[ \t]{0,8}[\r\n\v\f\x85\u2028\u2029][ \t]{0,8}",
        (
            r"[ \t]{0,8}=?(?:[\r\n\v\f\x85\u2028\u2029]|\\{1,4}(?:[rnvf]|u00(?:0[abcd]|85)|u202[89]|x0[abcd])"
            r"|%(?:25){0,2}0[ad]|&(?:amp;)?#(?:0{0,4}1[03]|x0{0,4}[ad]);|<br ?/?>)(?:[ \t]|\\{1,4}t){0,8}"
        ),
    )
)
"""Line breaks with the blanks around them: plain ones, and escaped ones. An escape may also be part of the credential,
so both patterns are tried separately, and the second also with the credential's own escapes left out.
"""

_LOST = re.compile(rf"{_BREAKS[1].pattern}|\\+t?|=", re.IGNORECASE)
"""Parts of a credential that are removed with the escaped line breaks of a text, or with one beside them."""


class _Form:
    """The patterns of a credential, or of its decoded form. ``without_breaks``: for a `str` whose escaped line breaks
    were removed.
    """

    __slots__ = ("as_sent", "without_breaks")

    def __init__(self, form: str) -> None:
        self.as_sent: re.Pattern[str] = re.compile(_pattern(form), re.IGNORECASE)
        self.without_breaks: re.Pattern[str] = re.compile(_without_breaks(form), re.IGNORECASE)


class Redactor:
    """Remembers the credentials in use and replaces them in text by ``***``."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, list[_Form]] = {}  # the forms of each credential, once they are needed

    def learn(self, secret: str) -> None:
        """Redact `secret` from now on."""
        if secret not in self._known:
            self._known[secret] = []
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]

    def scrub(self, text: str) -> str:
        """Return `text` with every known credential replaced by ``***``."""
        for secret, forms in self._known.items():
            if not forms:
                # Compiled once for each credential: that takes milliseconds. The decoded form is what a server that
                # decodes repeatedly may echo.
                forms += [_Form(form) for form in dict.fromkeys((secret, unquote_plus(secret))) if form.strip()]
        known = [form for forms in self._known.values() for form in forms]
        as_sent = [form.as_sent for form in known]
        spans = _spans(text, as_sent)
        for breaks, patterns in zip(_BREAKS, (as_sent, [form.without_breaks for form in known]), strict=True):
            spans += _spans_across(breaks, patterns, text)
        return _mask(text, spans)

    def preview(self, text: str, length: int) -> str:
        """Return the first `length` characters of ``scrub(text)``, without processing megabytes.

        The text is truncated before it is redacted, so a credential at the end would not be found. The part that may
        contain its beginning is left out.
        """
        cut = self.reach(length)
        if len(text) <= cut:
            return self.scrub(text)[:length]
        return self.scrub(text[:cut])[: 2 * length - cut or None][:length]

    def reach(self, length: int) -> int:
        """Return how many characters of a text `preview` needs for a result of `length` characters."""
        return 2 * length + _LONGEST_ESCAPE * max(map(len, self._known), default=0)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._known)} credentials>"


def _spans(text: str, patterns: list[re.Pattern[str]]) -> list[tuple[int, int]]:
    """Return the start and the end of each match."""
    return [match.span() for pattern in patterns for match in pattern.finditer(text)]


def _spans_across(line_break: re.Pattern[str], patterns: list[re.Pattern[str]], text: str) -> list[tuple[int, int]]:
    """Return the matches in `text` without its line breaks; each with the breaks inside it."""
    breaks = list(line_break.finditer(text))
    if not breaks:
        return []
    # The position of each piece between two breaks, in `text` and in the pieces joined.
    origins, starts, pieces = [0], [0], [text[: breaks[0].start()]]
    for this, following in zip(breaks, [*breaks[1:], None], strict=True):
        origins.append(this.end())
        starts.append(starts[-1] + len(pieces[-1]))
        pieces.append(text[this.end() : None if following is None else following.start()])

    def origin(position: int, piece: int) -> int:
        return origins[piece] + position - starts[piece]

    return [
        (origin(start, bisect_right(starts, start) - 1), origin(end, bisect_left(starts, end) - 1))
        for start, end in _spans("".join(pieces), patterns)
        if end > start  # a pattern may match nothing
    ]


def _mask(text: str, spans: list[tuple[int, int]]) -> str:
    """Replace each span of `text` by ``***``, and overlapping spans by one."""
    shown, end = [], 0
    for start, stop in sorted(spans):
        if start >= end and stop > start:
            shown += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*shown, text[end:]])


def _pattern(secret: str) -> str:
    # One quantifier for consecutive backslashes: nested ones (``(a+)+``) would take exponential time.
    return "".join(
        re.escape(piece) if piece.isalnum() else _escapes(piece[0], len(piece))
        for piece in re.findall(r"\\+|[^\\]", secret)
    )


def _without_breaks(secret: str) -> str:
    """Return a pattern for the credential in a text without escaped line breaks. What looks like one, or like a part of
    one, may be missing.
    """
    parts, end = [], 0
    for own in _LOST.finditer(secret):
        parts.append(_pattern(secret[end : own.start()]))
        parts += [f"(?:{_pattern(piece)})?" for piece in re.findall(r"\\+|[^\\]", own[0])]
        end = own.end()
    return "".join([*parts, _pattern(secret[end:])])


def _escapes(character: str, count: int) -> str:
    r"""Return a pattern for all encodings of `character`: ``/ \/ %2F %252F \u002f \x2f &#47; &#x2f;``…"""
    code = ord(character)
    plain = rf"\\{{1,{16 * count}}}" if character == "\\" else rf"\\{{0,16}}{re.escape(character)}"
    named = {"&": "|amp", "<": "|lt", ">": "|gt", '"': "|quot", "'": "|apos"}.get(character, "")
    return (
        rf"(?:{plain}|(?:%(?:25){{0,8}}{code:02x}|\\{{1,16}}(?:u00|x){code:02x}"
        rf"|&(?:amp;)?(?:#0{{0,4}}{code}|#x0{{0,4}}{code:x}{named});){{{count}}})"
    )
