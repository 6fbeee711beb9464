"""What every forecast must beat: the last seasons, demand that comes and goes, and seasons that are taken out."""

from __future__ import annotations

import contextlib
import warnings
from typing import ClassVar

import numpy as np

from airflow_automl.local.training.engines.timeseries.algorithms.base import (
    Context,
    Untrained,
    normal_quantiles,
    usable,
)
from airflow_automl.local.training.engines.timeseries.algorithms.statistical import ONE_DEVIATION, STEPS
from airflow_automl.local.training.engines.timeseries.metrics import naive_forecast
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series

_ZEROS = 0.2
"""A series with a smaller share of zeros is not intermittent."""

_HALF_LIFE = 30
"""After so many steps what was sold says half as much about what will be."""


class SeasonalNaive(Untrained):
    """Each step as it was a season before."""

    name = "seasonal-naive"
    seasons: ClassVar[int] = 1

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        return naive_forecast(panel, self.seasons)


class SeasonalMean(SeasonalNaive):
    """Each step as it was in the mean of the last seasons."""

    name = "seasonal-mean"
    seasons = 4


class Intermittent(Untrained):
    """Series with many steps at which nothing happens: how often something does, and how much then.

    The mean is the forecast of Teunter, Syntetos and Babai, which falls while nothing happens. The quantiles are those
    of a mixture of nothing and of the sizes that there were, so that forecasts of counts are counts.
    """

    name = "intermittent"

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        """Forecast the horizon of each series; there is none for those that are not intermittent."""
        shares = np.array(panel.settings.quantiles) / 100
        found = np.array([_mixture(series, shares) for series in panel.series])
        return np.repeat(found[:, None, :], panel.horizon, axis=1)


def _mixture(series: Series, shares: np.ndarray) -> np.ndarray:
    target = series.target
    there = target > 0
    if target.min() < 0 or not there.any() or (target == 0).mean() < _ZEROS:
        return np.full(1 + len(shares), np.nan)
    from statsforecast.models import TSB

    mean = float(TSB(alpha_d=0.3, alpha_p=0.1).forecast(target, h=1)["mean"][0])
    order = np.argsort(target[there])
    sizes = target[there][order]
    weights = (0.5 ** (np.arange(len(target))[::-1] / _HALF_LIFE))[there][order]
    # Very long ago all weights are zero.
    weights = weights / weights.sum() if weights.sum() > 0 else np.full(len(sizes), 1 / len(sizes))
    something = min(1.0, mean / float(sizes @ weights))
    reached = 1 - something + something * np.cumsum(weights)
    places = np.searchsorted(reached, shares - 1e-9).clip(max=len(sizes) - 1)
    return np.array([mean, *np.where(shares <= 1 - something, 0.0, sizes[places])])


class Decomposition(Untrained):
    """All seasons taken out one after the other (MSTL), and exponential smoothing of what is left."""

    name = "decomposition"

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        """Forecast the horizon of each series; there is none for those without two seasons.

        :raises TimeIsUp: there was not enough time.
        """
        return np.array(context.each(lambda series: _decomposed(series, panel), panel.series))


def _decomposed(series: Series, panel: Panel) -> np.ndarray:
    from statsforecast.models import MSTL

    values = series.target[-STEPS:].astype("float64")
    seasons = [season for season in panel.settings.frequency.seasons if 2 * season < len(values)]
    # A numerical error in one series must not fail the others.
    with contextlib.suppress(Exception), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if seasons and usable(series):
            found = MSTL(season_length=seasons).forecast(values, panel.horizon, level=[ONE_DEVIATION])
            mean, upper = (np.asarray(found[name]) for name in ("mean", f"hi-{ONE_DEVIATION}"))
            return normal_quantiles(mean, upper - mean, panel.settings.quantiles)
    return np.full((panel.horizon, 1 + len(panel.settings.quantiles)), np.nan)
