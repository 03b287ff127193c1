"""Detects the encoding of a table: byte order mark, strict UTF-8, UTF-16 by its NUL bytes, then a guess.

The whole file is checked once, in pieces, for valid UTF-8. If it is not valid, the encoding is guessed from the lines
with non-ASCII bytes: charset-normalizer proposes encodings, and `alphabets.plausibility` rates the words of each. The
guess is used if the best encoding is clearly better than all that decode the names *differently*; the caller reports
it. A weak guess is refused with an error that shows three names in each candidate.

A file with a few invalid bytes is still UTF-8. Bytes that cannot be decoded become lone surrogates, which the rules for
cells refuse. So a damaged cell fails its row and not the run.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator

import attrs

from aelyst_async.tables.alphabets import plausibility, words
from aelyst_async.tables.errors import SourceError

__all__ = ["Encoding", "check_name", "detect"]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, because its mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PIECE = 1 << 18
_SAMPLE = 1 << 16
"""Number of bytes, in lines with non-ASCII bytes, that a guess uses."""

_USUAL = (
    "cp1252", "cp1250", "cp1251", "cp932", "gb18030", "big5", "cp949", "mac_roman", "cp1253", "cp1254", "cp1255",
    "cp1256", "cp874",
)  # fmt: skip
_SELDOM = (
    "cp1257", "koi8_r", "cp850", "iso8859_2", "euc_jp", "mac_latin2", "mac_cyrillic", "cp866", "iso8859_5",
    "iso8859_7", "cp852", "koi8_u",
)  # fmt: skip
"""Encodings that are always tried. If several give the same text, the first one is the guess."""

_NAMES = {
    "cp1252": "Windows-1252", "cp1250": "Windows-1250", "cp1251": "Windows-1251", "cp1253": "Windows-1253",
    "cp1254": "Windows-1254", "cp1255": "Windows-1255", "cp1256": "Windows-1256", "cp1257": "Windows-1257",
    "cp932": "Shift-JIS", "mac_roman": "MacRoman", "gb18030": "GB18030", "big5": "Big5", "cp949": "EUC-KR",
    "koi8_r": "KOI8-R", "euc_jp": "EUC-JP", "utf-8": "UTF-8", "utf-8-sig": "UTF-8", "utf-16": "UTF-16",
    "utf-16-le": "UTF-16LE", "utf-16-be": "UTF-16BE", "utf-32": "UTF-32",
}  # fmt: skip

_SURE = 0.7
"""Smallest plausibility of the best encoding."""

_LEAD = 0.05
_LEAD_OF_FEW = 0.1
"""Smallest distance to another encoding; the second value is for fewer than `_FEW` words."""

_FEW = 6
_CONTROLS = bytes({*range(32)} - {*b"\t\n\v\f\r\x1a\x1b"})
_FEW_CONTROLS = 0.02
"""Largest share of control characters in a text file that is not UTF-16."""

_LETTERS = 3
"""Smallest number of letters for a guess."""


@attrs.frozen
class Encoding:
    """An encoding: Python's name, the name for people, and how it was detected."""

    codec: str
    name: str
    told_by: str

    @property
    def errors(self) -> str:
        """The error handler: an invalid byte becomes a lone surrogate, which the cell's rule refuses."""
        return "strict" if self.codec.startswith(("utf-16", "utf-32")) else "surrogateescape"


def check_name(encoding: str) -> str:
    """Return Python's name of an encoding. Raises `SourceError`."""
    try:
        name = codecs.lookup(encoding).name
        "a".encode(name)
    except (LookupError, ValueError, TypeError):
        raise SourceError(
            f"--encoding {encoding}: not an encoding that Python knows, such as utf-8, windows-1252, shift_jis"
        ) from None
    return name


def detect(binary: io.BufferedReader, name: str, told: str | None) -> Encoding:
    """Return the encoding of `binary`, which is read to its end. `told` has precedence. Raises `SourceError`."""
    head = binary.peek(1 << 12)[: 1 << 12]
    mark = next((codec for bom, codec in _BOMS if head.startswith(bom)), None)
    if told is not None:
        codec = check_name(told)
        if mark is not None and codec in {"utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"}:
            codec = mark if mark.startswith(codec[:6]) else codec
        return Encoding(codec, told, "flag")
    if mark is not None:
        return Encoding(mark, _NAMES[mark], "BOM")
    if b"\0" in head and (found := _wide(head, name)) is not None:
        return found
    scan = _Scan()
    scan.read(iter(lambda: binary.read(_PIECE), b""))
    if not scan.invalid or scan.valid >= 2 * scan.invalid:
        return Encoding("utf-8", "UTF-8", "UTF-8")
    return _guess(bytes(scan.sample), name + scan.where)


