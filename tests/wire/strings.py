"""Strings that match a pattern of the service model, drawn at random."""

from __future__ import annotations

import re
from functools import cache
from random import Random

# The parser of the standard library's own patterns; its module is private, its result is stable since Python 3.11.
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

#: What Unicode's categories stand for here: characters of several scripts, and one beyond the basic plane.
CATEGORIES = {r"\p{L}": "a-zA-Zäßøñжλ中日\U00020000", r"\p{Z}": " \u00a0\u2003", r"\p{N}": "0-9٣½"}
_ANY = "abcXYZ019-_/.:=+ ä中"
_REPEATS = 8


def matching(random: Random, pattern: str, lowest: int, highest: int | None) -> str:
    """Draw a string of an allowed length that matches the pattern as a whole."""
    for _ in range(500):
        text = "".join(_draw(random, node) for node in _parsed(pattern))
        if len(text) >= lowest and (highest is None or len(text) <= highest):
            return text
    raise AssertionError(f"no string of {lowest} to {highest} characters for the pattern {pattern}")


@cache
def _parsed(pattern: str) -> Any:
    for category, members in CATEGORIES.items():
        pattern = pattern.replace(category, members)
    return parser.parse(pattern, re.ASCII)


def _draw(random: Random, node: Any) -> str:
    kind, value = node
    if kind is code.LITERAL:
        return chr(value)
    if kind is code.ANY:
        return random.choice(_ANY)
    if kind is code.AT:
        return ""
    if kind is code.IN:
        return _member(random, value)
    if kind is code.NOT_LITERAL:
        return random.choice([character for character in _ANY if ord(character) != value])
    if kind is code.MAX_REPEAT:
        low, high, inner = value
        most = low + _REPEATS if high is code.MAXREPEAT else min(high, low + _REPEATS)
        return "".join(_draw(random, item) for _ in range(random.randint(low, most)) for item in inner)
    if kind is code.SUBPATTERN:
        return "".join(_draw(random, item) for item in value[-1])
    if kind is code.BRANCH:
        return "".join(_draw(random, item) for item in random.choice(value[1]))
    raise AssertionError(f"pattern element {node} is not known here; teach it to this module")


def _member(random: Random, members: Any) -> str:
    if members[0][0] is code.NEGATE:
        forbidden = {chr(item) for kind, item in members[1:] if kind is code.LITERAL}
        return random.choice([character for character in _ANY if character not in forbidden])
    choices: list[tuple[int, int]] = []
    for kind, value in members:
        if kind is code.LITERAL:
            choices.append((value, value))
        elif kind is code.RANGE:
            choices.append(value)
        elif kind is code.CATEGORY and value is code.CATEGORY_DIGIT:
            choices.append((ord("0"), ord("9")))
        else:
            raise AssertionError(f"member {kind} {value} of a class is not known here; teach it to this module")
    low, high = random.choice(choices)
    return chr(random.randint(low, high))
