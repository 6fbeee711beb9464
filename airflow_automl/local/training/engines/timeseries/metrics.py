"""The metrics of forecasts, as Amazon publishes them for its forecasting algorithms.

Point metrics judge the mean forecast, quantile losses the quantiles. Forecasts are arrays of shape
(series, horizon, 1 + quantiles): the mean first, then the quantiles in ascending order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Window:
    """What happened in a backtest window.

    :param truth: shape (series, horizon).
    :param scale: for each series the mean absolute error of the seasonal naive forecast over its history, one season
        back; ``NaN`` where the history is shorter than that.
    """

    truth: Array
    scale: Array


def measure(window: Window, forecast: Array, quantiles: Sequence[int]) -> dict[str, float]:
    """All metrics over a window; those that are undefined are left out.

    MAPE leaves out the steps at which nothing happened (a truth of zero), MASE the series that never changed.

    :param window: what happened.
    :param forecast: what was said.
    :param quantiles: in percent.
    """
    error = np.abs(window.truth - forecast[..., 0])
    total = float(np.abs(window.truth).sum())
    nonzero = window.truth != 0
    scaled = window.scale > 0
    found = {
        "AverageWeightedQuantileLoss": float(np.mean(list(quantile_losses(window, forecast, quantiles).values()))),
        "WAPE": _ratio(float(error.sum()), total),
        "RMSE": float(np.sqrt(np.mean(error**2))),
        "MAPE": float(np.mean(error[nonzero] / np.abs(window.truth[nonzero]))) if nonzero.any() else np.nan,
        "MASE": float(np.mean(error[scaled] / window.scale[scaled, None])) if scaled.any() else np.nan,
    }
    return {name: value for name, value in found.items() if np.isfinite(value)}


def quantile_losses(window: Window, forecast: Array, quantiles: Sequence[int]) -> dict[str, float]:
    """The weighted quantile loss wQL of each quantile: twice the pinball loss over the sum of absolute values."""
    total = float(np.abs(window.truth).sum())
    return {
        f"p{percent}": _ratio(2 * float(_pinball(window.truth, forecast[..., place], percent / 100).sum()), total)
        for place, percent in enumerate(quantiles, 1)
    }


def _pinball(truth: Array, predicted: Array, share: float) -> Array:
    difference = truth - predicted
    return np.maximum(share * difference, (share - 1) * difference)  # type: ignore[no-any-return]


def _ratio(loss: float, total: float) -> float:
    """A loss relative to the values; without values only a perfect forecast has one."""
    if total > 0:
        return loss / total
    return 0.0 if loss == 0 else float("nan")


def measure_items(window: Window, forecast: Array, quantiles: Sequence[int]) -> list[dict[str, float]]:
    """The metrics of each series by itself."""
    return [
        measure(Window(window.truth[i : i + 1], window.scale[i : i + 1]), forecast[i : i + 1], quantiles)
        for i in range(len(window.truth))
    ]


def coverage(windows: Sequence[Window], forecasts: Sequence[Array], quantiles: Sequence[int]) -> dict[str, float]:
    """For each quantile the share of the true values that were not above it; ideally the quantile itself."""
    return {
        f"p{percent}": float(
            np.mean(
                np.concatenate([(w.truth <= f[..., place]).ravel() for w, f in zip(windows, forecasts, strict=True)])
            )
        )
        for place, percent in enumerate(quantiles, 1)
    }
