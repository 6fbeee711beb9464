"""prophet, by the library of that name: trend, seasons, holidays and known columns, fitted to each series by itself."""

from __future__ import annotations

import logging
import threading
import warnings

import numpy as np
import pandas as pd

from airflow_automl.local.training.engines.timeseries.algorithms.base import SEED, Context, Untrained, usable
from airflow_automl.local.training.engines.timeseries.panel import Panel, Series
from airflow_automl.local.training.engines.timeseries.related import holiday_dates

log = logging.getLogger(__name__)

_SAMPLES = 300
_DRAWING = threading.Lock()
_STEPS = 3000


class Additive(Untrained):
    """Prophet is fitted to the history that a forecast is made from."""

    name = "prophet"

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        holidays = _holidays(panel)
        return np.array(context.each(lambda series: _one(series, panel, holidays), panel.series))


def _one(series: Series, panel: Panel, holidays: pd.DataFrame | None) -> np.ndarray:
    if not usable(series):
        return np.full((panel.horizon, 1 + len(panel.settings.quantiles)), np.nan)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _fitted(series, panel, holidays)
    except Exception as error:
        # A numerical error in one series must not fail the others.
        log.warning("prophet could not forecast %s: %s", series.key, error)
        return np.full((panel.horizon, 1 + len(panel.settings.quantiles)), np.nan)


def _fitted(series: Series, panel: Panel, holidays: pd.DataFrame | None) -> np.ndarray:
    from prophet import Prophet

    skip = max(0, len(series) - _STEPS)
    moments = panel.calendar.stamps(np.arange(series.start + skip, series.end + panel.horizon))
    history = len(series) - skip
    unit = panel.settings.frequency.unit
    days = (moments[history - 1] - moments[0]).astype("timedelta64[D]").astype(int)
    model = Prophet(
        holidays=holidays,
        uncertainty_samples=_SAMPLES,
        # A season is longer than a step, and occurs twice in the history.
        yearly_seasonality=bool(days >= 730 and unit != "Y"),
        weekly_seasonality=bool(days >= 14 and (unit in ("min", "H") or str(panel.settings.frequency) == "1D")),
        daily_seasonality=bool(days >= 2 and unit in ("min", "H")),
        n_changepoints=min(25, max(0, history // 2)),
    )
    # Their messages do not help a reader of the job's log; the first model raises their level.
    for name in ("cmdstanpy", "prophet"):
        logging.getLogger(name).setLevel(logging.ERROR)
    features = series.features[skip:]
    columns = {"ds": moments.astype("datetime64[ns]")}
    for place, (name, known) in enumerate(zip(panel.features, panel.known, strict=True)):
        # Each holiday has its own effect; a constant column explains nothing.
        if known and not name.startswith("holidays:") and np.ptp(features[:history, place]) > 0:
            columns[f"x{place}"] = features[:, place]
            model.add_regressor(f"x{place}")
    frame = pd.DataFrame(columns)
    model.fit(frame.head(history).assign(y=series.target[skip:]), seed=SEED)
    ahead = frame.tail(panel.horizon).reset_index(drop=True)
    # The library uses numpy's global generator, which other threads share.
    with _DRAWING:
        state = np.random.get_state()
        np.random.seed(SEED)
        try:
            drawn = model.predictive_samples(ahead)["yhat"]
        finally:
            np.random.set_state(state)
    shares = [percent / 100 for percent in panel.settings.quantiles]
    return np.column_stack([drawn.mean(axis=1), np.quantile(drawn, shares, axis=1).T])


def _holidays(panel: Panel) -> pd.DataFrame | None:
    """Return the holidays as Prophet takes them; only days and shorter steps can show them."""
    if not panel.settings.countries or panel.settings.frequency.unit not in ("min", "H", "D") or not len(panel):
        return None
    edges = panel.calendar.stamps(
        [min(s.start for s in panel.series), max(s.end for s in panel.series) + panel.horizon]
    )
    years = edges.astype("datetime64[Y]").astype(int) + 1970
    parts = [
        pd.DataFrame({"holiday": [f"{country}: {name}" for name in found.values()], "ds": list(found)})
        for country in panel.settings.countries
        if (found := holiday_dates(country, int(years[0]), int(years[1])))
    ]
    return pd.concat(parts, ignore_index=True).astype({"ds": "datetime64[ns]"}) if parts else None
