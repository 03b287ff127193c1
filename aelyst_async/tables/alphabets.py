"""Rates how plausible a decoding of unknown bytes is, by its words.

charset-normalizer is reliable for prose but not for short lists of names: it reads ``Jürgen`` in Windows-1252 as
``J³rgen``, and ``Jiří`` in Windows-1250 as ``Jiøí``. But every name fits the alphabet of *one* language (no word
contains ``ø`` and ``í``, many contain ``ř`` and ``í``), in one case pattern. So the score of a decoding is the share of
its words with non-ASCII letters that fit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["plausibility", "words"]

# Letters beyond a–z, by language. A word fits if one line holds all of its letters beyond ASCII.
_LATIN = tuple(
    frozenset(letters)
    for letters in (
        "äöüß",  # German
        "àâæçéèêëîïôœùûüÿ",  # French
        "áéíñóúü",  # Spanish
        "áâãàçéêíóôõúü",  # Portuguese
        "àèéìíîòóùú",  # Italian
        "æøåéèòô",  # Danish, Norwegian
        "åäöéü",  # Swedish, Finnish
        "ëïéèöüêáóí",  # Dutch
        "áðéíóúýþæö",  # Icelandic
        "àçéèíïòóúü",  # Catalan
        "ąćęłńóśźż",  # Polish
        "áčďéěíňóřšťúůýž",  # Czech
        "áäčďéíĺľňóôŕšťúýž",  # Slovak
        "áéíóöőúüű",  # Hungarian
        "ăâîșțşţ",  # Romanian
        "čćđšž",  # Croatian, Slovenian, Serbian
        "çğıöşüâîû\u0307",  # Turkish; İ in lower case is i and a dot
        "ąčęėįšųūž",  # Lithuanian
        "āčēģīķļņšūž",  # Latvian
        "äõöüšž",  # Estonian
        "áàâãèéêìíòóôõùúăđĩũơưýạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",  # Vietnamese
    )
)
_CYRILLIC = tuple(
    frozenset("абвгдежзийклмнопрстуфхцчш" + letters)
    for letters in ("ёщъыьэюя", "щьюяіїєґ", "ёыьэюяіў", "щъьюя", "јљњћђџ", "јљњџѓќѕ")
)
"""Russian, Ukrainian, Belarusian, Bulgarian, Serbian, Macedonian."""

# A vowel before its consonant, or a consonant with the following marks and vowels.
_THAI = re.compile(
    r"(?:[\u0e40-\u0e44](?=[\u0e01-\u0e2e])|[\u0e01-\u0e2e][\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]*[\u0e30\u0e32\u0e33]?)+"
)
_SELDOM_THAI = frozenset("ฃฅฆฌฎฏฑฒฤฦฬฮ")

_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "HEBREW", "ARABIC", "THAI", "HANGUL", "CJK", "HIRAGANA", "KATAKANA")
_EASTERN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL"})
_WORD = re.compile(r"[a-zA-Z\u0080-\U0010ffff]+")
_QUOTES = " \u00a0\u3000“”„‘’–—…"
_CURRENCY = "€£¥"
_SIGNS = "®™©"
"""Characters that may follow a word, as in names of companies."""

_HANGUL = frozenset(
    "김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허유남심노하곽성차주우구민진나지엄채원천방공현함변염여추도소석선설마길"
    "연위표명기반왕금옥육인맹제모탁국어은편용예경봉사부가복태목형피두감음빈동온호범좌팽승간상시갈단견당수영철희숙자미순재준훈혁슬"
    "아린율건찬규환웅섭욱식열혜란보람별솔울다라회열름늘봄샘결달빛루로무바초화효후휘흥창춘충중종집청"
)
"""Syllables of Korean names."""

_UNUSUAL_CASE = 0.8
"""The score of a word in lower or upper case only, where a name would begin with a capital."""

_SYMBOL = 0.5
"""The score of a word with a symbol attached, such as ``О°``."""


def words(text: str) -> list[str]:
    """Return the words of `text` that have a character beyond ASCII."""
    found = (word.strip(_QUOTES).lstrip(_CURRENCY) for word in _WORD.findall(text))
    return [word for word in found if not word.isascii()]


def plausibility(found: Iterable[str], encoding: str) -> float:
    """Return how well the words fit, from 0 to 1, when decoded with `encoding`. With control characters it is 0.

    Most of the score is the share of words that fit any language; the rest is the share that fits the most frequent
    one.
    """
    total = fitting = 0.0
    languages: dict[int, float] = {}
    for word in found:
        if any(unicodedata.category(character) in {"Cc", "Cn", "Co", "Cs"} for character in word):
            return 0.0
        total += 1
        value, speakers = _fit(word, encoding)
        fitting += value
        for language in speakers:
            languages[language] = languages.get(language, 0.0) + value
    if not total:
        return 0.0
    return 0.6 * fitting / total + 0.4 * max(languages.values(), default=0) / total


def _fit(word: str, encoding: str) -> tuple[float, Iterable[int]]:
    """Return the score of a word, and the languages it fits."""
    letters = "".join(character for character in word if unicodedata.category(character)[0] in "LM")
    if not letters:
        return _SYMBOL * 0.5, ()
    clean = 1.0 if word.replace("’", "").rstrip(_SIGNS) == letters else _SYMBOL
    scripts = {_script(character) for character in letters}
    if "" in scripts or (len(scripts) > 1 and not scripts <= _EASTERN):
        return 0.0, ()
    if scripts <= _EASTERN:
        return clean * _eastern(letters, encoding), (0,)
    [script] = scripts
    if script == "THAI":
        seldom = sum(character in _SELDOM_THAI for character in letters) / len(letters)
        return (clean * (0.9 - seldom) if _THAI.fullmatch(letters) else 0.0), (0,)
    clean *= _case(letters)
    alphabets = {"LATIN": _LATIN, "CYRILLIC": _CYRILLIC}.get(script)
    if script == "GREEK":
        clean *= _greek(letters)
    if alphabets is None:  # names of two letters are rare in Arabic, Hebrew and Greek
        return clean * (1.0 if len(letters) > 2 else 0.8), (0,)
    special = frozenset(character for character in letters.lower() if not character.isascii())
    speakers = [number for number, alphabet in enumerate(alphabets) if special <= alphabet]
    return (clean if speakers else 0.0), speakers


def _greek(letters: str) -> float:
    """Return the score of a Greek word: one accent (none in capitals), and the final form of sigma only at the end."""
    if "ς" in letters[:-1] or letters.endswith("σ") or "ΰ" in letters:
        return 0.3
    accents = sum(character in "άέήίόύώΐΆΈΉΊΌΎΏ" for character in letters)
    return 1.0 if accents == 1 or letters.isupper() else 0.7


def _case(letters: str) -> float:
    """Return 1 for a word with one capital at the beginning, less for lower or upper case only, 0 for a mixture."""
    if letters.lower() == letters.upper():
        return 1.0
    if letters.islower() or (letters.isupper() and len(letters) > 1):
        return _UNUSUAL_CASE
    return 1.0 if letters[0].isupper() and letters[1:] == letters[1:].lower() else 0.0


def _script(character: str) -> str:
    if character.isascii():
        return "LATIN"
    if "\uff61" <= character <= "\uff9f":  # half-width katakana: bytes of other encodings decoded as Shift-JIS
        return ""
    name = unicodedata.name(character, "")
    return next((script for script in _SCRIPTS if name.startswith(script)), "")


def _eastern(letters: str, encoding: str) -> float:
    """Return how common the characters are. Those of names are in the first level of each standard."""
    family, (low, high) = {
        "gb18030": ("gb2312", (0xB0, 0xD7)),
        "big5": ("big5", (0xA4, 0xC6)),
        "cp932": ("euc_jp", (0xB0, 0xCF)),
        "euc_jp": ("euc_jp", (0xB0, 0xCF)),
        "cp949": ("euc_kr", (0xB0, 0xC8)),
    }.get(encoding, ("", (0, 0)))
    if not family:
        return 0.5
    common = 0.0
    for character in letters:
        if family == "euc_kr":
            common += 1.0 if character in _HANGUL else 0.3
            continue
        if "\u3041" <= character <= "\u30ff":  # kana mean Japanese, although other standards contain them too
            common += family == "euc_jp"
            continue
        try:
            lead = character.encode(family)[0]
        except UnicodeEncodeError:
            continue
        common += low <= lead <= high
    # If two character sets fit, the smaller one is more likely.
    weight = {"euc_kr": 1.0, "euc_jp": 0.92, "big5": 0.9, "gb2312": 0.86}[family]
    if family == "euc_jp" and any("\u3041" <= character <= "\u30ff" for character in letters):
        weight = 1.0
    return weight * common / len(letters)
