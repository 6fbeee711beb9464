"""Backtests of candidates on the last steps of the training data, and ensemble weights chosen on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_automl.local.training.engines.timeseries import metrics
from airflow_automl.local.training.engines.timeseries.algorithms.base import SEED, Context, Forecaster
from airflow_automl.local.training.engines.timeseries.metrics import Window, measure
from airflow_automl.local.training.engines.timeseries.panel import Panel

ROUNDS = 20
SMALLEST = 0.03
"""Serving an algorithm with less weight costs more than it gives."""

Array = np.ndarray


def blend(forecasts: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """Combine forecasts: halfway between their weighted mean, which errs least, and their weighted median.

    The median does not follow a member that goes astray in one series.

    :param forecasts: algorithm → forecast.
    :param weights: algorithm → weight; they sum to 1.
    """
    parts = np.array([forecasts[name] for name in weights])
    shares = np.array(list(weights.values())).reshape(-1, *[1] * (parts.ndim - 1))
    mean = (shares * parts).sum(axis=0)
    order = np.argsort(parts, axis=0)
    ranked = np.take_along_axis(parts, order, axis=0)
    reached = np.cumsum(np.take_along_axis(np.broadcast_to(shares, parts.shape), order, axis=0), axis=0)
    # Of two halves, the mean is the median.
    low, high = ((reached < half).sum(axis=0, keepdims=True) for half in (0.5 - 1e-9, 0.5 + 1e-9))
    median = (np.take_along_axis(ranked, low, axis=0)[0] + np.take_along_axis(ranked, high, axis=0)[0]) / 2
    return (mean + median) / 2  # type: ignore[no-any-return]


def weigh(
    windows: Sequence[Window], forecasts: Mapping[str, Sequence[Array]], objective: str, quantiles: Sequence[int]
) -> dict[str, float]:
    """Weigh algorithms by how good they were.

    Half of the weight goes to the combination that minimizes the metric on these windows; it is the best one, and fits
    them too closely. The rest goes to all algorithms by the inverse cube of their own metric, which errs less.

    :param forecasts: algorithm → its forecast of each window.
    :return: algorithm → weight; they sum to 1, and weights too small to matter are left out.
    """
    window, whole = Window.all(windows), {name: np.concatenate(found) for name, found in forecasts.items()}

    def loss(forecast: Array) -> float:
        return measure(window, forecast, quantiles).get(objective, np.inf)

    inverse = {name: (loss(forecast) + 1e-9) ** -3 for name, forecast in whole.items()}
    combined = _combination(whole, loss)
    total = sum(inverse.values())
    weights = {name: (combined.get(name, 0.0) + inverse[name] / total) / 2 for name in forecasts}
    kept = {name: weight for name, weight in weights.items() if weight >= SMALLEST}
    total = sum(kept.values())
    return {name: weight / total for name, weight in kept.items()}


def _combination(forecasts: Mapping[str, Array], loss: Callable[[Array], float]) -> dict[str, float]:
    """Add one algorithm at a time, also the same one again, always the one that then makes the loss smallest."""
    counts = dict.fromkeys(forecasts, 0)
    total = np.zeros_like(next(iter(forecasts.values())))
    best, best_counts = np.inf, dict(counts)
    for size in range(1, ROUNDS + 1):
        losses = {name: loss((total + forecast) / size) for name, forecast in forecasts.items()}
        chosen = min(losses, key=lambda name: losses[name])
        counts[chosen] += 1
        total = total + forecasts[chosen]
        if losses[chosen] < best - 1e-12:
            best, best_counts = losses[chosen], dict(counts)
    size = sum(best_counts.values())
    return {name: count / size for name, count in best_counts.items() if count}


WEEKS_OF_A_YEAR = 364
"""Days; as a cycle it keeps the weekday."""

MAX_FORECASTS = 1000
"""Series are drawn for the backtests if all of them would need more forecasts than this."""


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
    windows: tuple[Window, ...]
    naive: tuple[Array, ...]
    training: Panel

    @classmethod
    def over(cls, panel: Panel) -> Backtest:
        """Lay the windows over the end of some series, one horizon each; they may overlap.

        :param panel: the series; the longest has at least four horizons and four steps.
        """
        horizon = panel.horizon
        shortest = max(1, min(4, panel.longest - horizon))
        backs, sample = _steps_back(panel), panel
        if (most := MAX_FORECASTS // len(backs)) < len(panel):
            drawn = np.random.default_rng(SEED).choice(len(panel), most, replace=False)
            sample = panel.of(panel.series[place] for place in sorted(drawn))
            longest = max(panel.series, key=len)
            if sample.longest - horizon < shortest:
                sample = panel.of([longest, *sample.series[1:]])
        steps, pasts, windows = [], [], []
        for back in backs:
            past = sample.before(back, shortest)
            if len(past):
                truth = sample.truth([series.key for series in past.series], back)
                steps.append(back)
                pasts.append(past)
                windows.append(Window.after(past, truth))
        said = [metrics.tidy(past, metrics.naive_forecast(past))[0] for past in pasts]
        return cls(tuple(steps), tuple(pasts), tuple(windows), tuple(said), panel.before(steps[0], shortest))

    def run(self, algorithm: type[Forecaster], context: Context) -> tuple[list[Array], int]:
        """Forecast all windows with an algorithm that learned from the steps before the oldest one.

        :return: a forecast for each window, and how many forecasts are the naive one because the algorithm had none.
        :raises TimeIsUp: there was not enough time.
        """
        model = algorithm.fit(self.training, context)
        found, failures = [], 0
        for past in self.pasts:
            forecast, failed = metrics.tidy(past, model.forecast(past, context))
            found.append(forecast)
            failures += failed
        return found, failures

    def measure(self, forecasts: Sequence[Array]) -> dict[str, float]:
        """Return the metrics of a candidate, over all windows."""
        return measure(Window.all(self.windows), np.concatenate(forecasts), self.training.settings.quantiles)

    def by_window(self, forecasts: Sequence[Array]) -> list[dict[str, Any]]:
        """Return the metrics of each window, beside the seasonal naive forecast's."""
        quantiles = self.training.settings.quantiles
        found = []
        for past, window, said, bar in zip(self.pasts, self.windows, forecasts, self.naive, strict=True):
            first = past.series[0].end
            stamps = past.calendar.texts([first, first + past.horizon - 1])
            found.append(
                {
                    "first": stamps[0],
                    "last": stamps[1],
                    "items": len(past),
                    "metrics": measure(window, said, quantiles),
                    "seasonal_naive": measure(window, bar, quantiles),
                }
            )
        return found


def _steps_back(panel: Panel) -> list[int]:
    """Return how many steps before the end each window begins, the largest first.

    The last three horizons, and one that begins whole cycles before the forecast, so that it has the same hours,
    weekdays and, with three years of days, holidays as the time to forecast: of the cycles, the longest one that is
    possible. What is older than the last two horizons must leave two thirds of a typical series to learn from. Windows
    that have more than half of their steps in common would count the same errors twice: one of them is left out.
    """
    frequency, horizon = panel.settings.frequency, panel.horizon
    typical = float(np.median([len(series) for series in panel.series]))
    cycles = [*frequency.seasons, *([WEEKS_OF_A_YEAR // frequency.multiple] if frequency.unit == "D" else [])]
    whole = [cycle * -(-2 * horizon // cycle) for cycle in cycles]
    older = max((back for back in whole if 3 * back <= typical), default=horizon)
    oldest = 3 * horizon if 9 * horizon <= typical else horizon
    chosen: list[int] = []
    for back in (horizon, older, 2 * horizon, oldest):
        if all(2 * abs(back - other) >= horizon for other in chosen):
            chosen.append(back)
    return sorted(chosen, reverse=True)
