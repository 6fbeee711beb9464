"""Series on a grid, ready to learn from and to forecast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from airflow_automl.local.training.engines.timeseries.frequency import Calendar
from airflow_automl.local.training.engines.timeseries.settings import Settings

Array = np.ndarray


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

    :param settings: what was asked for.
    :param calendar: the grid.
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
        """The same job with other series."""
        return replace(self, series=tuple(series))

    def before(self, steps: int, shortest: int) -> Panel:
        """What was known some steps ago.

        :param steps: how many of the last steps had not happened yet.
        :param shortest: series that had fewer steps are left out.
        """
        return self.of(self._cut(s, len(s) - steps) for s in self.series if len(s) - steps >= shortest)

    def _cut(self, series: Series, length: int) -> Series:
        features = series.features[: length + self.horizon].copy()
        carried = [index for index, known in enumerate(self.known) if not known]
        # What nobody knew then is what it was last: only this is there when a real forecast is made.
        features[length:, carried] = features[length - 1, carried]
        return Series(series.key, series.start, series.target[:length], series.filled[:length], features)

    def truth(self, keys: Sequence[tuple[str, ...]], steps: int) -> Array:
        """What happened in the horizon that began some steps ago.

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
