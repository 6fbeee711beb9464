"""Values from anywhere as Arrow has them: from requests, from frames and from files."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

log = logging.getLogger(__name__)

TELLING_SHARE = 0.01
"""From this part of the rows on, what is lost is a PartialFailureReason."""

FEW = 256
"""Up to this number, values are read one by one; beyond it, each distinct value is read once."""


class Refused(ValueError):
    """A value that its column can't have.

    :param row: its position, from 0.
    :param message: what the column takes, and what was found.
    """

    def __init__(self, row: int, message: str) -> None:
        self.row = row
        super().__init__(message)


class Unusable(ValueError):
    """A column of a type that cannot be learned from."""


class Notes(list[str]):
    """Sentences on data that a person should know, logged at a level as they are added."""

    def __init__(self, given: Iterable[str] = (), level: int = logging.WARNING) -> None:
        super().__init__()
        self._level = level
        self.failures: list[str] = []
        """Those that belong into PartialFailureReasons."""
        self.extend(given)

    def append(self, note: str) -> None:
        """Add and log a sentence."""
        log.log(self._level, "%s", note)
        super().append(note)

    def extend(self, notes: Iterable[str]) -> None:
        """Add and log sentences."""
        for note in notes:
            self.append(note)

    def tell(self, note: str, lost: int, rows: int) -> None:
        """Add what is lost of some rows; of more than 1 % it is a PartialFailureReason."""
        self.append(note)
        if lost > TELLING_SHARE * rows:
            self.failures.append(note)

    def unread(self, name: str, kind: str, values: pa.ChunkedArray, lost: np.ndarray) -> None:
        """Say which values of a column can't be read and so count as missing, if there are any."""
        if len(lost):
            what = {"number": "numbers", "moment": "dates between 1678 and 2262"}.get(kind, "texts")
            note = f"{len(lost)} of {len(values)} values of the column '{name}' can't be read as {what} and count as "
            self.tell(f"{note}missing: {places(values, lost)}.", len(lost), len(values))


def left_out(name: str, error: Unusable) -> str:
    """Say that a column is not learned from, and why."""
    return f"The column '{name}' is left out: {error}. Write it as numbers, texts or timestamps."


def places(values: pa.ChunkedArray, lost: np.ndarray) -> str:
    """Values that can't be read, and in which rows they are."""
    found = pd.Series([shown(values[int(row)].as_py()) for row in lost[:1000]])
    parts = []
    for text, rows in list(found.groupby(found, sort=False).groups.items())[:3]:
        parts.append(f"'{text}' in {len(rows)} rows (first in row {int(lost[rows[0]]) + 1})")
    return ", ".join(parts)


def shown(value: object) -> str:
    """A value in a message, as people write it."""
    text = str(value).removesuffix(" 00:00:00")[:60]
    return text.removesuffix(".0") if isinstance(value, float) else text


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values in one of the types that a codec knows; strings may be encoded."""
    kind = values.type
    if isinstance(kind, pa.ExtensionType):
        return plain(values.cast(kind.storage_type))
    if pa.types.is_dictionary(kind) and not pa.types.is_string(kind.value_type):
        return plain(values.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.string())
    if is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return values
    if pa.types.is_decimal(kind):
        # By way of text, because Arrow does not round decimals to the nearest float.
        return values.cast(pa.string()).cast(pa.float64())
    if pa.types.is_null(kind) or pa.types.is_floating(kind):
        return values.cast(pa.float64())
    if pa.types.is_timestamp(kind):
        return values.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.timestamp("us"))
    if pa.types.is_date(kind):
        return values.cast(pa.timestamp("us"))
    raise Unusable(f"the type {kind} can't be learned from")


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is a string, encoded or not."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def encoded(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column whose distinct texts are found once, to choose its codec and to read it."""
    return values.dictionary_encode() if pa.types.is_string(values.type) and len(values) > FEW else values


def distinct(values: pa.ChunkedArray) -> tuple[list[Any], np.ndarray | None]:
    """The distinct values and the position of each row's among them; few values as they are."""
    if len(values) <= FEW:
        return values.to_pylist(), None
    if pa.types.is_dictionary(values.type):
        values = values.unify_dictionaries()
        chunks = values.chunks
        found = [*chunks[0].dictionary.to_pylist(), None]
        indices = pa.chunked_array([chunk.indices for chunk in chunks])
    else:
        one = values.combine_chunks().dictionary_encode()
        found = [*one.dictionary.to_pylist(), None]
        indices = pa.chunked_array([one.indices])
    return found, indices.fill_null(len(found) - 1).to_numpy()


def arrow(values: Iterable[Any]) -> pa.ChunkedArray:
    """Values of a request or of a frame's column as Arrow has them; of differing types, each as text.

    :param values: a list, or a column of a frame.
    :raises Refused: a value is a list or an object.
    """
    try:
        found = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, pa.ArrowNotImplementedError):
        found = pa.array([_text(value, row) for row, value in enumerate(values)], pa.string())
    except UnicodeEncodeError as error:
        row = next(row for row, value in enumerate(values) if value is not None and error.object == value)
        raise Refused(row, "not half of a character (a lone surrogate)") from error
    if pa.types.is_nested(found.type) and not pa.types.is_dictionary(found.type):
        row = next(row for row, value in enumerate(values) if isinstance(value, Mapping | Sequence | np.ndarray))
        raise Refused(row, "not a list or an object")
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])


def _text(value: Any, row: int) -> str | None:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, dict | list | tuple | set | np.ndarray):
        raise Refused(row, "not a list or an object")
    return str(value)


def by_type(values: Iterable[Any]) -> list[tuple[np.ndarray, pa.ChunkedArray]]:
    """Values grouped by their types, so that what a value is read as does not depend on the values beside it.

    :param values: a list, or a column of a frame.
    :return: the positions and the values of each type; missing ones are in the first group.
    """
    if isinstance(values, pd.Series) and values.dtype != object:
        return [(np.arange(len(values)), arrow(values))]
    entries = list(values)
    if len(set(map(type, entries)) - {type(None)}) <= 1:
        return [(np.arange(len(entries)), arrow(entries))]
    missing, groups = [], dict[type, list[int]]()
    for position, value in enumerate(entries):
        if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
            missing.append(position)
        else:
            groups.setdefault(type(value), []).append(position)
    if len(groups) <= 1:
        return [(np.arange(len(entries)), arrow(entries))]
    first = next(iter(groups.values()))
    first += missing
    found = []
    for positions in groups.values():
        try:
            found.append((np.array(positions), arrow([entries[position] for position in positions])))
        except Refused as error:
            raise Refused(positions[error.row], str(error)) from error
    return found
