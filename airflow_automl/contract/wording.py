"""How messages show what was received and what is valid."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

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


def closest(name: str, valid: Iterable[str]) -> list[str]:
    """Find up to three valid names that resemble an unknown one, the closest first."""
    import difflib  # needed only where something is wrong anyway

    plain: dict[str, list[str]] = {}
    for each in valid:
        plain.setdefault(_plain(each), []).append(each)
    wanted = _plain(name[:100])
    found = [wanted] if wanted in plain else difflib.get_close_matches(wanted, plain, n=3, cutoff=0.6)
    if not found and len(wanted) > 3:
        found = [each for each in plain if wanted in each or each in wanted]
    return [each for match in found for each in plain[match]][:3]


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def unknown(name: object, valid: Iterable[str]) -> str:
    """Say that a name is unknown, and name the closest valid ones, or all of them if none is close."""
    names = list(valid)
    close = closest(str(name), names)
    advice = f"did you mean {alternatives(close)}?" if close else f"valid are {', '.join(names)}"
    return f"is unknown; {advice}"
