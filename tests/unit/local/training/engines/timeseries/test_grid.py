"""Irregular, doubled and missing rows on the grid: every Aggregation and Filling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.codec import Codec, Kind
from tests.unit.local.training.engines.timeseries.conftest import config, panel_of

GAPPY = pd.DataFrame(
    {
        "item": ["a"] * 5 + ["b"] * 4,
        # Unsorted; two on one day; a has no 3rd and 4th and ends on the 6th, b begins on the 2nd and ends on the 8th.
        "ts": [
            *("2024-01-05", "2024-01-01 20:00", "2024-01-01 08:00", "2024-01-02", "2024-01-06"),
            *("2024-01-02", "2024-01-03", "2024-01-04", "2024-01-08"),
        ],
        "y": [5.0, 3.0, 1.0, 2.0, 6.0, 10.0, 20.0, 30.0, 40.0],
    }
)


def filling(column: str = "y", **fills: str) -> dict[str, object]:
    return {"Transformations": {"Filling": {column: fills}}}


@pytest.mark.parametrize(
    ("how", "first"), [("sum", 4.0), ("avg", 2.0), ("first", 1.0), ("min", 1.0), ("max", 3.0), (None, 4.0)]
)
def test_values_of_one_step_are_aggregated(how: str | None, first: float) -> None:
    more = {"Transformations": {"Aggregation": {"y": how}}} if how else {}
    panel = panel_of(GAPPY, config(**more))
    assert panel.series[0].target[0] == first


def test_series_begin_with_their_first_value_and_end_with_the_last_one_of_all() -> None:
    a, b = panel_of(GAPPY, config()).series
    assert (a.key, b.key) == (("a",), ("b",))
    assert (a.start, len(a), b.start, len(b)) == (0, 8, 1, 7)
    assert a.target.tolist() == [4, 2, 0, 0, 5, 6, 0, 0]
    assert a.filled.tolist() == [False, False, True, True, False, False, True, True]
    assert a.end == b.end


@pytest.mark.parametrize(
    ("how", "value"), [("zero", 0.0), ("mean", 4.25), ("median", 4.5), ("min", 2.0), ("max", 6.0), ("value", -1.5)]
)
@pytest.mark.parametrize("method", ["middlefill", "backfill"])
def test_gaps_of_the_target_are_filled(method: str, how: str, value: float) -> None:
    fills = {method: how} | ({f"{method}_value": "-1.5"} if how == "value" else {})
    a = panel_of(GAPPY, config(**filling(frontfill="none", **fills))).series[0]
    middle, back = ([value] * 2, [0.0] * 2) if method == "middlefill" else ([0.0] * 2, [value] * 2)
    assert a.target.tolist() == [4, 2, *middle, 5, 6, *back]


def test_a_wrong_timestamp_takes_no_memory() -> None:
    rows = pd.DataFrame({"item": ["a", "a"], "ts": ["1970-01-01 00:00", "2026-01-01 00:00"], "y": [1.0, 2.0]})
    with pytest.raises(JobFailure, match=r"'a' begins 29,453,761 steps of 1min before the last value"):
        panel_of(rows, config(ForecastFrequency="1min"))


def test_a_series_without_any_value_is_not_there() -> None:
    rows = pd.concat([GAPPY, pd.DataFrame({"item": ["c"], "ts": ["2024-01-03"], "y": [np.nan]})])
    assert [series.key for series in panel_of(rows, config()).series] == [("a",), ("b",)]


def test_grouping_columns_make_a_composite_key() -> None:
    rows = GAPPY.assign(shop=["x", "y", "x", "x", "x", "x", "x", "x", "x"])
    panel = panel_of(rows, config(TimeSeriesConfig={"GroupingAttributeNames": ["shop"]}))
    assert [series.key for series in panel.series] == [("a", "x"), ("a", "y"), ("b", "x")]
    assert panel.series[1].target.tolist() == [3, 0, 0, 0, 0, 0, 0, 0]


PRICE = Codec("price", Kind.NUMBER)


def related(prices: list[float | None], **fills: str) -> list[float]:
    """The price of an item with targets on four days and rows for the three after them."""
    days = [f"2024-01-0{day}" for day in range(1, 8)]
    rows = pd.DataFrame({"item": "a", "ts": days, "y": [1.0, 2, 3, 4, None, None, None], "price": prices})
    panel = panel_of(rows, config(**filling("price", **fills) if fills else {}), [PRICE])
    series = panel.series[0]
    values = pd.Series(prices, dtype=float)
    return (series.features[:, 0] * values.std() + values.mean()).round(6).tolist()


def test_columns_known_in_the_future_are_used_there() -> None:
    assert related([1, 2, 3, 4, 5, 6, 7]) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("fills", "expected"),
    [
        ({}, [2, 2, 2, 6, 6, 8, 8]),
        ({"middlefill": "zero"}, [2, 2, 0, 6, 6, 8, 8]),
        ({"middlefill": "max"}, [2, 2, 8, 6, 6, 8, 8]),
        ({"futurefill": "value", "futurefill_value": "9"}, [2, 2, 2, 6, 9, 8, 9]),
        ({"futurefill": "min"}, [2, 2, 2, 6, 2, 8, 2]),
    ],
)
def test_gaps_of_other_columns_are_filled_or_carried(fills: dict[str, str], expected: list[float]) -> None:
    assert related([2, 2, None, 6, None, 8, None], **fills) == expected


@pytest.mark.parametrize("fills", [{}, {"futurefill": "median"}])
def test_a_column_without_future_values_is_carried_forward_in_backtests(fills: dict[str, str]) -> None:
    days = pd.date_range("2024-01-01", periods=12).strftime("%Y-%m-%d")
    rows = pd.DataFrame({"item": "a", "ts": days, "y": range(12), "visitors": np.arange(12.0)})
    panel = panel_of(rows, config(Transformations={"Filling": {"visitors": fills}}), [Codec("visitors", Kind.NUMBER)])
    assert panel.known == (False,)
    past = panel.before(3, shortest=4).series[0]
    full = panel.series[0].features[:, 0]
    assert past.features[:9, 0].tolist() == full[:9].tolist()
    assert past.features[9:, 0].tolist() == [full[8]] * 3


def test_categories_become_one_feature_each() -> None:
    days = pd.date_range("2024-01-01", periods=6).strftime("%Y-%m-%d")
    rows = pd.DataFrame({"item": "a", "ts": days, "y": [1.0, 2, 3, None, None, None], "promo": list("nynyny")})
    panel = panel_of(rows, config(), [Codec("promo", Kind.TEXT)])
    assert panel.features == ("promo=n", "promo=y")
    assert panel.known == (True, True)
    assert panel.series[0].features.tolist() == [[1, 0], [0, 1]] * 3


@pytest.mark.parametrize(
    ("frequency", "start", "periods", "expected"),
    [
        ("1D", "2024-12-23", 4, [0, 0, 1, 0, 0, 0, 0]),
        ("12H", "2024-12-25", 4, [1, 1, 0, 0, 0, 0, 0]),
        ("1M", "2024-01-01", 12, [2 / 31, 1 / 29, 0, 0, 1 / 31, 1 / 30, 1 / 31]),
    ],
)
def test_holidays_are_shares_of_a_step(frequency: str, start: str, periods: int, expected: list[float]) -> None:
    alias = {"1M": "MS", "12H": "12h"}.get(frequency, "D")
    stamps = pd.date_range(start, periods=periods, freq=alias).strftime("%Y-%m-%d %H:%M:%S")
    rows = pd.DataFrame({"item": "a", "ts": stamps, "y": 1.0})
    panel = panel_of(rows, config(frequency=frequency, HolidayConfig=[{"CountryCode": "US"}]))
    assert panel.features == ("holidays:US",)
    assert panel.series[0].features[:7, 0].tolist() == pytest.approx(expected)
