"""Time series on a regular grid: aggregated, gaps filled, ready for training and forecasting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.engines.timeseries.frequency import Calendar
from airflow_automl.local.training.engines.timeseries.settings import Fill, Settings

Array = np.ndarray

_ZERO = Fill("zero")

MAX_STEPS = 5_000_000
"""Nine years of minutes; a longer series has a wrong timestamp, and would take all memory."""


@dataclass(frozen=True)
class Rows:
    """The rows of a channel or of a request.

    :param codes: number of the series that each row belongs to.
    :param keys: the series, by number.
    :param steps: the step that each row is in.
    :param target: ``NaN`` if a row has no value; such rows have known values of the future.
    :param related: the additional columns.
    """

    codes: Array
    keys: Sequence[tuple[str, ...]]
    steps: Array
    target: Array
    related: pd.DataFrame


@dataclass(frozen=True)
class Gridded:
    """A series with its target on the grid; see ``panel.Series``."""

    code: int
    start: int
    target: Array
    filled: Array


def grid(rows: Rows, settings: Settings) -> list[Gridded]:
    """Put the target on the grid.

    Values of one step are aggregated (R82). A series begins with its first value (frontfill is none) and ends with
    the last step that any series has a value for; what is missing is filled in (R78), with zero where the request says
    nothing.

    :return: the series that have a value at all, in the order of their numbers.
    :raises JobFailure: a series has more than :data:`MAX_STEPS` steps from its first value to the last one of all.
    """
    has = ~np.isnan(rows.target)
    if not has.any():
        return []
    frame = pd.DataFrame({"code": rows.codes[has], "step": rows.steps[has], "value": rows.target[has]})
    how = {"avg": "mean"}.get(settings.aggregation, settings.aggregation)
    values = frame.groupby(["code", "step"], sort=True)["value"].agg(how)
    codes = values.index.get_level_values(0).to_numpy()
    steps = values.index.get_level_values(1).to_numpy()
    numbers = values.to_numpy(dtype="float64")
    last = int(steps.max())
    fills = settings.fills.get(settings.target, {})
    found = []
    for begin, end in _runs(codes):
        start, observed = int(steps[begin]), steps[begin:end] - steps[begin]
        if last - start >= MAX_STEPS:
            key = ", ".join(rows.keys[int(codes[begin])]) or settings.target
            raise JobFailure(
                f"The series '{key[:60]}' begins {last - start + 1:,} steps of {settings.frequency} before the last "
                f"value of the data; at most {MAX_STEPS:,} are possible: is one of the timestamps wrong?"
            )
        target = np.full(last - start + 1, np.nan)
        target[observed] = numbers[begin:end]
        filled = np.isnan(target)
        inside = np.arange(len(target)) <= observed[-1]
        fill(target, fills.get("middlefill", _ZERO), filled & inside, numbers[begin:end])
        fill(target, fills.get("backfill", _ZERO), filled & ~inside, numbers[begin:end])
        found.append(Gridded(int(codes[begin]), start, target, filled))
    return found


def spread(rows: Rows, column: str, spans: Sequence[tuple[int, int, int]]) -> list[Array]:
    """Put an additional column on the grid: the mean of the numbers of a step, or the first of its texts.

    :param column: of the additional ones.
    :param spans: series number, first step and number of steps of each wanted series.
    :return: for each series an array with ``NaN`` or ``None`` if there is no value.
    """
    values = rows.related[column]
    numeric = values.dtype.kind in "iuf"
    has = values.notna().to_numpy()
    frame = pd.DataFrame({"code": rows.codes[has], "step": rows.steps[has], "value": values[has].to_numpy()})
    agreed = frame.groupby(["code", "step"], sort=True)["value"].agg("mean" if numeric else "first")
    codes = agreed.index.get_level_values(0).to_numpy()
    steps = agreed.index.get_level_values(1).to_numpy()
    entries = agreed.to_numpy(dtype="float64" if numeric else object)
    slices = {int(codes[begin]): (begin, end) for begin, end in _runs(codes)}
    found = []
    for code, start, count in spans:
        array = np.full(count, np.nan) if numeric else np.full(count, None, dtype=object)
        if code in slices:
            begin, end = slices[code]
            places = steps[begin:end] - start
            inside = (places >= 0) & (places < count)
            array[places[inside]] = entries[begin:end][inside]
        found.append(array)
    return found


def fill(values: Array, how: Fill, where: Array, own: Array) -> None:
    """Fill gaps in place.

    :param values: numbers, ``NaN`` if they are missing.
    :param how: the filling.
    :param where: which of the gaps to fill.
    :param own: the values that the series really has, for statistics.
    """
    if not where.any():
        return
    if how.method in ("zero", "value"):
        values[where] = 0.0 if how.method == "zero" else float(how.value or 0)
    elif len(own):
        values[where] = getattr(np, how.method)(own)


def _runs(codes: Array) -> list[tuple[int, int]]:
    if not len(codes):
        return []
    edges = np.flatnonzero(np.diff(codes)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(codes)], strict=True))


@dataclass(frozen=True)
class Series:
    """One series: what happened, and what is known about the time after it.

    :param key: values of the item identifier and the grouping columns.
    :param start: number of its first step.
    :param target: a value for each step, none of them missing.
    :param filled: for each step whether its value was filled in.
    :param features: rows for the steps of the target and of the horizon, columns as :attr:`Panel.features`.
    """

    key: tuple[str, ...]
    start: int
    target: Array
    filled: Array
    features: Array

    def __len__(self) -> int:
        return len(self.target)

    @property
    def end(self) -> int:
        """Number of the first step of its forecast."""
        return self.start + len(self.target)


@dataclass(frozen=True)
class Panel:
    """All series of a job, or some of them, up to some time.

    :param features: names of the columns of :attr:`Series.features`.
    :param known: for each of them whether its values after the last step are known, not just carried forward.
    :param series: the series.
    """

    settings: Settings
    calendar: Calendar
    features: tuple[str, ...]
    known: tuple[bool, ...]
    series: tuple[Series, ...]

    def __len__(self) -> int:
        return len(self.series)

    @property
    def horizon(self) -> int:
        """Steps to forecast."""
        return self.settings.horizon

    @property
    def longest(self) -> int:
        """Steps of the longest series."""
        return max((len(series) for series in self.series), default=0)

    def of(self, series: Iterable[Series]) -> Panel:
        """Return the same job with other series."""
        return replace(self, series=tuple(series))

    def before(self, steps: int, shortest: int) -> Panel:
        """Return what was known some steps ago.

        :param steps: how many of the last steps had not happened yet.
        :param shortest: series that had fewer steps are left out.
        """
        return self.of(self._cut(s, len(s) - steps) for s in self.series if len(s) - steps >= shortest)

    def _cut(self, series: Series, length: int) -> Series:
        features = self.features_until(series, length)
        return Series(series.key, series.start, series.target[:length], series.filled[:length], features)

    def features_until(self, series: Series, length: int, first: int = 0) -> Array:
        """Return the features of some steps of a series, and of the horizon after them as they are known then.

        :param length: the step after the last one; what is not known later keeps its last value, as in a forecast.
        :param first: the first step.
        """
        features = series.features[first : length + self.horizon].copy()
        carried = [index for index, known in enumerate(self.known) if not known]
        features[length - first :, carried] = features[length - first - 1, carried]
        return features

    def truth(self, keys: Sequence[tuple[str, ...]], steps: int) -> Array:
        """Return what happened in the horizon that began some steps ago.

        :param keys: of the series, in the wanted order.
        :param steps: as for :meth:`before`.
        :return: shape (series, horizon).
        """
        by_key = {series.key: series for series in self.series}
        found = []
        for key in keys:
            target = by_key[key].target
            begin = len(target) - steps
            found.append(target[begin : begin + self.horizon])
        return np.array(found).reshape(len(keys), self.horizon)
