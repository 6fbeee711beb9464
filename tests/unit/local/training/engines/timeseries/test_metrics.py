"""The published definitions, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from airflow_automl.local.training.engines.timeseries import metrics
from airflow_automl.local.training.engines.timeseries.backtest import blend, weigh
from airflow_automl.local.training.engines.timeseries.metrics import Window
from tests.unit.local.training.engines.timeseries.conftest import config, panel_of, weekly

WINDOW = Window(truth=np.array([[10.0, 20.0], [0.0, 40.0]]), scale=np.array([5.0, np.nan]), level=np.ones(2))
# mean, p10, p90
SAID = np.array([[[12.0, 5, 15], [16, 25, 30]], [[4, 0, 5], [40, 30, 50]]])


def test_the_metrics_are_those_that_amazon_publishes() -> None:
    found = metrics.measure(WINDOW, SAID, (10, 90))
    assert found["RMSE"] == pytest.approx(np.sqrt((4 + 16 + 16 + 0) / 4))
    assert found["WAPE"] == pytest.approx((2 + 4 + 4 + 0) / 70)
    # The step at which nothing happened is left out.
    assert found["MAPE"] == pytest.approx((0.2 + 0.2 + 0) / 3)
    # The series without a naive error is left out.
    assert found["MASE"] == pytest.approx((2 / 5 + 4 / 5) / 2)
    p10 = 0.1 * 5 + 0.9 * 5 + 0 + 0.1 * 10
    p90 = 0.1 * 5 + 0.1 * 10 + 0.1 * 5 + 0.1 * 10
    assert metrics.quantile_losses(WINDOW, SAID, (10, 90)) == pytest.approx({"p10": 2 * p10 / 70, "p90": 2 * p90 / 70})
    assert found["AverageWeightedQuantileLoss"] == pytest.approx((p10 + p90) / 70)


def test_coverage_is_how_often_the_truth_is_not_above_a_quantile() -> None:
    assert metrics.coverage(WINDOW, SAID, (10, 90)) == {"p10": 0.5, "p90": 1.0}


def test_undefined_metrics_are_omitted() -> None:
    never = Window(np.zeros((1, 2)), np.zeros(1), np.zeros(1))
    assert set(metrics.measure(never, np.ones((1, 2, 2)), (50,))) == {"RMSE"}
    perfect = metrics.measure(never, np.zeros((1, 2, 2)), (50,))
    assert perfect == {"AverageWeightedQuantileLoss": 0.0, "WAPE": 0.0, "RMSE": 0.0}


def test_where_nothing_happens_losses_are_relative_to_what_happened_before() -> None:
    quiet = Window(np.zeros((1, 2)), np.ones(1), np.array([4.0]))
    found = metrics.measure(quiet, np.ones((1, 2, 2)), (50,))
    assert found["WAPE"] == found["AverageWeightedQuantileLoss"] == pytest.approx(2 / 8)


def test_some_series_are_measured_by_themselves() -> None:
    assert metrics.measure(WINDOW.of([0]), SAID[:1], (10, 90))["WAPE"] == pytest.approx(6 / 30)
    assert "MASE" not in metrics.measure(WINDOW.of([1]), SAID[1:], (10, 90))


def test_a_history_no_longer_than_a_season_is_scaled_by_its_steps() -> None:
    panel = panel_of(weekly(1, 7, noise=0), config(1))
    changes = np.abs(np.diff(panel.series[0].target))
    assert metrics.naive_scale(panel) == pytest.approx([changes.mean()])


def constant(value: float) -> np.ndarray:
    return np.full((1, 2, 2), value)


def happened(value: float) -> Window:
    return Window(np.full((1, 2), value), np.ones(1), np.full(1, 10.0))


def test_the_ensemble_prefers_accurate_members() -> None:
    windows = [happened(10), happened(20)]
    forecasts = {"good": [constant(11), constant(19)], "bad": [constant(30), constant(60)]}
    weights = weigh(windows, forecasts, "WAPE", (50,))
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["good"] > 0.95
    # Errors that cancel out make two algorithms better than each of them.
    both = {"low": [constant(8), constant(18)], "high": [constant(12), constant(22)]}
    assert weigh(windows, both, "WAPE", (50,)) == pytest.approx({"low": 0.5, "high": 0.5}, abs=0.06)


def test_windows_in_which_nothing_happens_do_not_favour_a_forecast_of_nothing() -> None:
    windows = [happened(0), happened(0), happened(10)]
    forecasts = {"sensible": [constant(1), constant(1), constant(8)], "nothing": [constant(0)] * 3}
    weights = weigh(windows, forecasts, "WAPE", (50,))
    assert weights["sensible"] > 0.9


def test_a_blend_lies_halfway_between_the_mean_and_the_median() -> None:
    three = {"a": constant(1), "b": constant(3), "astray": constant(1000)}
    found = blend(three, {"a": 0.3, "b": 0.4, "astray": 0.3})
    assert found[0, 0, 0] == pytest.approx(((0.3 + 1.2 + 300) + 3) / 2)
    assert blend({"a": constant(1), "b": constant(3)}, {"a": 0.5, "b": 0.5})[0, 0, 0] == pytest.approx(2)
    assert blend({"a": constant(1), "b": constant(3)}, {"a": 0.25, "b": 0.75})[0, 0, 0] == pytest.approx(2.75)
    assert blend({"a": constant(4)}, {"a": 1.0})[0, 0, 0] == 4
    # Each series, step and quantile by itself; quantiles stay in order.
    random = np.random.default_rng(5)
    many = {name: np.sort(random.normal(size=(4, 3, 5)), axis=-1) for name in "abcd"}
    blended = blend(many, {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4})
    assert blended.shape == (4, 3, 5)
    assert np.all(np.diff(blended, axis=-1) >= 0)
