"""Backtests: how well the last steps would have been forecast, had they not happened yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_automl.local.training.engines.timeseries import metrics, naive
from airflow_automl.local.training.engines.timeseries.algorithms.base import SEED, Context, Forecaster
from airflow_automl.local.training.engines.timeseries.panel import Panel

WINDOWS = 2
MAX_ITEMS = 500
"""Of more series than this, so many are drawn for the backtests."""

Array = np.ndarray


@dataclass(frozen=True)
class Backtest:
    """The windows that all candidates of a job are measured on, the oldest first.

    :param steps: how many steps before the end each window begins.
    :param pasts: what was known before each.
    :param windows: what happened in each.
    :param naive: the seasonal naive forecast of each.
    :param training: all series before the oldest window: what candidates learn from.
    """

    steps: tuple[int, ...]
    pasts: tuple[Panel, ...]
    windows: tuple[metrics.Window, ...]
    naive: tuple[Array, ...]
    training: Panel

    @classmethod
    def over(cls, panel: Panel) -> Backtest:
        """Lay the windows over the end of some series, one horizon each, side by side.

        :param panel: the series; the longest has at least four horizons and four steps.
        """
        horizon = panel.horizon
        shortest = max(1, min(4, panel.longest - horizon))
        sample = panel
        if len(panel) > MAX_ITEMS:
            drawn = np.random.default_rng(SEED).choice(len(panel), MAX_ITEMS, replace=False)
            sample = panel.of(panel.series[place] for place in sorted(drawn))
            longest = max(panel.series, key=len)
            if sample.longest - horizon < shortest:
                sample = panel.of([longest, *sample.series[1:]])
        steps, pasts, windows = [], [], []
        for number in range(WINDOWS, 0, -1):
            past = sample.before(number * horizon, shortest)
            if len(past):
                truth = sample.truth([series.key for series in past.series], number * horizon)
                steps.append(number * horizon)
                pasts.append(past)
                windows.append(metrics.Window(truth, naive.scale(past)))
        said = [naive.tidy(past, naive.forecast(past))[0] for past in pasts]
        return cls(tuple(steps), tuple(pasts), tuple(windows), tuple(said), panel.before(steps[0], shortest))

    def run(self, algorithm: type[Forecaster], context: Context) -> tuple[list[Array], int]:
        """Forecast all windows with an algorithm that learned from what lies before the oldest one.

        :return: a forecast for each window, and how many forecasts are the naive one because the algorithm had none.
        :raises TimeIsUp: there was not enough time.
        """
        model = algorithm.fit(self.training, context)
        found, failures = [], 0
        for past in self.pasts:
            forecast, failed = naive.tidy(past, model.forecast(past, context))
            found.append(forecast)
            failures += failed
        return found, failures

    def measure(self, forecasts: Sequence[Array]) -> dict[str, float]:
        """The metrics of a candidate: the mean over the windows."""
        quantiles = self.training.settings.quantiles
        return average([metrics.measure(w, f, quantiles) for w, f in zip(self.windows, forecasts, strict=True)])

    def by_window(self, forecasts: Sequence[Array]) -> list[dict[str, Any]]:
        """The metrics of each window, beside the seasonal naive forecast's."""
        quantiles = self.training.settings.quantiles
        found = []
        for past, window, said, bar in zip(self.pasts, self.windows, forecasts, self.naive, strict=True):
            first = past.series[0].end
            stamps = past.calendar.stamps([first, first + past.horizon - 1])
            found.append(
                {
                    "first": str(stamps[0]).replace("T", " "),
                    "last": str(stamps[1]).replace("T", " "),
                    "items": len(past),
                    "metrics": metrics.measure(window, said, quantiles),
                    "seasonal_naive": metrics.measure(window, bar, quantiles),
                }
            )
        return found


def average(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over those that have it."""
    names = list(dict.fromkeys(name for each in found for name in each))
    return {name: float(np.mean([each[name] for each in found if name in each])) for name in names}
