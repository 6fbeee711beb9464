"""Additional columns and holidays → features that models take (R64, R111).

What was learned about them in training (kinds, categories, scales, whether their future is known) is kept in the
artefact, so that a request is read the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.codec import Codec
from airflow_automl.local.training.engines.timeseries.frequency import Calendar
from airflow_automl.local.training.engines.timeseries.panel import Gridded, Panel, Rows, Series, fill, spread
from airflow_automl.local.training.engines.timeseries.settings import Fill, Settings, is_number

MAX_CATEGORIES = 12
"""Most frequent values of a column that become features; rarer ones are all zeros."""

Array = np.ndarray


@dataclass(frozen=True)
class Column:
    """An additional column.

    :param kind: ``number``, ``moment`` or ``category``.
    :param known: whether its values in the horizon are known when a forecast is made.
    :param categories: of a category, the most frequent first.
    :param center: mean of its numbers; seconds since 1970 for moments.
    :param scale: their standard deviation, 1 where they don't differ.
    """

    name: str
    kind: str
    known: bool
    categories: tuple[str, ...] = ()
    center: float = 0.0
    scale: float = 1.0

    @property
    def features(self) -> tuple[str, ...]:
        """Return names of the features it becomes."""
        return tuple(f"{self.name}={value}" for value in self.categories) if self.kind == "category" else (self.name,)

    def encode(self, values: Array) -> Array:
        """Turn its values on the grid into features without gaps."""
        if self.kind == "category":
            return np.column_stack([values == category for category in self.categories]).astype("float64")
        return np.nan_to_num((values - self.center) / self.scale)[:, None]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Related:
    """All features of a job.

    :param columns: the additional columns.
    :param countries: whose holidays are features.
    """

    columns: tuple[Column, ...]
    countries: tuple[str, ...]

    @classmethod
    def learn(cls, rows: Rows, series: Sequence[Gridded], features: Sequence[Codec], settings: Settings) -> Related:
        """Learn about the columns.

        :param rows: the training data.
        :param series: its targets on the grid.
        :param features: the columns, with the kinds that they were given or seem to have.
        """
        return cls(tuple(_learn(rows, series, f, settings) for f in features), settings.countries)

    @property
    def names(self) -> tuple[str, ...]:
        """Return names of the features."""
        holidays = [f"holidays:{country}" for country in self.countries]
        return tuple([name for column in self.columns for name in column.features] + holidays)

    @property
    def known(self) -> tuple[bool, ...]:
        """Return for each feature whether its future is known."""
        return tuple([c.known for c in self.columns for _ in c.features] + [True] * len(self.countries))

    def panel(self, rows: Rows, series: Sequence[Gridded], settings: Settings, calendar: Calendar) -> Panel:
        """Join targets and features.

        :param rows: where the series come from; their additional columns have the kinds of :attr:`columns`.
        :param series: the targets on the grid.
        """
        spans = [(s.code, s.start, len(s.target) + settings.horizon) for s in series]
        encoded: list[list[Array]] = [[] for _ in series]
        for column in self.columns:
            fills = settings.fills.get(column.name, {})
            for place, values in enumerate(spread(rows, column.name, spans)):
                complete = _complete(values, len(series[place].target), fills)
                encoded[place].append(column.encode(complete))
        for country in self.countries:
            for place, values in enumerate(_holidays(country, spans, calendar)):
                encoded[place].append(values[:, None])
        return Panel(
            settings,
            calendar,
            self.names,
            self.known,
            tuple(
                Series(
                    tuple(rows.keys[s.code]),
                    s.start,
                    s.target,
                    s.filled,
                    np.column_stack(parts) if parts else np.zeros((len(s.target) + settings.horizon, 0)),
                )
                for s, parts in zip(series, encoded, strict=True)
            ),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what was learned, for an artefact."""
        return {"columns": [asdict(column) for column in self.columns], "countries": list(self.countries)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Related:
        """Return what :meth:`as_json` wrote."""
        columns = [Column(**{**entry, "categories": tuple(entry["categories"])}) for entry in document["columns"]]
        return cls(tuple(columns), tuple(document["countries"]))


def _learn(rows: Rows, series: Sequence[Gridded], feature: Codec, settings: Settings) -> Column:
    name = feature.name
    fills = settings.fills.get(name, {})
    values = rows.related[name]
    known = _known_ahead(rows, series, name, settings)
    if not (feature.numeric or feature.moment):
        counts = values.value_counts()
        return Column(name, "category", known, tuple(str(v) for v in counts.index[:MAX_CATEGORIES]))
    wrong = [entry for entry in fills.values() if entry.method == "value" and not is_number(entry.value)]
    if wrong:
        raise JobFailure(f"The column '{name}' is numeric, but Filling sets it to '{wrong[0].value}'.")
    spread_of = float(values.std()) if values.notna().sum() > 1 else 0.0
    center = float(values.mean()) if values.notna().any() else 0.0
    kind = "moment" if feature.moment else "number"
    return Column(name, kind, known, (), center, spread_of if np.isfinite(spread_of) and spread_of > 0 else 1.0)


def _known_ahead(rows: Rows, series: Sequence[Gridded], name: str, settings: Settings) -> bool:
    """Return whether the data has the column's values in the horizon, for at least half of it, or it never changes."""
    values = rows.related[name]
    last = max(s.start + len(s.target) for s in series)
    ahead = (rows.steps >= last) & (rows.steps < last + settings.horizon) & values.notna().to_numpy()
    places = pd.DataFrame({"code": rows.codes[ahead], "step": rows.steps[ahead]}).drop_duplicates()
    if 2 * len(places) >= len(series) * settings.horizon:
        return True
    return bool((values.groupby(rows.codes).nunique() <= 1).all())


def _complete(values: Array, length: int, fills: Mapping[str, Fill]) -> Array:
    """Close the gaps of a column: as the request says, else with the value before, else with the one after."""
    numeric = values.dtype != object
    missing = pd.isna(values)
    there = np.flatnonzero(~missing[:length])
    places = np.arange(len(values))
    last = there[-1] if len(there) else -1
    parts = {
        "middlefill": (places > there[0]) & (places < last) if len(there) else np.zeros(len(values), dtype=bool),
        "backfill": (places > last) & (places < length) & (len(there) > 0),
        "futurefill": places >= length,
    }
    own = values[~missing] if numeric else values[:0]
    for method, where in parts.items():
        how = fills.get(method)
        if how is None:
            continue
        if numeric:
            fill(values, how, missing & where, own)
        elif how.method == "value":
            values[missing & where] = how.value
    return pd.Series(values).ffill().bfill().to_numpy()  # type: ignore[no-any-return]


def holiday_dates(country: str, first: int, last: int) -> dict[np.datetime64, str]:
    """Return the holidays of a country, from one year to another: date → name."""
    import holidays

    found = holidays.country_holidays(country, years=range(first, last + 1))
    return {np.datetime64(day, "D"): str(name) for day, name in found.items()}


def _holidays(country: str, spans: Sequence[tuple[int, int, int]], calendar: Calendar) -> list[Array]:
    if not spans:
        return []
    begin = min(start for _, start, _ in spans)
    end = max(start + count for _, start, count in spans)
    edges = calendar.stamps(np.arange(begin, end + 1)).astype("datetime64[D]")
    years = edges[[0, -1]].astype("datetime64[Y]").astype("int64") + 1970
    days = np.array(sorted(holiday_dates(country, int(years[0]), int(years[1]))), dtype="datetime64[D]")
    upper = np.maximum(edges[1:], edges[:-1] + np.timedelta64(1, "D"))
    counts = np.searchsorted(days, upper) - np.searchsorted(days, edges[:-1])
    shares = counts / np.maximum((upper - edges[:-1]).astype("int64"), 1)
    return [shares[start - begin : start - begin + count] for _, start, count in spans]
