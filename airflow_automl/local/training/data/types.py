"""What a column holds, judged by all of its values rather than by the first ones."""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["NULLS", "NUMERIC_NULLS", "Kind", "infer", "kind_of"]


class Kind(StrEnum):
    """How the values of a column are read, here and again when the model is served."""

    INTEGER = "integer"
    FLOAT = "float"
    DATETIME = "datetime"
    DAY_FIRST = "datetime-day-first"
    """Dates such as ``25.12.2026``: the same rows must not be read as American dates when the model is served."""
    TEXT = "text"

    @property
    def is_moment(self) -> bool:
        """Whether the values are dates or times."""
        return self in (Kind.DATETIME, Kind.DAY_FIRST)


NULLS = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "<NA>")
"""Spellings of a missing value, in every column."""

NUMERIC_NULLS = ("None", "none", "NONE", "Null", "?", "-", ".")
"""Also missing where all other values are numbers; in a text column these are values like any other."""

# Where one of these stands for a missing number, so does an infinite one; elsewhere that is a number.
_NUMERIC_NULLS = pa.array([*NUMERIC_NULLS, "inf", "-inf"])

# Codes: numbers don't start with a zero that is followed by a digit, and 20 digits are no quantity.
_CODE = r"^[+-]?0\d|^[+-]?\d{19,}$"
_DATE_HINT = r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d{1,2}:\d{2}.*)?$"
_DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M:%S",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m/%d/%Y %H:%M",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%m/%d/%y",
)
_SAMPLE = 1000


def infer(values: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Kind]:
    """Turn a column of strings into the narrowest type that fits all its values.

    Codes with leading zeros stay text, because ``01000`` is not the number 1000; so does a column that turns to text
    only in its last row.

    :param values: strings, missing values already null; or what was read as numbers or timestamps because all of its
        values are.
    :return: the column, and what it holds.
    """
    if not pa.types.is_string(values.type):
        return _typed(values)
    filled = values.drop_null()
    if len(filled) == 0:
        return values.cast(pa.float64()), Kind.FLOAT
    number = _numbers(values)
    if number is not None:
        return number
    return _dates(values, filled) or (values, Kind.TEXT)


def _typed(values: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Kind]:
    if values.null_count == len(values):
        return values.cast(pa.float64()), Kind.FLOAT
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.timestamp("us")), Kind.DATETIME
    return values, Kind.INTEGER if pa.types.is_integer(values.type) else Kind.FLOAT


def _numbers(values: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Kind] | None:
    head = values.slice(0, _SAMPLE).drop_null()
    # A glance at the start spares most text columns the full conversion.
    if len(head) and pc.sum(pc.match_substring_regex(head, r"\d")).as_py() == 0 and not _all_missing(head):
        return None
    if _narrowest(_cleaned(head))[0] is None:
        return None
    converted, kind = _narrowest(values)
    if converted is None:
        cleaned = _cleaned(values)
        if cleaned.null_count == len(cleaned):
            return None
        converted, kind = _narrowest(cleaned)
        if converted is None:
            return None
    if _may_be_codes(values, converted, kind) and pc.any(pc.match_substring_regex(values, _CODE)).as_py():
        return None
    return converted, kind


def _cleaned(values: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(values)
    missing = pc.is_in(trimmed, value_set=_NUMERIC_NULLS)
    return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)


def _may_be_codes(values: pa.ChunkedArray, converted: pa.ChunkedArray, kind: Kind) -> bool:
    """Whether the costlier look at the digits is worth it: numbers that print as they were read hold no code."""
    if kind is Kind.INTEGER:
        return not pc.all(pc.equal(converted.cast(pa.string()), values)).as_py()
    return bool(pc.all(pc.equal(pc.floor(converted), converted)).as_py())


def _narrowest(values: pa.ChunkedArray) -> tuple[pa.ChunkedArray | None, Kind]:
    integers = _cast(values, pa.int64())
    return (_cast(values, pa.float64()), Kind.FLOAT) if integers is None else (integers, Kind.INTEGER)


def _all_missing(head: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.is_in(pc.utf8_trim_whitespace(head), value_set=_NUMERIC_NULLS)).as_py())


def _cast(values: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray | None:
    try:
        return values.cast(target)
    except pa.ArrowInvalid:
        return None


def _dates(values: pa.ChunkedArray, filled: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Kind] | None:
    sample = filled.slice(0, _SAMPLE)
    if not pc.all(pc.match_substring_regex(sample, _DATE_HINT)).as_py():
        return None
    for candidate in _DATE_FORMATS:
        try:
            pc.strptime(sample, format=candidate, unit="s")
            moments = pc.strptime(values, format=candidate, unit="s").cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            continue
        return moments, Kind.DAY_FIRST if candidate.startswith("%d") else Kind.DATETIME
    # ISO 8601 with fractions or an offset, which strptime lacks.
    for kind in (pa.timestamp("us", tz="UTC"), pa.timestamp("us")):
        instants = _cast(values, kind)
        if instants is not None:
            return instants.cast(pa.timestamp("us")), Kind.DATETIME
    return None


def kind_of(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Kind] | None:
    """Read a typed (Parquet) column as one of ours; text is never re-interpreted, since its writer had the choice.

    :return: the column and what it holds; ``None`` for a nested or binary type that no engine takes.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return kind_of(column.cast(kind.value_type))
    if pa.types.is_boolean(kind):
        return pc.if_else(column, pa.scalar("True"), pa.scalar("False")), Kind.TEXT
    if pa.types.is_integer(kind):
        return (column, Kind.FLOAT) if pa.types.is_uint64(kind) else (column.cast(pa.int64()), Kind.INTEGER)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64()), Kind.FLOAT
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moment = column if kind == pa.date32() or pa.types.is_date(kind) else column.cast(pa.timestamp("us", kind.tz))
        return moment.cast(pa.timestamp("us")), Kind.DATETIME
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string()), Kind.TEXT
    if pa.types.is_null(kind):
        return column.cast(pa.float64()), Kind.FLOAT
    return None
