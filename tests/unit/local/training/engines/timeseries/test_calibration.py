"""Quantiles are corrected by the backtests, and a forecast is never worse than a baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.training.engines.timeseries import metrics
from airflow_automl.local.training.engines.timeseries.algorithms.base import Context, forecaster
from airflow_automl.local.training.engines.timeseries.backtest import Backtest
from airflow_automl.local.training.engines.timeseries.calibration import Calibration, calibrate
from airflow_automl.local.training.engines.timeseries.panel import Panel
from tests.unit.local.training.engines.timeseries.conftest import config, panel_of, weekly

QUANTILES = (10, 50, 90)
LOSS = "AverageWeightedQuantileLoss"
SEASONAL = ("seasonal-naive", "seasonal-mean")


def noise(items: int = 60, days: int = 60, spread: float = 5.0) -> Panel:
    """Series around levels of very different sizes, the noise in proportion."""
    random = np.random.default_rng(3)
    levels = np.repeat(10.0 ** random.integers(1, 5, items), days)
    frame = pd.DataFrame(
        {
            "item": np.repeat([f"item {n:02}" for n in range(items)], days),
            "ts": np.tile(pd.date_range("2024-01-01", periods=days).strftime("%Y-%m-%d"), items),
            "y": levels * (1 + spread / 100 * random.normal(size=items * days)),
        }
    )
    return panel_of(frame, config(7))


def said(panel: Panel, width: float) -> np.ndarray:
    """A forecast around each series' mean, with an interval of so many percent of it."""
    mean = np.array([series.target.mean() for series in panel.series])
    steps = 1 + np.array([0.0, -width, 0.0, width]) / 100
    return np.repeat((mean[:, None] * steps)[:, None, :], panel.horizon, axis=1)


def covered_by(backtest: Backtest, forecasts: Sequence[np.ndarray]) -> dict[str, float]:
    return metrics.coverage(metrics.Window.all(backtest.windows), np.concatenate(forecasts), QUANTILES)


@pytest.mark.parametrize("width", [0.0, 0.5, 40.0])
def test_an_interval_that_is_too_narrow_or_too_wide_is_set_right(width: float) -> None:
    backtest = Backtest.over(noise(items=240))
    forecasts = [said(past, width) for past in backtest.pasts]
    calibration, moved = calibrate(backtest, forecasts, LOSS)
    covered = covered_by(backtest, moved)
    assert covered["p90"] - covered["p10"] == pytest.approx(0.8, abs=0.05)
    assert backtest.measure(moved)["RMSE"] == pytest.approx(backtest.measure(forecasts)["RMSE"], rel=0.01)
    # What is served later is moved by the same amounts, relative to each series.
    later = noise()
    (first, *_, last) = calibration.apply(later, said(later, width))
    assert np.all(np.diff(first[:, 1:]) >= 0)
    assert np.all(np.diff(last[:, 1:]) >= 0)


def test_the_mean_follows_the_median_half_the_way() -> None:
    backtest = Backtest.over(noise(items=240))
    low = [0.9 * said(past, 6.4) for past in backtest.pasts]
    calibration, moved = calibrate(backtest, low, LOSS)
    error, before = backtest.measure(moved), backtest.measure(low)
    assert error[LOSS] < 0.6 * before[LOSS]
    assert error["MASE"] < 0.8 * before["MASE"]
    further = calibration.apply(backtest.pasts[-1], low[-1]) - low[-1]
    assert further[..., 2].min() > 0
    np.testing.assert_allclose(further[..., 0], further[..., 2] / 2)


def test_a_forecast_that_is_right_is_left_alone() -> None:
    backtest = Backtest.over(noise())
    right = [said(past, 6.4) for past in backtest.pasts]  # 1.28 standard deviations
    calibration, moved = calibrate(backtest, right, LOSS)
    covered = covered_by(backtest, moved)
    assert covered["p90"] - covered["p10"] == pytest.approx(0.8, abs=0.04)
    assert all(abs(move) < 0.1 for move in calibration.moves)


def test_with_few_series_quantiles_move_less_and_widen_more() -> None:
    panel = noise(items=40)
    backtest = Backtest.over(panel)
    narrow = [said(past, 0.5) for past in backtest.pasts]
    truths = [window.truth for window in backtest.windows]
    many = Calibration.of(backtest.pasts, truths, narrow)
    # The same errors, from a single series: the calibration has less evidence.
    one = Calibration.of([backtest.pasts[0].of(backtest.pasts[0].series[:1])], [truths[0][:1]], [narrow[0][:1]])
    missed = (truths[0][:1] - narrow[0][:1, :, 3]) / (
        narrow[0][:1, :, 3] - narrow[0][:1, :, 1] + metrics.naive_scale(backtest.pasts[0])[:1, None]
    )
    assert one.moves[2] == pytest.approx(missed.max() / 5)
    assert many.moves[0] < 0 < many.moves[2]


def test_quantiles_on_one_side_of_the_median_do_not_move_the_mean() -> None:
    panel = panel_of(weekly(), config(ForecastQuantiles=["p90", "p95"]))
    forecast = np.repeat([[[50.0, 60.0, 70.0]]], panel.horizon, axis=1).repeat(len(panel), axis=0)
    moved = Calibration((0.5, 1.0)).apply(panel, forecast)
    assert (moved[..., 0] == 50).all()
    assert (moved[..., 1:] > forecast[..., 1:]).all()