def _wide(head: bytes, name: str) -> Encoding | None:
    """Return the variant of UTF-16 that the positions of NUL bytes indicate. None: a few NUL bytes in another encoding,
    each of which is a fault of its row only. Raises `SourceError` for a file that is not text.
    """
    even = head[: len(head) // 2 * 2]
    readings: list[tuple[int, str]] = []
    for codec in ("utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(codec)().decode(even)
        except UnicodeDecodeError:
            continue
        usual = sum(character.isprintable() or character in "\r\n\t" for character in text)
        ascii_ = sum(character in '\r\n\t,;|" @.0123456789' for character in text)
        if usual == len(text) and ascii_:
            readings.append((ascii_, codec))
    if not readings and len(head) - len(head.translate(None, _CONTROLS)) <= _FEW_CONTROLS * len(head):
        return None
    if not readings:
        raise SourceError(f"{name} is not a text file: it has zero bytes; export the table as CSV")
    codec = max(readings)[1]
    return Encoding(codec, _NAMES[codec], "guess")


class _Scan:
    """Counts valid and invalid non-ASCII UTF-8, and keeps the lines for a guess."""

    def __init__(self) -> None:
        self.valid = 0
        self.invalid = 0
        self.sample = bytearray()
        self.where = ""
        self._lines = 0

    def read(self, pieces: Iterator[bytes]) -> None:
        rest = b""
        for piece in pieces:
            data = rest + piece
            cut = len(data)
            if data.isascii():
                self._lines += data.count(b"\n")
            else:
                if self.invalid > 10_000 and self.invalid > self.valid and len(self.sample) >= _SAMPLE:
                    return  # the result cannot change
                cut = data.rfind(b"\n") + 1 or cut
                if cut == len(data) and len(data) < 4 * _PIECE:  # no line end yet: a character may be incomplete
                    rest = data
                    continue
                self._count(data[:cut])
            rest = data[cut:]
        if rest:
            self._count(rest)

    def _count(self, data: bytes) -> None:
        """Count the continuation bytes of valid characters, and the invalid bytes."""
        try:
            self.valid += len(data) - len(data.decode())
        except UnicodeDecodeError as error:
            if not self.where:
                line, column = data.count(b"\n", 0, error.start), error.start - data.rfind(b"\n", 0, error.start)
                self.where = f", line {self._lines + line + 1}, byte {column} (0x{data[error.start]:02X})"
            valid = data.decode("utf-8", "ignore")
            kept = len(valid.encode())
            self.valid += kept - len(valid)
            self.invalid += len(data) - kept
        self._lines += data.count(b"\n")
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        if len(self.sample) < _SAMPLE:
            for line in data.splitlines(keepends=True):
                if not line.isascii():
                    self.sample += line[:2_000]
                    if len(self.sample) >= _SAMPLE:
                        return


def _guess(sample: bytes, name: str) -> Encoding:
    readings: dict[tuple[str, ...], tuple[float, str]] = {}
    for codec in _candidates(sample):
        try:
            found = tuple(words(sample.decode(codec)))
        except (UnicodeDecodeError, LookupError):
            continue
        score = plausibility(found, codec) - (0.0 if codec in _USUAL else 0.04 if codec in _SELDOM else 0.15)
        if found not in readings or score > readings[found][0]:  # if texts are equal, the first one is kept
            readings[found] = (score, codec)
    ranked = sorted(
        ((score, codec, found) for found, (score, codec) in readings.items()), key=lambda item: item[0], reverse=True
    )
    lead = ranked[0][0] - ranked[1][0] if len(ranked) > 1 else 1.0
    some = bool(ranked) and sum(map(len, ranked[0][2])) >= _LETTERS
    if some and ranked[0][0] >= _SURE and lead >= (_LEAD if len(ranked[0][2]) >= _FEW else _LEAD_OF_FEW):
        codec = ranked[0][1]
        return Encoding(codec, _NAMES.get(codec, codec), "guess")
    raise SourceError(_undecided(name, ranked))


def _candidates(sample: bytes) -> Iterable[str]:
    """Return the encodings to try, without duplicates."""
    proposed: list[str] = []
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        pass
    else:
        proposed = [match.encoding for match in from_bytes(sample[:16_384])]
    return dict.fromkeys((*_USUAL, *_SELDOM, *proposed))


def _undecided(name: str, ranked: list[tuple[float, str, tuple[str, ...]]]) -> str:
    shown = [(codec, found) for score, codec, found in ranked if score >= ranked[0][0] - 0.3][:4]
    if len(shown) < 2:
        shown = [(codec, found) for _, codec, found in ranked[:4]]
    # Only the words that differ between the candidates are shown.
    count = min((len(found) for _, found in shown), default=0)
    different = [index for index in range(count) if len({found[index] for _, found in shown}) > 1] or list(range(count))
    lines = "; ".join(
        f"--encoding {_NAMES.get(codec, codec).lower()}: " + ", ".join(_at(found, different[:3]))
        for codec, found in shown
    )
    said = f"names in it would read {lines}" if lines else "name it with --encoding"
    return f"{name}: not UTF-8, and the encoding cannot be told for sure; {said}"


def _at(found: tuple[str, ...], positions: list[int]) -> list[str]:
    return [repr(found[position][:20]) for position in positions if position < len(found)]
