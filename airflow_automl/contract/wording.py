"""How messages show what was received and what is valid."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["alternatives", "counted", "kind", "show"]

_WIDTH = 80

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = _WIDTH
_repr.maxdict = _repr.maxlist = _repr.maxtuple = 4
_repr.maxlevel = 3


def show(value: Any) -> str:
    """Show a received value in at most about 80 characters."""
    try:
        text = _repr.repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def kind(value: Any) -> str:
    """Name the type of a received value in the words of JSON."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
    return f"a {type(value).__name__}"


def alternatives(values: Iterable[str]) -> str:
    """Join valid values: ``a, b or c``."""
    *rest, last = values
    return f"{', '.join(rest)} or {last}" if rest else last


def counted(number: int, noun: str) -> str:
    """Count something: ``1 entry``, ``3 entries``, ``2 characters``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("ry") else f"{number} {noun}s"