@pytest.mark.parametrize("objective", [LOSS, "RMSE"])
def test_it_may_cost_a_fifth_of_the_loss_and_never_makes_a_forecast_worse_than_the_naive_one(
    monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    backtest = Backtest.over(noise())
    right = [said(past, 6.4) for past in backtest.pasts]

    def worsened(by: float, naive: float) -> bool:
        def measure(_: Backtest, forecasts: Sequence[np.ndarray]) -> dict[str, float]:
            found = 1.0 if forecasts is right else naive if forecasts is backtest.naive else by
            return {LOSS: min(found, 1.0), objective: found}

        monkeypatch.setattr(Backtest, "measure", measure)
        calibration, measured = calibrate(backtest, right, objective)
        # What is measured is the better one.
        assert (measured[0] is right[0]) == (by > 1)
        return bool(calibration.moves)

    assert worsened(by=1.19, naive=2.0)
    assert not worsened(by=1.21, naive=2.0)
    assert not worsened(by=1.19, naive=1.1)
    assert worsened(by=0.99, naive=0.5)


def test_one_window_is_not_enough_to_calibrate() -> None:
    short = noise(days=14)
    backtest = Backtest.over(short)
    assert len(backtest.pasts) == 1
    forecasts = [said(past, 0.5) for past in backtest.pasts]
    calibration, moved = calibrate(backtest, forecasts, LOSS)
    assert calibration == Calibration()
    np.testing.assert_array_equal(moved, forecasts)


def test_values_that_are_never_negative_stay_so() -> None:
    frame = pd.DataFrame({"item": "a", "ts": pd.date_range("2024-01-01", periods=60).strftime("%Y-%m-%d"), "y": 1.0})
    panel = panel_of(frame.assign(y=np.arange(60) % 3), config(7))
    moved = Calibration((-50.0, 0.0, 50.0)).apply(panel, said(panel, 10))
    assert moved[..., 1].min() == 0


@pytest.mark.parametrize("name", SEASONAL)
def test_a_baseline_repeats_past_values(name: str) -> None:
    week = [float(n) for n in range(7)]
    frame = pd.DataFrame(
        {"item": "a", "ts": pd.date_range("2024-01-01", periods=56).strftime("%Y-%m-%d"), "y": week * 8}
    )
    panel = panel_of(frame, config(10))
    found = forecaster(name).fit(panel, Context()).forecast(panel, Context())
    np.testing.assert_allclose(found[0, :, 0], (week * 2)[:10])
    np.testing.assert_allclose(found[0, :, 1], found[0, :, 3])


def test_the_mean_of_seasons_errs_less_than_the_last_one_where_there_is_only_noise() -> None:
    backtest = Backtest.over(noise())
    naive, mean = (backtest.run(forecaster(name), Context())[0] for name in SEASONAL)
    assert backtest.measure(mean)["RMSE"] < backtest.measure(naive)["RMSE"]
    covered = covered_by(backtest, mean)
    assert covered["p90"] - covered["p10"] == pytest.approx(0.8, abs=0.06)


def test_a_series_in_which_little_happens_is_forecast_as_counts_that_fade_when_nothing_happens() -> None:
    days = pd.date_range("2024-01-01", periods=120).strftime("%Y-%m-%d")
    random = np.random.default_rng(4)
    demand = np.where(random.random(120) < 0.3, random.integers(1, 4, 120), 0)
    parts = [
        pd.DataFrame({"item": "now and then", "ts": days, "y": demand}),
        pd.DataFrame({"item": "no longer", "ts": days, "y": np.where(np.arange(120) < 60, demand, 0)}),
        pd.DataFrame({"item": "always", "ts": days, "y": 5 + demand}),
        pd.DataFrame({"item": "never", "ts": days, "y": 0}),
    ]
    panel = panel_of(pd.concat(parts), config(3))
    found = forecaster("intermittent").fit(panel, Context()).forecast(panel, Context())
    by_key = {series.key[0]: forecast for series, forecast in zip(panel.series, found, strict=True)}
    mean, low, middle, high = by_key["now and then"][0]
    assert 0.2 < mean < 1.2
    assert (low, middle) == (0, 0)
    assert high in (1, 2, 3)
    assert by_key["no longer"][0, 0] < 0.1
    assert by_key["no longer"][0, 3] == 0
    assert np.isnan(by_key["always"]).all()
    assert np.isnan(by_key["never"]).all()


def test_a_decomposition_finds_trend_and_season() -> None:
    days = np.arange(77)
    stamps = pd.date_range("2024-01-01", periods=77).strftime("%Y-%m-%d")
    rising = pd.DataFrame({"item": "rising", "ts": stamps, "y": 50 + days + 10 * (days % 7 == 5)})
    flat = pd.DataFrame({"item": "flat", "ts": stamps, "y": 3.0})
    panel = panel_of(pd.concat([rising, flat]), config(7))
    past = panel.before(7, shortest=4)
    found = forecaster("decomposition").fit(past, Context()).forecast(past, Context())
    by_key = {series.key[0]: forecast for series, forecast in zip(past.series, found, strict=True)}
    truth = 50 + days[70:] + 10 * (days[70:] % 7 == 5)
    assert np.abs(by_key["rising"][:, 0] - truth).max() < 3
    assert (by_key["rising"][:, 1] <= by_key["rising"][:, 3]).all()
    assert np.isnan(by_key["flat"]).all()


def test_a_series_without_two_seasons_is_not_decomposed() -> None:
    panel = panel_of(weekly(1, 12), config(3))
    assert np.isnan(forecaster("decomposition").fit(panel, Context()).forecast(panel, Context())).all()
