"""The service model's patterns, read as the service reads them.

They are Java's: ``\\d`` is ``[0-9]``, ``\\w`` and ``\\s`` are ASCII, ``\\p{L}`` names a Unicode category, characters
beyond the Basic Multilingual Plane are written as surrogate pairs. A value matches as a whole or not at all.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Protocol, cast

_ASCII_CLASSES = {"d": "0-9", "w": "a-zA-Z0-9_", "s": r" \t\n\x0b\f\r"}
_CLASS = re.compile(r"\[(?:\\.|[^\]\\])*\]")
# The ASCII characters of each category, for use inside brackets.
_ASCII_CATEGORIES = {r"\p{L}": "a-zA-Z", r"\p{N}": "0-9", r"\p{Z}": " "}
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_SURROGATE_PAIR = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")

#: Pattern → its meaning in words.
_MEANINGS = {
    r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}": "letters, digits and hyphens, a letter or digit first and last",
    r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}": "letters, digits and hyphens, a letter or digit first and last",
    r"[a-zA-Z0-9](-*[a-zA-Z0-9])*": "letters, digits and hyphens, a letter or digit first and last",
    r"(https|s3)://([^/]+)/?(.*)": "an address such as s3://bucket/folder/",
    r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+": "a role such as arn:aws:iam::123456789012:role/AutoML",
    r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)": "letters, digits, blanks and _ . : / = + - @",
    r"[a-zA-Z0-9:/_-]*": "a key id, ARN or alias: letters, digits and : / _ -",
    r"[a-zA-Z0-9_-]+": "letters, digits, underscores and hyphens",
    r"[a-zA-Z0-9\_\-]+": "letters, digits, underscores and hyphens",
    r"[a-zA-Z0-9._-]+": "letters, digits, dots, underscores and hyphens",
    r"[-0-9a-zA-Z]+": "letters, digits and hyphens",
    r"[A-Z]{2}": "two capital letters, such as US",
    r"(^p[1-9]\d?$)": "p1 to p99",
}


class _Compiled(Protocol):
    def fullmatch(self, string: str) -> Any: ...


def matches(pattern: str, value: str) -> bool:
    """Return whether a whole value matches a pattern of the service model."""
    compiled = _compile_for_ascii(pattern) if value.isascii() else None
    return (compiled or _compile(pattern)).fullmatch(value) is not None


def describe_pattern(pattern: str) -> str:
    """Say what a pattern means, in words where this package has them."""
    meaning = _MEANINGS.get(pattern)
    return f"{meaning} (pattern {pattern})" if meaning else f"a match of the pattern {pattern}"


@cache
def _compile_for_ascii(pattern: str) -> _Compiled | None:
    """Compile what the pattern means for ASCII values, without the cost of importing ``regex``."""
    if _needs_regex(_CLASS.sub("", pattern)):
        return None
    for category, members in _ASCII_CATEGORIES.items():
        pattern = pattern.replace(category, members)
    try:
        return None if _needs_regex(pattern) else re.compile(_translate(pattern, classes=False), re.ASCII)
    except re.error:
        return None


@cache
def _compile(pattern: str) -> _Compiled:
    if not _needs_regex(pattern):
        return re.compile(_translate(pattern, classes=False), re.ASCII)
    import regex  # slow to import, and needed only for tags beyond ASCII

    return cast(_Compiled, regex.compile(_translate(pattern, classes=True)))


def _needs_regex(pattern: str) -> bool:
    return r"\p" in pattern or r"\P" in pattern


def _translate(pattern: str, *, classes: bool) -> str:
    pattern = _SURROGATE_PAIR.sub(_join_surrogates, pattern)
    if not classes:
        return pattern
    translated, in_class, position = [], False, 0
    while position < len(pattern):
        if escape := _ESCAPE.match(pattern, position):
            translated.append(_ascii_class(escape[1], in_class) or escape[0])
            position = escape.end()
            continue
        character = pattern[position]
        in_class = character == "[" or (in_class and character != "]")
        translated.append(character)
        position += 1
    return "".join(translated)


def _ascii_class(letter: str, in_class: bool) -> str | None:
    if letter in _ASCII_CLASSES:
        return _ASCII_CLASSES[letter] if in_class else f"[{_ASCII_CLASSES[letter]}]"
    if not in_class and letter.lower() in _ASCII_CLASSES:
        return f"[^{_ASCII_CLASSES[letter.lower()]}]"
    return None


def _join_surrogates(pair: re.Match[str]) -> str:
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"
