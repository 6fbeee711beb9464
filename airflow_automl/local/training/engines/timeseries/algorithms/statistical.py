"""ets, arima and theta, by statsforecast.

Which model of the family fits a series is chosen once, in training; its parameters are estimated again on the history
that a forecast is made from. So an artefact is a list of choices, and forecasts follow what happened since.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from airflow_automl.local.training.engines.course import TimeIsUp
from airflow_automl.local.training.engines.timeseries.algorithms.base import (
    Context,
    Forecaster,
    normal_quantiles,
    usable,
)
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series

_FILE = "models.json"
STEPS = 1000
"""Older steps are ignored: they cost much and add little."""

Choice = tuple[Any, ...]


@dataclass(frozen=True)
class _Statistical(Forecaster):
    """A family of models for one series at a time.

    :param choices: key of a series → its model.
    :param common: the model of series that none was chosen for.
    """

    longest_season: ClassVar[int]
    """Longer seasons are taken out as an average profile before the model sees the series."""
    chosen: ClassVar[int]
    """For more series than this no own model is chosen: the most frequent one of the others is taken."""

    choices: Mapping[tuple[str, ...], Choice]
    common: Choice

    @classmethod
    def fit(cls, panel: Panel, context: Context) -> Self:
        candidates = [series for series in panel.series if usable(series)]
        step = max(1, -(-len(candidates) // cls.chosen))
        sample = candidates[::step]
        found = context.each(lambda series: cls._try_to_choose(series, panel), sample)
        choices = {series.key: choice for series, choice in zip(sample, found, strict=True) if choice is not None}
        counts = Counter(choices.values())
        return cls(choices, counts.most_common(1)[0][0] if counts else cls.simplest())

    @classmethod
    def _try_to_choose(cls, series: Series, panel: Panel) -> Choice | None:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                values, _, season = cls._prepare(series, panel)
                return cls.choose(values, season)
        except TimeIsUp:
            raise
        except Exception:
            # A numerical error in one series must not fail the others.
            return None

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        return np.array(context.each(lambda series: self._one(series, panel), panel.series))

    def _one(self, series: Series, panel: Panel) -> np.ndarray:
        nothing = np.full((panel.horizon, 1 + len(panel.settings.quantiles)), np.nan)
        if not usable(series):
            return nothing
        for choice in (self.choices.get(series.key, self.common), self.simplest()):
            with contextlib.suppress(Exception), warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                values, profile, season = self._prepare(series, panel)
                mean, deviation = self.apply(values, season, choice, panel.horizon)
                if np.isfinite(mean).all() and np.isfinite(deviation).all():
                    return normal_quantiles(mean + profile, deviation, panel.settings.quantiles)
        return nothing

    @classmethod
    def _prepare(cls, series: Series, panel: Panel) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the values that a model sees, what must be added to its forecast, and the season left for it."""
        values = series.target[-STEPS:].astype("float64")
        season = panel.settings.frequency.season(len(values))
        if season <= cls.longest_season:
            return values, np.zeros(panel.horizon), season
        profile = np.resize(_profile(values, season), len(values) + panel.horizon)
        return values - profile[: len(values)], profile[len(values) :], 1

    @classmethod
    @abstractmethod
    def choose(cls, values: np.ndarray, season: int) -> Choice:
        """Return the model that fits best."""

    @classmethod
    @abstractmethod
    def simplest(cls) -> Choice:
        """Return a model that fits everything somehow."""

    @classmethod
    @abstractmethod
    def apply(cls, values: np.ndarray, season: int, choice: Choice, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """Estimate a model and forecast: means and standard deviations."""

    def save(self, folder: Path) -> None:
        document = {
            "common": list(self.common),
            "choices": [[list(key), list(choice)] for key, choice in self.choices.items()],
        }
        (folder / _FILE).write_text(json.dumps(document))

    @classmethod
    def load(cls, folder: Path, document: dict[str, Any]) -> Self:
        found = json.loads((folder / _FILE).read_text())
        return cls({tuple(key): tuple(choice) for key, choice in found["choices"]}, tuple(found["common"]))


def _profile(values: np.ndarray, season: int) -> np.ndarray:
    """Return how each step of a season differs from the trend on average, as far as the seasons agree.

    The mean of n seasons is multiplied by its reliability (Spearman and Brown), n r / (1 + (n - 1) r), where r is how
    much one season correlates with the next; so it is nothing for noise and random walks.

    :param values: at least two seasons.
    """
    from statsmodels.tsa.seasonal import seasonal_decompose

    parts = seasonal_decompose(values, period=season, extrapolate_trend=season - 1)
    detrended = parts.seasonal + parts.resid
    agreement = np.nan_to_num(np.corrcoef(detrended[season:], detrended[:-season])[0, 1]).clip(min=0)
    count = len(values) / season
    return parts.seasonal[:season] * count * agreement / (1 + (count - 1) * agreement)  # type: ignore[no-any-return]


ONE_DEVIATION = 68.26894921370859
"""Percent of a normal distribution within one standard deviation of its mean."""


class Ets(_Statistical):
    """Exponential smoothing; a choice is error, trend, season, and whether the trend is damped."""

    name = "ets"
    longest_season = 24
    chosen = 500

    @classmethod
    def choose(cls, values: np.ndarray, season: int) -> Choice:
        from statsforecast.ets import ets_f

        components = ets_f(values, m=season)["components"]
        return (components[:3], components[3] == "D")

    @classmethod
    def simplest(cls) -> Choice:
        """Simple exponential smoothing."""
        return ("ANN", False)

    @classmethod
    def apply(cls, values: np.ndarray, season: int, choice: Choice, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        from statsforecast.ets import ets_f, forecast_ets

        model = ets_f(values, m=season, model=choice[0], damped=choice[1])
        found = forecast_ets(model, h=horizon, level=[ONE_DEVIATION])
        mean = np.asarray(found["mean"])
        return mean, (np.asarray(found[f"hi-{ONE_DEVIATION}"]) - np.asarray(found[f"lo-{ONE_DEVIATION}"])) / 2


class Arima(_Statistical):
    """Seasonal ARIMA; a choice is p, d, q, P, D, Q, and whether there are a mean and a drift."""

    name = "arima"
    longest_season = 12
    chosen = 100

    @classmethod
    def choose(cls, values: np.ndarray, season: int) -> Choice:
        from statsforecast.arima import auto_arima_f

        model = auto_arima_f(_standard(values)[0], period=season, approximation=True, max_p=3, max_q=3, allowmean=True)
        p, q, seasonal_p, seasonal_q, _, d, seasonal_d = (int(part) for part in model["arma"])
        names = set(model["coef"])
        return (p, d, q, seasonal_p, seasonal_d, seasonal_q, "intercept" in names, "drift" in names)

    @classmethod
    def simplest(cls) -> Choice:
        """Differences without a memory but the last one."""
        return (0, 1, 1, 0, 0, 0, False, False)

    @classmethod
    def apply(cls, values: np.ndarray, season: int, choice: Choice, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        from statsforecast import arima as library

        p, d, q, seasonal_p, seasonal_d, seasonal_q, mean, drift = choice
        standard, level, size = _standard(values)
        model = library.Arima(
            standard,
            order=(p, d, q),
            seasonal={"order": (seasonal_p, seasonal_d, seasonal_q), "period": season},
            include_mean=mean,
            include_drift=drift,
            method="CSS-ML",
        )
        found = library.forecast_arima(model, horizon, level=[ONE_DEVIATION])
        upper = np.asarray(found["upper"]).ravel()
        return level + size * np.asarray(found["mean"]), size * (upper - np.asarray(found["mean"]))


def _standard(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return values around 0 with a deviation of 1, what was subtracted from them and what they were divided by.

    Of a model with differences the library's intervals grow with the level of the series, however little it changes;
    and of tiny values it chooses another model.
    """
    level, size = float(values.mean()), float(values.std()) or 1.0
    return (values - level) / size, level, size


class Theta(_Statistical):
    """Half a trend, half exponential smoothing, optimized for each series: there is nothing to choose."""

    name = "theta"
    longest_season = 24
    chosen = 1

    @classmethod
    def choose(cls, values: np.ndarray, season: int) -> Choice:
        return cls.simplest()

    @classmethod
    def simplest(cls) -> Choice:
        """The only model."""
        return ()

    @classmethod
    def apply(cls, values: np.ndarray, season: int, choice: Choice, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        from statsforecast.models import DynamicOptimizedTheta

        found = DynamicOptimizedTheta(season_length=season).forecast(values, horizon, level=[ONE_DEVIATION])
        return found["mean"], found[f"hi-{ONE_DEVIATION}"] - found["mean"]
