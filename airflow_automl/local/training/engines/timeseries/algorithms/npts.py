"""npts: forecasts drawn from the past itself, recent values and those of the same season more likely than others."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from airflow_automl.local.training.engines.timeseries.algorithms.base import Context, Forecaster
from airflow_automl.local.training.engines.timeseries.metrics import pinball
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series

_FILE = "npts.json"
_SEASONAL_LIVES = (0.5, 2.0, 8.0)
_LIVES = (0.5, 3.5, 14.0, 56.0)
"""Half-lives that are tried, in drawn values: with a season each is a season older than the one before."""

_TRIED_ON = 200
_MEMORY = 100
"""Values further back than this are not drawn."""


@dataclass(frozen=True)
class Npts(Forecaster):
    """The Non-Parametric Time Series forecaster.

    :param season: only values this many steps apart are drawn from; 1 draws from all.
    :param half_life: after so many such values the chance of being drawn has halved.
    """

    name = "npts"
    season: int
    half_life: float

    @classmethod
    def fit(cls, panel: Panel, context: Context) -> Self:
        """Choose season and half-life by forecasting the last steps of the history."""
        sample = panel.of(panel.series[:: max(1, len(panel) // _TRIED_ON)])
        past = sample.before(panel.horizon, shortest=2)
        seasons = [season for season in panel.settings.frequency.seasons if 2 * season <= past.longest]
        choices = [cls(1, life) for life in _LIVES]
        choices += [cls(season, life) for season in seasons for life in _SEASONAL_LIVES]
        if not len(past):
            return choices[0]
        truth = sample.truth([s.key for s in past.series], panel.horizon)
        return min(choices, key=lambda choice: choice._loss(past, truth, context))

    def _loss(self, past: Panel, truth: np.ndarray, context: Context) -> float:
        found = self.forecast(past, context)
        shares = np.array(past.settings.quantiles) / 100
        return float(pinball(truth[..., None], found[..., 1:], shares).sum())

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        shares = np.array(panel.settings.quantiles) / 100
        return np.array(context.each(lambda series: self._one(series, panel.horizon, shares), panel.series))

    def _one(self, series: Series, horizon: int, shares: np.ndarray) -> np.ndarray:
        season = self.season if 2 * self.season <= len(series) else 1
        found = np.empty((horizon, 1 + len(shares)))
        for ahead in range(min(season, horizon)):
            newest_first = series.target[len(series) - season + ahead :: -season][:_MEMORY]
            weights = 0.5 ** (np.arange(len(newest_first)) / self.half_life)
            weights /= weights.sum()
            order = np.argsort(newest_first)
            ranked = newest_first[order]
            reached = np.cumsum(weights[order]) - weights[order] / 2
            found[ahead::season, 0] = ranked @ weights[order]
            found[ahead::season, 1:] = np.interp(shares, reached, ranked)
        return found

    def save(self, folder: Path) -> None:
        (folder / _FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path, document: dict[str, Any]) -> Self:
        return cls(**json.loads((folder / _FILE).read_text()))
