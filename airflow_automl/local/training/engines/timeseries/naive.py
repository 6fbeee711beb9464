"""The seasonal naive forecast: the bar that every candidate must clear, and what is left where an algorithm fails."""

from __future__ import annotations

import numpy as np

from airflow_automl.local.training.engines.timeseries.algorithms.base import normal_quantiles
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series

Array = np.ndarray


def forecast(panel: Panel) -> Array:
    """Repeat the last season of each series; the quantiles are those of a normal distribution around it.

    :return: shape (series, horizon, 1 + quantiles).
    """
    shape = (len(panel), panel.horizon, 1 + len(panel.settings.quantiles))
    found = np.empty(shape)
    for place, series in enumerate(panel.series):
        found[place] = _one(series, panel)
    return found


def _one(series: Series, panel: Panel) -> Array:
    season = panel.settings.frequency.main_season
    season = season if season < len(series) else 1
    ahead = np.arange(panel.horizon)
    target = series.target
    mean = target[len(target) - season + ahead % season]
    errors = target[season:] - target[:-season]
    spread = float(np.sqrt(np.mean(errors**2))) if len(errors) else 0.0
    # Each season ahead adds the error of one more.
    return normal_quantiles(mean, spread * np.sqrt(ahead // season + 1), panel.settings.quantiles)


def scale(panel: Panel) -> Array:
    """For each series the mean absolute error of the seasonal naive forecast over its history (MASE's denominator).

    :return: one number for each series, ``NaN`` where the history is no longer than a season.
    """
    season = panel.settings.frequency.main_season
    return np.array(
        [
            float(np.mean(np.abs(s.target[season:] - s.target[:-season]))) if len(s) > season else np.nan
            for s in panel.series
        ]
    )


def tidy(panel: Panel, found: Array) -> tuple[Array, int]:
    """Make a forecast fit to be told: quantiles in order, nothing below zero where nothing ever was, no gaps.

    :param panel: what was forecast.
    :param found: what an algorithm said.
    :return: the forecast, and for how many series it is the seasonal naive one, because the algorithm had none.
    """
    failed = ~np.isfinite(found).all(axis=(1, 2))
    if failed.any():
        found = found.copy()
        found[failed] = forecast(panel.of(s for s, bad in zip(panel.series, failed, strict=True) if bad))
    lowest = np.array([0.0 if series.target.min() >= 0 else -np.inf for series in panel.series])
    found = np.maximum(found, lowest[:, None, None])
    return np.concatenate([found[..., :1], np.sort(found[..., 1:], axis=-1)], axis=-1), int(failed.sum())
