"""The part of JSONPath that batch transform knows: members, indexes, lists of either, and slices."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_STEP = re.compile(
    r"""\.(?P<name>[\w-]+)
      | \[\s*(?P<names>'[^']*'(?:\s*,\s*'[^']*')*)\s*\]
      | \[\s*(?P<slice>-?\d*\s*:\s*-?\d*)\s*\]
      | \[\s*(?P<indexes>-?\d+(?:\s*,\s*-?\d+)*)\s*\]
      | (?P<all>\[\s*\*\s*\]|\.\*)""",
    re.VERBOSE | re.ASCII,
)

Filter = Callable[[Any], Any]


class PathError(Exception):
    """A path that is none, or that a record does not have; the message says which."""


def parse(path: str) -> Filter:
    """Read a path such as ``$[1:]``, ``$[0,-1]``, ``$.features`` or ``$['a','b']``.

    :return: takes a record, returns what the path selects.
    :raises PathError: if the path can't be read.
    """
    if not path.startswith("$"):
        raise PathError(f"received {path!r}; a path begins with $")
    steps: list[Filter] = []
    position = 1
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise PathError(
                f"received {path!r}, which can't be read from {path[position:]!r} on; "
                "valid are members ($.a, $['a','b']), indexes ($[0,-1]), slices ($[1:]) and *"
            )
        steps.append(_step(match))
        position = match.end()

    def select(record: Any) -> Any:
        for step in steps:
            try:
                record = step(record)
            except (KeyError, IndexError, TypeError, AttributeError):
                raise PathError(f"the path {path!r} is not in a record") from None
        return record

    return select


def _step(match: re.Match[str]) -> Filter:
    if (name := match["name"]) is not None:
        return lambda record: _member(record, name)
    if match["names"] is not None:
        names = re.findall(r"'([^']*)'", match["names"])
        if len(names) == 1:
            return lambda record: _member(record, names[0])
        return lambda record: {name: _member(record, name) for name in names}
    if match["slice"] is not None:
        first, last = (int(part) if part.strip() else None for part in match["slice"].split(":"))
        return lambda record: _sequence(record)[first:last]
    if match["indexes"] is not None:
        indexes = [int(part) for part in match["indexes"].split(",")]
        if len(indexes) == 1:
            return lambda record: _sequence(record)[indexes[0]]
        return lambda record: [_sequence(record)[index] for index in indexes]
    return lambda record: list(record.values()) if isinstance(record, dict) else list(_sequence(record))


def _member(record: Any, name: str) -> Any:
    if not isinstance(record, dict):
        raise TypeError
    return record[name]


def _sequence(record: Any) -> list[Any]:
    if not isinstance(record, list):
        raise TypeError
    return record
