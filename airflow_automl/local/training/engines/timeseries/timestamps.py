"""Timestamps as people write them → moments on one clock, with or without time zones."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import moments
from airflow_automl.local.training.data.codec import NULLS, NUMERIC_NULLS
from airflow_automl.local.training.data.columns import trimmed
from airflow_automl.local.training.engines.timeseries.frequency import Frequency

_SECONDS, _MILLISECONDS = "seconds", "milliseconds"
_PARTIAL = re.compile(r"(\d{4})-(\d{1,2})", re.ASCII)
_COMPACT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(?:T?(\d{2})(\d{2})(\d{2})?)?", re.ASCII)
_ADVICE = "write timestamps as 2024-01-31 or 2024-01-31 13:00:00"


def decide(column: pa.ChunkedArray, name: str) -> str:
    """Decide how a column of timestamps is read, from all of its values.

    :param column: text, numbers, dates or timestamps.
    :param name: of the column, for messages.
    :return: ``seconds`` or ``milliseconds`` since 1970, or the order of day, month and year; see :func:`parse`.
    :raises JobFailure: a value is no timestamp, or could be two.
    """
    texts = [text for text in _distinct(column, name)[0] if text is not None]
    digits = {len(text) if text.isdigit() else 0 for text in texts}
    if digits in ({10}, {13}):
        return _SECONDS if digits == {10} else _MILLISECONDS
    dates = [text for text in texts if _other(text) is None]
    order = moments.order_of(dates) if dates else "ymd"
    if order is None:
        order = moments.most_readable(dates)
        unread = next(text for text in dates if moments.read(text, order) is None)
        raise JobFailure(f"The timestamp column '{name}' has the value '{unread[:60]}'; {_ADVICE}.")
    if order != "ymd" and "." not in dates[0] and moments.ambiguous(dates):
        raise JobFailure(
            f"In the timestamp column '{name}' day and month can't be told apart ('{dates[0]}'): {_ADVICE}."
        )
    return order


def parse(column: pa.ChunkedArray, name: str, frequency: Frequency, form: str) -> np.ndarray:
    """Read a column of timestamps.

    Text may be ISO 8601 (a year, a month, a day, or with a time), a date with slashes, dots or dashes, or seconds or
    milliseconds since 1970. With time zones, the day that was written down counts if a step is a day or longer; below
    that all instants are brought to UTC, so that no hour of a change of clocks is lost or counted twice.

    :param column: text, numbers, dates or timestamps.
    :param name: of the column, for messages.
    :param frequency: the job's.
    :param form: what :func:`decide` found in the training data.
    :return: ``datetime64[s]``, ``NaT`` where a value is missing.
    :raises JobFailure: a value is no timestamp.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is not None and frequency.by_calendar:
            column = pc.local_timestamp(column)
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.timestamp("us"))
        return column.to_numpy().astype("datetime64[s]")  # type: ignore[no-any-return]
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("s")).to_numpy().astype("datetime64[s]")  # type: ignore[no-any-return]
    texts, codes = _distinct(column, name)
    found = []
    for text in texts:
        moment = None if text is None else _read(text, form, frequency.by_calendar)
        if text is not None and moment is None:
            raise JobFailure(f"The timestamp column '{name}' has the value '{text[:60]}'; {_ADVICE}.")
        found.append(moment)
    return np.array(found, dtype="datetime64[us]").astype("datetime64[s]")[codes]  # type: ignore[no-any-return]


def _distinct(column: pa.ChunkedArray, name: str) -> tuple[Sequence[str | None], np.ndarray]:
    """The distinct texts, trimmed and ``None`` if they mark a missing value, and the position of each row's."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return [], np.empty(0, dtype=int)
    if pa.types.is_dictionary(kind):
        return _distinct(column.cast(kind.value_type), name)
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise JobFailure(f"The timestamp column '{name}' has the type {kind}; {_ADVICE}.")
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    texts: list[str | None] = []
    for text in encoded.dictionary.to_pylist():
        text = trimmed(text)
        texts.append(None if text in NULLS or text in NUMERIC_NULLS else text)
    codes = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    return [*texts, None], codes


def _read(text: str, form: str, local: bool) -> dt.datetime | None:
    if form in (_SECONDS, _MILLISECONDS) and text.isdigit():
        return dt.datetime(1970, 1, 1) + dt.timedelta(**{form: int(text)})
    other = _other(text)
    return moments.read(text, form, local=local) if other is None else other


def _other(text: str) -> dt.datetime | None:
    """A year, a month, or a moment without separators."""
    found = _PARTIAL.fullmatch(text) or _COMPACT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = [int(part or 0) for part in (*found.groups(), *[0] * 4)][:6]
    try:
        return dt.datetime(year, month or 1, day or 1, hour, minute, second)
    except ValueError:
        return None
