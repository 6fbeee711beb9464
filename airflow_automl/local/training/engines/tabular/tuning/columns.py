"""Columns of a table → numbers: dates into their parts, number sequences into statistics, texts into their lengths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.training.data.codec import Codec

NUMERIC, CATEGORICAL, TEXT, DATETIME, SEQUENCE = "numeric", "categorical", "text", "datetime", "sequence"
_WORDS_OF_A_TEXT = 3.0
"""Values with on average this many words are sentences, not names of categories, if most of them differ."""

_SEPARATOR = re.compile(r"[\s,;|]+")
_DAY = 86_400.0

_PARTS = {
    NUMERIC: ("value",),
    CATEGORICAL: (),
    TEXT: ("characters", "words"),
    DATETIME: (
        *("day_number", "year", "month_sin", "month_cos", "day", "weekday", "weekend", "hour_sin", "hour_cos"),
        *("month", "hour", "day_of_year"),
    ),
    SEQUENCE: (
        *("length", "mean", "deviation", "minimum", "quartile", "median", "upper_quartile", "maximum", "first", "last"),
        *("slope", "mean_change", "autocorrelation", "position_of_maximum"),
    ),
}
"""Numbers that a column of each role yields."""


@dataclass(frozen=True)
class Column:
    """A feature, and what it is taken for.

    :param role: ``numeric``, ``categorical``, ``text``, ``datetime`` or ``sequence`` (never ``auto``).
    """

    feature: Codec
    role: str

    @classmethod
    def judge(cls, feature: Codec, values: pd.Series) -> Column:
        """Choose the role of a feature that was given none."""
        if feature.role == SEQUENCE and not _is_numeric_sequence(values):
            # A sequence of words is learned from like any other text.
            return cls(feature, TEXT)
        if feature.role != "auto":
            return cls(feature, feature.role)
        if feature.moment:
            return cls(feature, DATETIME)
        if feature.numeric:
            return cls(feature, NUMERIC)
        return cls(feature, TEXT if _is_text(values) else CATEGORICAL)

    @property
    def parts(self) -> tuple[str, ...]:
        """Return names of the numbers that :func:`numbers` yields."""
        return tuple(f"{self.feature.name}.{part}" for part in _PARTS[self.role])

    def as_json(self) -> dict[str, Any]:
        """Return the column as a model artefact keeps it."""
        return {"feature": self.feature.as_json(), "role": self.role}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Column:
        """Return the column that :meth:`as_json` wrote."""
        return cls(Codec.from_json(document["feature"]), document["role"])


def _is_text(values: pd.Series) -> bool:
    filled = values.dropna()
    sample = filled.iloc[:: max(1, len(filled) // 2000)].astype(str)
    if sample.empty:
        return False
    words = float(sample.str.count(r"\S+").mean())
    return words >= _WORDS_OF_A_TEXT and sample.nunique() > 0.5 * len(sample)


def _is_numeric_sequence(values: pd.Series) -> bool:
    filled = strings(values.dropna())
    sample = filled.iloc[:: max(1, len(filled) // 500)]
    return bool(sample.map(lambda text: _sequence(text) is not None).mean() >= 0.5) if len(sample) else True


def strings(values: pd.Series) -> pd.Series:
    """Return values as strings, missing ones as ``None``."""
    plain = values.astype("object").where(values.notna(), None)
    if pd.api.types.infer_dtype(plain, skipna=True) in {"string", "empty"}:
        return plain
    return plain.map(lambda value: value if value is None else str(value))


def numbers(column: Column, values: pd.Series) -> np.ndarray:
    """Return the numbers that a column yields, missing ones as NaN.

    :param values: its values; what can't be read in its role counts as missing.
    :return: an array of shape (rows, parts), 32-bit floats.
    """
    if column.role == NUMERIC:
        with np.errstate(over="ignore"):
            found: np.ndarray = values.to_numpy(dtype="float32")
        # What is too large for 32 bits counts as missing, at training as at serving.
        return np.where(np.isfinite(found), found, np.float32("nan")).reshape(-1, 1)
    if column.role == DATETIME:
        return _moments(values)
    if column.role == TEXT:
        texts = strings(values).fillna("")
        return np.column_stack([texts.str.len(), texts.str.count(r"\S+")]).astype("float32")
    if column.role == SEQUENCE:
        return np.array([_statistics(_sequence(text)) for text in strings(values)], dtype="float32").reshape(
            -1, len(_PARTS[SEQUENCE])
        )
    return np.empty((len(values), 0), dtype="float32")


def _moments(moments: pd.Series) -> np.ndarray:
    parts = moments.dt
    seconds = parts.hour * 3600 + parts.minute * 60 + parts.second
    day_number = (moments - pd.Timestamp(0)).dt.total_seconds() / _DAY
    month, hour = (parts.month - 1) / 12 * 2 * np.pi, seconds / _DAY * 2 * np.pi
    weekend = (parts.dayofweek >= 5).where(moments.notna())
    date = [day_number, parts.year, np.sin(month), np.cos(month), parts.day, parts.dayofweek, weekend]
    columns = [*date, np.sin(hour), np.cos(hour), parts.month, seconds / 3600, parts.dayofyear]
    return np.column_stack([np.asarray(part, dtype="float64") for part in columns]).astype("float32")


def _sequence(text: str | None) -> np.ndarray | None:
    """Return the numbers in ``"1, 2.5, 3"``; brackets and any of the usual separators are fine, other words are not."""
    if text is None:
        return None
    parts = [part for part in _SEPARATOR.split(text.strip().strip("[](){}")) if part]
    try:
        found = np.array([float(part) for part in parts], dtype="float64")
    except ValueError:
        return None
    found = found[np.isfinite(found)]
    return found if len(found) else None


def _statistics(found: np.ndarray | None) -> list[float]:
    if found is None:
        return [np.nan] * len(_PARTS[SEQUENCE])
    count = len(found)
    mean = found.mean()
    centred, steps = found - mean, np.arange(count) - (count - 1) / 2
    spread = centred @ centred
    several = count > 1
    slope = steps @ centred / (steps @ steps) if several else 0.0
    change = np.abs(np.diff(found)).mean() if several else 0.0
    autocorrelation = centred[1:] @ centred[:-1] / spread if several and spread > 0 else 0.0
    quantiles = np.quantile(found, [0, 0.25, 0.5, 0.75, 1])
    position = found.argmax() / max(count - 1, 1)
    edges = found[0], found[-1]
    return [count, mean, found.std(), *quantiles, *edges, slope, change, autocorrelation, position]
