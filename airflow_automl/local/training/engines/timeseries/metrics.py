"""The metrics of forecasts, as Amazon publishes them for its forecasting algorithms, and the seasonal naive forecast.

Point metrics judge the mean forecast, quantile losses the quantiles. Forecasts are arrays of shape
(series, horizon, 1 + quantiles): the mean first, then the quantiles in ascending order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from airflow_automl.local.training.engines.timeseries.algorithms.base import normal_quantiles
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series

Array = np.ndarray


@dataclass(frozen=True)
class Window:
    """What happened in one backtest window, or in several.

    :param truth: shape (series, horizon).
    :param scale: for each series the mean absolute error of the seasonal naive forecast over its history.
    :param level: for each series the mean absolute value of its history.
    """

    truth: Array
    scale: Array
    level: Array

    @classmethod
    def after(cls, past: Panel, truth: Array) -> Window:
        """Return what happened after some history."""
        return cls(truth, naive_scale(past), np.array([np.abs(series.target).mean() for series in past.series]))

    @classmethod
    def all(cls, windows: Sequence[Window]) -> Window:
        """Return all that happened: metrics over it have the same denominators for all forecasts."""
        return cls(*(np.concatenate(parts) for parts in zip(*(vars(each).values() for each in windows), strict=True)))

    def of(self, places: Sequence[int]) -> Window:
        """Return what happened to some of the series."""
        return Window(self.truth[places], self.scale[places], self.level[places])

    @property
    def total(self) -> float:
        """The sum of all absolute values; if all of them are zero, what it would be if the histories went on."""
        found = np.abs(self.truth).sum() or self.level.sum() * self.truth.shape[1]
        return float(found)


def measure(window: Window, forecast: Array, quantiles: Sequence[int]) -> dict[str, float]:
    """Return all metrics over a window; those that are undefined are left out.

    MAPE leaves out the steps at which nothing happened (a truth of zero), MASE the series that never changed.
    """
    error = np.abs(window.truth - forecast[..., 0])
    nonzero = window.truth != 0
    scaled = window.scale > 0
    found = {
        "AverageWeightedQuantileLoss": float(np.mean(list(quantile_losses(window, forecast, quantiles).values()))),
        "WAPE": _ratio(float(error.sum()), window.total),
        "RMSE": float(np.sqrt(np.mean(error**2))),
        "MAPE": float(np.mean(error[nonzero] / np.abs(window.truth[nonzero]))) if nonzero.any() else np.nan,
        "MASE": float(np.mean(error[scaled] / window.scale[scaled, None])) if scaled.any() else np.nan,
    }
    return {name: value for name, value in found.items() if np.isfinite(value)}


def quantile_losses(window: Window, forecast: Array, quantiles: Sequence[int]) -> dict[str, float]:
    """Return the weighted quantile loss of each quantile: twice the pinball loss over the sum of absolute values."""
    return {
        f"p{percent}": _ratio(2 * float(pinball(window.truth, forecast[..., place], percent / 100).sum()), window.total)
        for place, percent in enumerate(quantiles, 1)
    }


def pinball(truth: Array, predicted: Array, share: float | Array) -> Array:
    """Return the pinball loss of predicted quantiles; ``share`` is the quantile, from 0 to 1."""
    difference = truth - predicted
    return np.maximum(share * difference, (share - 1) * difference)  # type: ignore[no-any-return]


def _ratio(loss: float, total: float) -> float:
    if total > 0:
        return loss / total
    return 0.0 if loss == 0 else float("nan")


def coverage(window: Window, forecast: Array, quantiles: Sequence[int]) -> dict[str, float]:
    """Return for each quantile the share of the true values that were not above it; ideally the quantile itself."""
    shares = [(window.truth <= forecast[..., place]).mean() for place in range(1, len(quantiles) + 1)]
    return {f"p{percent}": float(share) for percent, share in zip(quantiles, shares, strict=True)}


def naive_forecast(panel: Panel, seasons: int = 1) -> Array:
    """Repeat the last season of each series; the quantiles are those of a normal distribution around it.

    :param seasons: of so many last seasons, repeat the mean.
    :return: shape (series, horizon, 1 + quantiles).
    """
    shape = (len(panel), panel.horizon, 1 + len(panel.settings.quantiles))
    found = np.empty(shape)
    for place, series in enumerate(panel.series):
        found[place] = _naive(series, panel, seasons)
    return found


def _naive(series: Series, panel: Panel, seasons: int) -> Array:
    season = _season(series, panel)
    ahead = np.arange(panel.horizon)
    target = series.target
    count = max(1, min(seasons, len(target) // season - 1))
    # Row i is what is forecast for the step i steps after the first one that has `count` seasons before it.
    said = np.mean([target[place * season : len(target) - (count - place) * season] for place in range(count)], axis=0)
    mean = np.mean([target[len(target) - back * season + ahead % season] for back in range(1, count + 1)], axis=0)
    errors = target[count * season :] - said
    spread = float(np.sqrt(np.mean(errors**2))) if len(errors) else 0.0
    # Each season ahead adds an error; a mean of seasons does not.
    return normal_quantiles(mean, spread * np.sqrt(ahead // season / count + 1), panel.settings.quantiles)


def naive_scale(panel: Panel) -> Array:
    """Return the mean absolute error of each series' seasonal naive forecast (MASE's denominator).

    :return: one number for each series, ``NaN`` if the history is a single step.
    """
    found = []
    for series in panel.series:
        season = _season(series, panel)
        changes = np.abs(series.target[season:] - series.target[:-season])
        found.append(float(changes.mean()) if len(changes) else np.nan)
    return np.array(found)


def _season(series: Series, panel: Panel) -> int:
    """Return the season of the naive forecast; a history that is no longer than it repeats its last step."""
    season = panel.settings.frequency.main_season
    return season if season < len(series) else 1


def tidy(panel: Panel, found: Array) -> tuple[Array, int]:
    """Clean up a forecast: quantiles in order, nothing below zero where nothing ever was, no gaps.

    :param found: what an algorithm said.
    :return: the forecast, and for how many series it is the seasonal naive one, because the algorithm had none.
    """
    failed = ~np.isfinite(found).all(axis=(1, 2))
    if failed.any():
        found = found.copy()
        found[failed] = naive_forecast(panel.of(s for s, bad in zip(panel.series, failed, strict=True) if bad))
    lowest = np.array([0.0 if series.target.min() >= 0 else -np.inf for series in panel.series])
    found = np.maximum(found, lowest[:, None, None])
    return np.concatenate([found[..., :1], np.sort(found[..., 1:], axis=-1)], axis=-1), int(failed.sum())
