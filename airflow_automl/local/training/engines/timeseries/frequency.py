"""Frequencies, timestamps, and the time grid: timestamps as numbers of steps since an anchor, and back (R73)."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data import moments
from airflow_automl.local.training.data.codec import FIRST, LAST, NULLS, NUMERIC_NULLS
from airflow_automl.local.training.data.columns import trimmed

_PATTERN = re.compile(r"(?P<multiple>[0-9]*)(?P<unit>min|H|D|W|M|Y)")
_SECONDS = {"min": 60, "H": 3600, "D": 86_400, "W": 604_800}
_DAY = np.timedelta64(1, "D")

#: Unit → cycles in which people and weather repeat themselves, in seconds, or in months for M and Y.
_CYCLES = {
    "min": (3600, 86_400, 604_800),
    "H": (86_400, 604_800),
    "D": (604_800,),
    "W": (52 * 604_800,),
    "M": (12,),
    "Y": (),
}

Moments = np.ndarray
"""An array of ``datetime64[s]``."""


@dataclass(frozen=True)
class Frequency:
    """ForecastFrequency.

    :param multiple: how many units a step has.
    :param unit: ``min``, ``H``, ``D``, ``W``, ``M`` or ``Y``.
    """

    multiple: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """Read ``1D``, ``15min`` or a bare letter.

        :raises JobFailure: it is none of these.
        """
        found = _PATTERN.fullmatch(text)
        if found is None or found["multiple"] == "0":
            raise JobFailure(
                f"ForecastFrequency is '{text}'; it must be a number and Y, M, W, D, H or min, such as 1D."
            )
        return cls(int(found["multiple"] or 1), found["unit"])

    def __str__(self) -> str:
        return f"{self.multiple}{self.unit}"

    @property
    def by_calendar(self) -> bool:
        """Return whether a step is made of whole days: then the day that was written down counts, not the instant."""
        return self.unit in ("D", "W", "M", "Y")

    @property
    def seasons(self) -> tuple[int, ...]:
        """Return lengths of the cycles that fit into whole steps, in steps, the shortest first."""
        if self.unit == "M":
            size = self.multiple
        else:
            size = self.multiple * _SECONDS.get(self.unit, 0)
        periods = [cycle // size for cycle in _CYCLES[self.unit] if size and cycle % size == 0]
        return tuple(period for period in periods if period > 1)

    def season(self, length: int, longest: int | None = None) -> int:
        """Return the longest cycle that a series of some length has seen twice; 1 for none.

        :param length: of the series, in steps.
        :param longest: longer cycles are ignored.
        """
        fitting = [p for p in self.seasons if 2 * p <= length and (longest is None or p <= longest)]
        return max(fitting, default=1)

    @property
    def main_season(self) -> int:
        """The cycle of the seasonal naive forecast: the day for minutes and hours, the week for days, else the year."""
        day = 86_400 // (self.multiple * _SECONDS.get(self.unit, 86_400))
        return day if day in self.seasons else min(self.seasons, default=1)


@dataclass(frozen=True)
class Calendar:
    """The grid of a job.

    :param frequency: its step.
    :param anchor: start of step 0.
    """

    frequency: Frequency
    anchor: np.datetime64

    @classmethod
    def over(cls, frequency: Frequency, moments: Moments) -> Calendar:
        """Return the grid that fits some data.

        Minutes, hours and days are counted from the first day's midnight. Weeks start on the weekday that all
        timestamps share, else on Monday; months and years on their first day.

        :param moments: all timestamps, at least one.
        """
        first = moments.min()
        day = first.astype("datetime64[D]")
        if frequency.unit == "W":
            days = moments.astype("datetime64[D]").astype("int64")
            # Day 0 of the epoch was a Thursday.
            weekdays = np.unique((days + 3) % 7)
            start = int(weekdays[0]) if len(weekdays) == 1 else 0
            day -= _DAY * ((int(day.astype("int64")) + 3 - start) % 7)
        elif frequency.unit == "M":
            day = first.astype("datetime64[M]")
        elif frequency.unit == "Y":
            day = first.astype("datetime64[Y]")
        return cls(frequency, day.astype("datetime64[s]"))

    def steps(self, moments: Moments) -> np.ndarray:
        """Return the step that each moment is in."""
        if self.frequency.unit in ("M", "Y"):
            return (_months(moments) - _months(self.anchor)) // self._size  # type: ignore[no-any-return]
        return (moments.astype("datetime64[s]") - self.anchor).astype("int64") // self._size  # type: ignore[no-any-return]

    def stamps(self, steps: np.ndarray | Sequence[int]) -> Moments:
        """Return the start of each step."""
        steps = np.asarray(steps, dtype="int64")
        if self.frequency.unit in ("M", "Y"):
            months = _months(self.anchor) + steps * self._size
            return months.astype("datetime64[M]").astype("datetime64[s]")  # type: ignore[no-any-return]
        return self.anchor + (steps * self._size).astype("timedelta64[s]")  # type: ignore[no-any-return]

    def texts(self, steps: np.ndarray | Sequence[int]) -> list[str]:
        """Return the start of each step, such as ``2024-01-31 00:00:00``."""
        return [str(stamp).replace("T", " ") for stamp in self.stamps(steps)]

    @property
    def _size(self) -> int:
        unit, multiple = self.frequency.unit, self.frequency.multiple
        return multiple * {"M": 1, "Y": 12}.get(unit, 0) or multiple * _SECONDS[unit]

    def as_json(self) -> dict[str, str]:
        """Return the grid as an artefact keeps it."""
        return {"frequency": str(self.frequency), "anchor": str(self.anchor)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Calendar:
        """Return the grid that :meth:`as_json` wrote."""
        return cls(Frequency.parse(document["frequency"]), np.datetime64(document["anchor"], "s"))


def _months(moments: Any) -> Any:
    return moments.astype("datetime64[M]").astype("int64")


_EPOCH_SECONDS, _EPOCH_MILLISECONDS = "seconds", "milliseconds"
_PARTIAL = re.compile(r"(\d{4})-(\d{1,2})", re.ASCII)
_COMPACT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(?:T?(\d{2})(\d{2})?(\d{2})?)?", re.ASCII)
_CENTURIES = ("19", "20", "21")
_ADVICE = "write timestamps as 2024-01-31 or 2024-01-31 13:00:00, between 1678 and 2262"


def decide_form(column: pa.ChunkedArray, name: str) -> str:
    """Decide how a column of timestamps is read, from all of its values.

    :param column: text, numbers, dates or timestamps.
    :return: ``seconds`` or ``milliseconds`` since 1970, or the order of day, month and year.
    :raises JobFailure: a value is not a timestamp, or could be two.
    """
    texts = [text for text in _distinct(column, name)[0] if text is not None]
    digits = {len(text) if text.isdecimal() else 0 for text in texts}
    # As seconds, ten digits that are a year, a month, a day and an hour would be after 2030.
    written = sum(text.startswith(_CENTURIES) and _other(text) is not None for text in texts)
    if digits and 2 * written < len(texts):
        if digits <= {9, 10}:
            return _EPOCH_SECONDS
        if digits <= {12, 13}:
            return _EPOCH_MILLISECONDS
    dates = [text for text in texts if _other(text) is None]
    order = moments.order_of(dates) if dates else "ymd"
    if order is None:
        order = moments.most_readable(dates)
        unread = next(text for text in dates if moments.read(text, order) is None)
        raise JobFailure(f"The timestamp column '{name}' has the value '{unread[:60]}'; {_ADVICE}.")
    if order != "ymd" and "." not in dates[0] and moments.ambiguous(dates):
        raise JobFailure(
            f"In the timestamp column '{name}' day and month can't be distinguished ('{dates[0]}'): {_ADVICE}."
        )
    return order


def parse_timestamps(column: pa.ChunkedArray, name: str, frequency: Frequency, form: str) -> np.ndarray:
    """Read a column of timestamps.

    Text may be ISO 8601 (a year, a month, a day, or with a time), a date with slashes, dots, dashes or the name of its
    month, or seconds or milliseconds since 1970. With time zones, the day that was written down counts if a step is a
    day or longer; below that all instants are brought to UTC, so that no hour of a change of clocks is lost or counted
    twice.

    :param column: text, numbers, dates or timestamps.
    :param form: what :func:`decide_form` found in the training data.
    :return: ``datetime64[s]``, ``NaT`` if a value is missing.
    :raises JobFailure: a value is not a timestamp.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is not None and frequency.by_calendar:
            column = pc.local_timestamp(column)
        found = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.timestamp("us")).to_numpy()
    elif pa.types.is_date(kind):
        found = column.cast(pa.timestamp("us")).to_numpy()
    else:
        texts, codes = _distinct(column, name)
        read = [None if text is None else _read(text, form, frequency.by_calendar) for text in texts]
        for text, moment in zip(texts, read, strict=True):
            if text is not None and moment is None:
                raise JobFailure(f"The timestamp column '{name}' has the value '{text[:60]}'; {_ADVICE}.")
        found = np.array(read, dtype="datetime64[us]")[codes]
    outside = np.flatnonzero((found < FIRST) | (found > LAST))
    if len(outside):
        raise JobFailure(f"The timestamp column '{name}' has the value '{column[int(outside[0])].as_py()}'; {_ADVICE}.")
    return found.astype("datetime64[s]")  # type: ignore[no-any-return]


def _distinct(column: pa.ChunkedArray, name: str) -> tuple[Sequence[str | None], np.ndarray]:
    """Return the distinct texts, trimmed and ``None`` if they mark a missing value, and the position of each row's."""
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
    if form in (_EPOCH_SECONDS, _EPOCH_MILLISECONDS) and text.isdecimal():
        try:
            return dt.datetime(1970, 1, 1) + dt.timedelta(**{form: int(text)})
        except (OverflowError, ValueError):
            # Milliseconds where training had seconds.
            return None
    other = _other(text, local)
    return moments.read(text, form, local=local) if other is None else other


def _other(text: str, local: bool = False) -> dt.datetime | None:
    found = _PARTIAL.fullmatch(text) or _COMPACT.fullmatch(text)
    if found is None:
        return moments.named(text, local=local)
    parts = itertools.zip_longest(found.groups(), (1, 1, 1, 0, 0, 0))
    year, month, day, hour, minute, second = (int(part or least) for part, least in parts)
    try:
        return dt.datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
