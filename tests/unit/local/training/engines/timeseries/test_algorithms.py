"""Each algorithm on series that it must forecast, and on unpredictable ones."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.training.data.codec import Codec, Kind
from airflow_automl.local.training.engines import course
from airflow_automl.local.training.engines.course import Clock, TimeIsUp
from airflow_automl.local.training.engines.timeseries import metrics
from airflow_automl.local.training.engines.timeseries.algorithms import base
from airflow_automl.local.training.engines.timeseries.algorithms.base import ALGORITHMS, Context, available, forecaster
from airflow_automl.local.training.engines.timeseries.backtest import Backtest
from airflow_automl.local.training.engines.timeseries.metrics import Window, measure
from tests.unit.local.training.engines.timeseries.conftest import config, panel_of, weekly

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
EVERY = [pytest.param(name, marks=[needs_torch] if ALGORITHMS[name].needs else []) for name in ALGORITHMS]


def brief() -> Context:
    """Networks use all of their time limit: here it is very short, on any machine."""
    return Context(clock=Clock(600))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("torch") is not None:
        from airflow_automl.local.training.engines.timeseries.algorithms import windows

        monkeypatch.setattr(windows, "_STEPS", 100)
        monkeypatch.setattr(windows, "_BATCH", 16)


@pytest.mark.parametrize("name", EVERY)
def test_a_weekly_pattern_is_found_and_survives_being_stored_whatever_the_columns_are_called(
    name: str, tmp_path: Path
) -> None:
    attributes = ("ItemIdentifierAttributeName", "TimestampAttributeName", "TargetAttributeName")
    names = ('it\n"em"', "t,s: {0}", "[y] <é>")
    frame = weekly(items=2, days=70).set_axis(names, axis=1).assign(**{"ds\n]": 1.0})
    settings = config(horizon=7, TimeSeriesConfig=dict(zip(attributes, names, strict=True)))
    panel = panel_of(frame, settings, [Codec("ds\n]", Kind.NUMBER)])
    past = panel.before(7, shortest=4)
    truth = panel.truth([series.key for series in past.series], 7)

    model = forecaster(name).fit(past, brief())
    said, failed = metrics.tidy(past, model.forecast(past, brief()))

    assert said.shape == (2, 7, 4)
    assert failed == 0
    assert (np.diff(said[..., 1:], axis=-1) >= 0).all()
    found = measure(Window.after(past, truth), said, (10, 50, 90))
    # The pattern's own amplitude is 5 around 20 and 40; without it the error is about 11 %.
    assert found["WAPE"] < (0.2 if name == "deepar" else 0.08)
    model.save(tmp_path)
    again = forecaster(name).load(tmp_path, {})
    assert again.forecast(past, brief()) == pytest.approx(model.forecast(past, brief()))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("unit", "zero"), [(1e-12, 0.0), (1e12, 0.0), (1.0, 1e7)], ids=["tiny", "huge", "far"])
def test_it_does_not_matter_what_the_unit_is_and_where_zero_is(name: str, unit: float, zero: float) -> None:
    panel = panel_of(weekly(items=2, days=70), config(horizon=7))
    truth = panel.truth([series.key for series in panel.series], 7)
    other = panel.of(replace(series, target=zero + unit * series.target) for series in panel.series)
    past = other.before(7, shortest=4)

    said, failed = metrics.tidy(past, forecaster(name).fit(past, brief()).forecast(past, brief()))

    assert failed == 0
    # Without the pattern, whose amplitude is 5, the error is about 3.
    assert np.abs((said[..., 0] - zero) / unit - truth).mean() < 2
    assert np.mean(said[..., -1] - said[..., 1]) / unit < 20


@pytest.mark.parametrize("name", EVERY)
def test_series_that_say_nothing_do_no_harm(name: str) -> None:
    days = pd.date_range("2024-01-01", periods=40)
    parts = [
        pd.DataFrame({"item": "constant", "ts": days, "y": 7.0}),
        pd.DataFrame({"item": "nothing", "ts": days, "y": 0.0}),
        pd.DataFrame({"item": "short", "ts": days[-3:], "y": [1.0, 2.0, 3.0]}),
        pd.DataFrame({"item": "single", "ts": days[-1:], "y": [5.0]}),
    ]
    panel = panel_of(pd.concat(parts).assign(ts=lambda f: f["ts"].dt.strftime("%Y-%m-%d")), config(horizon=3))

    model = forecaster(name).fit(panel, brief())
    said, _ = metrics.tidy(panel, model.forecast(panel, brief()))

    assert np.isfinite(said).all()
    assert (said >= 0).all()
    assert said[0] == pytest.approx(7, abs=1e-6)
    assert said[1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["prophet", pytest.param("cnn-qr", marks=needs_torch)])
def test_known_columns_and_holidays_are_used(name: str) -> None:
    random = np.random.default_rng(2)
    days = pd.date_range("2024-01-01", periods=107)
    promo = random.integers(0, 2, 107).astype(float)
    y = 10 + 20 * promo + random.normal(size=107)
    rows = pd.DataFrame({"item": "a", "ts": days.strftime("%Y-%m-%d"), "y": y.round(2), "promo": promo})
    rows.loc[100:, "y"] = np.nan
    panel = panel_of(rows, config(horizon=7, HolidayConfig=[{"CountryCode": "US"}]), [Codec("promo", Kind.NUMBER)])
    assert panel.known == (True, True)

    said = forecaster(name).fit(panel, brief()).forecast(panel, brief())[0, :, 0]

    assert np.corrcoef(said, promo[100:])[0, 1] > 0.8


def test_long_seasons_are_taken_out_before_ets_and_arima() -> None:
    hours = pd.date_range("2024-01-01", periods=24 * 16, freq="h")
    y = 50 + 20 * np.sin(2 * np.pi * hours.hour / 24) + 10 * (hours.dayofweek < 5)
    rows = pd.DataFrame({"item": "a", "ts": hours.strftime("%Y-%m-%d %H:%M:%S"), "y": y})
    panel = panel_of(rows, config(horizon=24, frequency="1H"))
    past = panel.before(24, shortest=4)
    truth = panel.truth([("a",)], 24)
    for name in ("ets", "arima"):
        said = forecaster(name).fit(past, brief()).forecast(past, brief())
        assert np.abs(said[..., 0] - truth).mean() < 1


@pytest.mark.parametrize("name", ["ets", "theta"])
@pytest.mark.parametrize("kind", ["trend", "walk", "noise"])
def test_what_is_no_long_season_is_not_taken_for_one(name: str, kind: str) -> None:
    random, weeks = np.random.default_rng(1), np.arange(128)
    made = {
        "trend": lambda: 100 + 2 * weeks + 4 * random.normal(size=128),
        "walk": lambda: 1000 + 5 * np.cumsum(random.normal(size=128)),
        "noise": lambda: 100 + 10 * random.normal(size=128),
    }[kind]
    stamps = pd.date_range("2020-01-06", periods=128, freq="7D").strftime("%Y-%m-%d")
    parts = [pd.DataFrame({"item": f"{n:02}", "ts": stamps, "y": made()}) for n in range(12)]
    panel = panel_of(pd.concat(parts), config(horizon=8, frequency="1W"))
    past = panel.before(8, shortest=4)
    truth = panel.truth([series.key for series in past.series], 8)
    said = forecaster(name).fit(past, brief()).forecast(past, brief())[..., 0]
    # What remains of the best possible error, with the noise of twelve series.
    limit = {"trend": 5.0, "walk": 11.0, "noise": 9.5}[kind]
    assert np.abs(said - truth).mean() < limit


@needs_torch
def test_networks_do_not_learn_from_a_future_that_forecasts_lack() -> None:
    from airflow_automl.local.training.engines.timeseries.algorithms.windows import Windows

    random = np.random.default_rng(3)
    days = pd.date_range("2024-01-01", periods=110).strftime("%Y-%m-%d")
    parts = []
    for number in range(8):
        twin = random.normal(size=110)
        parts.append(pd.DataFrame({"item": str(number), "ts": days, "y": 50 + 10 * twin, "twin": twin}))
    panel = panel_of(pd.concat(parts, ignore_index=True), config(horizon=7), [Codec("twin", Kind.NUMBER)])
    assert panel.known == (False,)
    series = panel.series[0]
    window = Windows.over(panel).random(panel, np.random.default_rng(0)).features[..., -1].numpy()
    assert (window[:, -7:] == window[:, -8:-7]).all()
    np.testing.assert_array_equal(panel.features_until(series, 50)[:50], series.features[:50])


def test_without_time_nothing_is_started() -> None:
    panel = panel_of(weekly(), config())
    for name in available(ALGORITHMS)[0]:
        over = Context(clock=Clock(-1))
        with pytest.raises(TimeIsUp):
            forecaster(name).fit(panel, over).forecast(panel, over)


def test_far_too_many_series_for_the_time_are_found_out_early(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    # A second for each of them, on a clock that nothing else moves.
    for module in (base, course):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(len(done))))
    with pytest.raises(TimeIsUp):
        Context(clock=Clock(1000.0, 0.0)).each(done.append, range(100_000))
    assert len(done) == 20
    done.clear()
    Context(clock=Clock(1000.0, 0.0)).each(done.append, range(900))
    assert len(done) == 900
    with pytest.raises(TimeIsUp):
        Context(clock=Clock(1000.0, 0.0)).each(done.append, range(200))


def test_work_is_spread_over_threads_in_order() -> None:
    assert Context(threads=3).each(lambda n: n * n, range(50)) == [n * n for n in range(50)]


def test_backtests_of_a_short_history_use_the_last_two_horizons() -> None:
    panel = panel_of(weekly(items=2, days=30), config(horizon=5))
    backtest = Backtest.over(panel)
    assert backtest.steps == (10, 5)
    assert [past.longest for past in backtest.pasts] == [20, 25]
    assert backtest.training.longest == 20
    assert backtest.windows[0].truth[0].tolist() == panel.series[0].target[20:25].tolist()
    assert backtest.windows[1].truth[1].tolist() == panel.series[1].target[25:].tolist()


@pytest.mark.parametrize(
    ("frequency", "steps", "horizon", "begins"),
    [
        ("1H", 24 * 30, 24, (24 * 7, 24 * 3, 48, 24)),
        ("1H", 24 * 20, 24, (24 * 3, 48, 24)),
        ("1H", 24 * 30, 72, (216, 168, 72)),
        ("1D", 62, 10, (20, 10)),
        ("1D", 63, 10, (21, 10)),
        ("1D", 200, 30, (63, 30)),
        ("1D", 3 * 364, 14, (364, 42, 28, 14)),
        ("1D", 3 * 364 - 1, 14, (42, 28, 14)),
        ("1W", 200, 8, (52, 24, 16, 8)),
        ("1Y", 35, 4, (8, 4)),
        ("1Y", 36, 4, (12, 8, 4)),
    ],
)
def test_older_windows_begin_three_horizons_and_whole_cycles_before_the_forecast(
    frequency: str, steps: int, horizon: int, begins: tuple[int, ...]
) -> None:
    unit = {"1H": "h", "1D": "D", "1W": "7D", "1Y": "YS"}[frequency]
    moments = pd.date_range("1950-01-01", periods=steps, freq=unit).strftime("%Y-%m-%d %H:%M:%S")
    rows = pd.DataFrame({"item": "a", "ts": moments, "y": np.arange(steps)})
    backtest = Backtest.over(panel_of(rows, config(horizon=horizon, frequency=frequency)))
    assert backtest.steps == begins
    first = steps - backtest.steps[0]
    assert backtest.windows[0].truth[0].tolist() == list(range(first, first + horizon))
    assert backtest.training.longest == first


def test_a_long_series_among_short_ones_does_not_move_the_windows() -> None:
    short = weekly(items=3, days=60)
    long = weekly(items=1, days=1200).assign(item="long")
    shift = pd.to_datetime(short["ts"]).max() - pd.to_datetime(long["ts"]).max()
    long["ts"] = (pd.to_datetime(long["ts"]) + shift).dt.strftime("%Y-%m-%d")
    assert Backtest.over(panel_of(pd.concat([short, long]), config(horizon=7))).steps == (14, 7)


def test_the_shortest_history_there_can_be_has_a_backtest() -> None:
    rows = weekly(items=1, days=4)
    backtest = Backtest.over(panel_of(rows, config(horizon=1)))
    assert backtest.steps == (1,)
    assert backtest.pasts[0].longest == 3


def test_the_naive_forecast_repeats_the_last_season() -> None:
    panel = panel_of(weekly(items=1, days=21, noise=0), config(horizon=9))
    said = metrics.naive_forecast(panel)[0]
    assert said[:, 0].tolist() == [*panel.series[0].target[-7:], *panel.series[0].target[-7:-5]]
    assert said[0] == pytest.approx([said[0, 0]] * 4)
