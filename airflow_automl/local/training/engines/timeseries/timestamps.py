"""Timestamps as people write them → moments on one clock, with or without time zones."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from airflow_automl.local.training.data.failures import JobFailure
from airflow_automl.local.training.engines.timeseries.frequency import Frequency

__all__ = ["parse"]

_ZONE = re.compile(r"^(?P<local>.*\d:\d{2}.*?)\s*(?P<offset>Z|UTC|[+-]\d{2}(?::?\d{2})?)$")
_MONTH_FIRST = ("%m/%d/%Y", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m-%d-%Y")
_DAY_FIRST = ("%d/%m/%Y", "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%d-%m-%Y")
_OTHERS = ("%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S")
_ADVICE = "write timestamps as 2024-01-31 or 2024-01-31 13:00:00"


def parse(column: pa.ChunkedArray, name: str, frequency: Frequency) -> np.ndarray:
    """Read a column of timestamps.

    Text may be ISO 8601 (a year, a month, a day, or with a time), a date with slashes, dots or dashes, or seconds or
    milliseconds since 1970. With time zones, the day that was written down counts where a step is a day or longer;
    below that all instants are brought to UTC, so that no hour of a change of clocks is lost or counted twice.

    :param column: text, numbers, dates or timestamps.
    :param name: of the column, for messages.
    :param frequency: the job's.
    :return: ``datetime64[s]``, ``NaT`` where a value is missing.
    :raises JobFailure: a value is no timestamp, or could be two.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is not None and frequency.by_calendar:
            column = pc.local_timestamp(column)
        return _seconds(column.cast(pa.timestamp("us", column.type.tz)).cast(pa.timestamp("us")))
    if pa.types.is_date(kind):
        return _seconds(column.cast(pa.timestamp("s")))
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise JobFailure(f"The timestamp column '{name}' has the type {kind}; {_ADVICE}.")
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    texts = [str(text) for text in encoded.dictionary.to_pylist()]
    moments = np.append(_read(texts, name, frequency), np.datetime64("NaT", "s"))
    codes = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    return moments[codes]  # type: ignore[no-any-return]


def _seconds(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype("datetime64[s]")  # type: ignore[no-any-return]


def _read(texts: list[str], name: str, frequency: Frequency) -> np.ndarray:
    local, offsets = [], np.zeros(len(texts), dtype="int64")
    for index, text in enumerate(texts):
        found = _ZONE.match(text.strip())
        local.append(found["local"] if found else text.strip())
        offsets[index] = _offset(found["offset"]) if found else 0
    moments = _moments(local, name)
    if frequency.by_calendar:
        return moments
    return moments - offsets.astype("timedelta64[s]")  # type: ignore[no-any-return]


def _offset(text: str) -> int:
    """Seconds east of Greenwich."""
    if text in ("Z", "UTC"):
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if text[0] == "-" else seconds


def _moments(texts: list[str], name: str) -> np.ndarray:
    series = pd.Series(texts, dtype=object)
    digits = {len(text) if text.isdigit() else 0 for text in texts}
    if digits == {10} or digits == {13}:
        unit = "s" if digits == {10} else "ms"
        return _array(pd.to_datetime(series.astype("int64"), unit=unit))
    if digits == {8}:
        moments = pd.to_datetime(series, format="%Y%m%d", errors="coerce")
    else:
        moments = pd.to_datetime(series, format="ISO8601", errors="coerce")
    if moments.isna().any():
        other = _other_forms(series, name)
        moments = moments if other is None else other
    unread = series[moments.isna()]
    if len(unread):
        raise JobFailure(f"The timestamp column '{name}' has the value '{unread.iloc[0][:60]}'; {_ADVICE}.")
    return _array(moments)


def _other_forms(series: pd.Series, name: str) -> pd.Series | None:
    month_first, day_first = _first_fitting(series, _MONTH_FIRST), _first_fitting(series, _DAY_FIRST)
    if month_first is not None and day_first is not None and not month_first.equals(day_first):
        raise JobFailure(
            f"In the timestamp column '{name}' day and month can't be told apart ('{series.iloc[0]}'): {_ADVICE}."
        )
    for found in (month_first, day_first, _first_fitting(series, _OTHERS)):
        if found is not None:
            return found
    return None


def _first_fitting(series: pd.Series, formats: tuple[str, ...]) -> pd.Series | None:
    for form in formats:
        found = pd.to_datetime(series, format=form, errors="coerce")
        if found.notna().all():
            return found
    return None


def _array(moments: pd.Series) -> np.ndarray:
    return moments.to_numpy().astype("datetime64[s]")  # type: ignore[no-any-return]
