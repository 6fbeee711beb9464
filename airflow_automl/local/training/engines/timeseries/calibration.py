"""Quantiles that hold what they promise: corrected by how often they were right in the backtests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from airflow_automl.local.training.engines.timeseries import metrics
from airflow_automl.local.training.engines.timeseries.backtest import Backtest
from airflow_automl.local.training.engines.timeseries.panel import Panel

Array = np.ndarray

_DOUBT = 4
"""Shrinks the moves that few series were enough for: their errors are chance."""

_WORTH = 1.2
"""Quantiles that hold what they promise may cost a fifth of the loss: a few windows measure it no better than that."""


@dataclass(frozen=True)
class Calibration:
    """How far to move each quantile, as in conformalized quantile regression (Romano, Patterson and Candès, 2019).

    A shift is in units of the forecast's own width at that step and of the series' seasonal naive error, so that it
    fits series of all sizes and grows with the horizon as the forecast's doubt does.

    :param moves: one for each quantile; none leaves forecasts as they are.
    """

    moves: tuple[float, ...] = ()

    @classmethod
    def of(cls, pasts: Sequence[Panel], truths: Sequence[Array], forecasts: Sequence[Array]) -> Calibration:
        """Learn from what happened: afterwards the share of the truths below each quantile is the quantile itself.

        The errors of one series in one window depend on each other, so that they count as one. With n of them, the
        level of a quantile is further from the median by 1 / n, because the next error may be larger than all of them;
        and the move is multiplied by n / (n + 4).

        :param pasts: what was known before each window.
        """
        count = sum(len(past) for past in pasts)
        units = [_units(past, said) for past, said in zip(pasts, forecasts, strict=True)]
        moves = []
        for place, percent in enumerate(pasts[0].settings.quantiles, 1):
            missed = [
                (truth - said[..., place])[unit > 0] / unit[unit > 0]
                for truth, said, unit in zip(truths, forecasts, units, strict=True)
            ]
            all_missed = np.concatenate(missed)
            level = np.clip(0.5 + (percent / 100 - 0.5) * (1 + 1 / count), 0, 1)
            found = np.quantile(all_missed, level, method="median_unbiased") if len(all_missed) else 0.0
            moves.append(float(found) * count / (count + _DOUBT))
        return cls(tuple(moves))

    def apply(self, panel: Panel, forecast: Array) -> Array:
        """Return a forecast with its quantiles moved, and its mean half as far as the median.

        If all quantiles are on one side of the median, the mean stays.

        :param panel: the history that the forecast continues.
        """
        if not self.moves:
            return forecast
        median = np.interp(50, panel.settings.quantiles, self.moves, left=0, right=0)
        moves = np.array([median / 2, *self.moves])
        return metrics.tidy(panel, forecast + _units(panel, forecast)[..., None] * moves)[0]


def _units(panel: Panel, forecast: Array) -> Array:
    error = np.nan_to_num(metrics.naive_scale(panel))
    return forecast[..., -1] - forecast[..., 1] + error[:, None]  # type: ignore[no-any-return]


def calibrate(backtest: Backtest, forecasts: Sequence[Array], objective: str) -> tuple[Calibration, list[Array]]:
    """Calibrate a candidate on its backtests, unless that makes it much worse.

    :param forecasts: the candidate's forecast of each window.
    :param objective: what the candidate is judged by.
    :return: the calibration, and the forecasts of the windows to measure the candidate by: each calibrated on the other
        windows alone, which its calibration has not seen, or as they were if that was better. Nothing is calibrated
        with one window, or if the quantile loss or the objective becomes larger so, and either by a fifth or than the
        seasonal naive forecast's.
    """
    pasts, truths = backtest.pasts, [window.truth for window in backtest.windows]
    if len(pasts) > 1:
        moved = []
        for place in range(len(pasts)):
            known = [[*each[:place], *each[place + 1 :]] for each in (pasts, truths, forecasts)]
            moved.append(Calibration.of(*known).apply(pasts[place], forecasts[place]))
        losses = [
            [backtest.measure(each).get(name, np.inf) for name in ("AverageWeightedQuantileLoss", objective)]
            for each in (forecasts, moved, backtest.naive)
        ]
        before, after, naive = np.array(losses)
        if (after <= np.maximum(before, np.minimum(_WORTH * before, naive))).all():
            # A loss that a few windows made larger by chance must not decide between candidates.
            return Calibration.of(pasts, truths, forecasts), moved if after[1] < before[1] else list(forecasts)
    return Calibration(), list(forecasts)
