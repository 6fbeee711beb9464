"""What every forecast must beat: the last season again, and the mean of the last seasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from airflow_automl.local.training.engines.timeseries.algorithms.base import Context, Forecaster
from airflow_automl.local.training.engines.timeseries.metrics import naive_forecast
from airflow_automl.local.training.engines.timeseries.panel import Panel


class SeasonalNaive(Forecaster):
    """Each step as it was a season before."""

    name = "seasonal-naive"
    seasons: ClassVar[int] = 1

    @classmethod
    def fit(cls, panel: Panel, context: Context) -> Self:
        """Learn nothing: the forecast is made from the history that it continues."""
        return cls()

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        """Forecast the horizon of each series."""
        return naive_forecast(panel, self.seasons)

    def save(self, folder: Path) -> None:
        """Write nothing: there is nothing to keep."""

    @classmethod
    def load(cls, folder: Path, document: dict[str, Any]) -> Self:
        """Return the same again."""
        return cls()


class SeasonalMean(SeasonalNaive):
    """Each step as it was in the mean of the last seasons."""

    name = "seasonal-mean"
    seasons = 4
