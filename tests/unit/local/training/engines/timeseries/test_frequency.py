"""Steps of every ForecastFrequency."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.engines.timeseries.frequency import (
    Calendar,
    Frequency,
    decide_form,
    parse_timestamps,
)


def moments(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[s]")


def shown(stamps: np.ndarray) -> list[str]:
    return [str(stamp).replace("T00:00:00", "") for stamp in stamps]


@pytest.mark.parametrize(
    ("text", "seasons", "main"),
    [
        ("1min", (60, 1440, 10080), 1440),
        ("15min", (4, 96, 672), 96),
        ("7min", (1440,), 1440),
        ("1H", (24, 168), 24),
        ("6H", (4, 28), 4),
        ("5H", (), 1),
        ("D", (7,), 7),
        ("2D", (), 1),
        ("1W", (52,), 52),
        ("2W", (26,), 26),
        ("1M", (12,), 12),
        ("3M", (4,), 4),
        ("5M", (), 1),
        ("1Y", (), 1),
    ],
)
def test_a_frequency_knows_the_cycles_that_fit_into_its_steps(text: str, seasons: tuple[int, ...], main: int) -> None:
    frequency = Frequency.parse(text)
    assert frequency.seasons == seasons
    assert frequency.main_season == main


@pytest.mark.parametrize("text", ["", "0D", "1d", "1S", "D1", "-1D"])
def test_anything_else_is_not_a_frequency(text: str) -> None:
    with pytest.raises(JobFailure, match="number and Y, M, W, D, H or min"):
        Frequency.parse(text)


def test_a_season_counts_only_once_it_was_seen_twice() -> None:
    frequency = Frequency.parse("1H")
    assert [frequency.season(n) for n in (47, 48, 335, 336)] == [1, 24, 24, 168]
    assert frequency.season(1000, longest=100) == 24


@pytest.mark.parametrize(
    ("text", "given", "steps", "next_three"),
    [
        ("15min", ("2024-01-01T00:07:00", "2024-01-01T00:44:59"), [0, 2], ["2024-01-01T00:45:00"]),
        ("1H", ("2024-01-01T05:00:00", "2024-01-02T05:59:59"), [5, 29], ["2024-01-02T06:00:00"]),
        ("1D", ("2024-02-28T13:00:00", "2024-03-01T01:00:00"), [0, 2], ["2024-03-02"]),
        ("2D", ("2024-02-28T00:00:00", "2024-03-01T00:00:00"), [0, 1], ["2024-03-03"]),
        ("1M", ("2023-12-31T00:00:00", "2024-02-29T00:00:00"), [0, 2], ["2024-03-01"]),
        ("3M", ("2023-11-30T00:00:00", "2024-02-29T00:00:00"), [0, 1], ["2024-05-01"]),
        ("1Y", ("1899-07-01T00:00:00", "2024-01-01T00:00:00"), [0, 125], ["2025-01-01"]),
        # All on Sundays: weeks start on Sundays.
        ("1W", ("2024-01-07T00:00:00", "2024-01-21T00:00:00"), [0, 2], ["2024-01-28"]),
        # On different days: weeks start on Mondays.
        ("1W", ("2024-01-07T00:00:00", "2024-01-09T00:00:00"), [0, 1], ["2024-01-15"]),
        ("2W", ("2024-01-03T00:00:00", "2024-01-17T00:00:00"), [0, 1], ["2024-01-31"]),
    ],
)
def test_moments_fall_into_steps_and_steps_have_a_start(
    text: str, given: tuple[str, ...], steps: list[int], next_three: list[str]
) -> None:
    found = moments(*given)
    calendar = Calendar.over(Frequency.parse(text), found)
    assert calendar.steps(found).tolist() == steps
    assert shown(calendar.stamps([steps[-1] + 1])) == next_three
    again = Calendar.from_json(calendar.as_json())
    assert again == calendar
    assert calendar.steps(calendar.stamps(np.arange(-5, 5))).tolist() == list(range(-5, 5))


def read(values: list[object] | pa.Array, frequency: str = "1H") -> list[str]:
    column = pa.chunked_array([values])
    return [
        str(moment)
        for moment in parse_timestamps(column, "when", Frequency.parse(frequency), decide_form(column, "when"))
    ]


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (["2024-01-31", None], "2024-01-31T00:00:00"),
        (["2024-01-31 13:05:06"], "2024-01-31T13:05:06"),
        (["2024-01-31T13:05", "2024-02-01T00:00:00.5"], "2024-01-31T13:05:00"),
        (["2024"], "2024-01-01T00:00:00"),
        (["2024-03"], "2024-03-01T00:00:00"),
        (["20240131"], "2024-01-31T00:00:00"),
        (["1706659200"], "2024-01-31T00:00:00"),
        ([1706659200000], "2024-01-31T00:00:00"),
        ([999993600, 1000000000], "2001-09-09T00:00:00"),
        (["999993600000", "1000000000000"], "2001-09-09T00:00:00"),
        (["2024013113", "2024013114"], "2024-01-31T13:00:00"),
        (["20240131T13"], "2024-01-31T13:00:00"),
        (["202401311305"], "2024-01-31T13:05:00"),
        (["01/31/2024", "02/01/2024"], "2024-01-31T00:00:00"),
        (["31/01/2024 10:00", "01/02/2024 11:00"], "2024-01-31T10:00:00"),
        (["31.01.2024"], "2024-01-31T00:00:00"),
        (["2024/01/31 23:59"], "2024-01-31T23:59:00"),
        (["31-Jan-2024", "01-Feb-2024"], "2024-01-31T00:00:00"),
        (["Jan 31, 2024 1:05 PM +0100", "1 February 2024"], "2024-01-31T12:05:00"),
        (["January 2024", "February 2024"], "2024-01-01T00:00:00"),
    ],
)
def test_timestamps_are_read_as_people_write_them(values: list[object], first: str) -> None:
    found = read(values)
    assert found[0] == first
    assert (found[-1] == "NaT") == (values[-1] is None)


def test_instants_in_different_zones_are_brought_to_one_clock() -> None:
    # The hour that occurs twice when clocks change in Berlin.
    assert read(["2024-10-27T02:30:00+02:00", "2024-10-27T02:30:00+01:00", "2024-10-27 01:30:00Z"]) == [
        "2024-10-27T00:30:00",
        "2024-10-27T01:30:00",
        "2024-10-27T01:30:00",
    ]


def test_the_day_that_was_written_down_counts_where_a_step_is_a_day() -> None:
    assert read(["2024-06-01T00:00:00+02:00", "1 Dec 2024 00:00:00 +0100"], "1D") == [
        "2024-06-01T00:00:00",
        "2024-12-01T00:00:00",
    ]


def test_typed_columns_are_read_too() -> None:
    instants = pa.array([1717192800], pa.timestamp("s", "Europe/Berlin"))
    assert read(instants, "1D") == ["2024-06-01T00:00:00"]
    assert read(instants, "1H") == ["2024-05-31T22:00:00"]
    days = pa.array([19875], pa.date32())
    assert read(days, "1D") == ["2024-06-01T00:00:00"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2024-01-31", "yesterday"], "has the value 'yesterday'; write timestamps as 2024-01-31"),
        (["2024-02-30"], "'2024-02-30'"),
        (["202401010100", "202401010200", "202401012400"], "'202401012400'"),
        (["2024010101", "2024010102", "2024010124"], "'2024010124'"),
        (["01/02/2024", "03/04/2024"], "day and month can't be distinguished"),
        ([1.5], "has the type double"),
    ],
)
def test_a_value_that_is_not_a_timestamp_is_named(values: list[object], message: str) -> None:
    with pytest.raises(JobFailure, match=message):
        read(values)


@pytest.mark.parametrize("text", ["1700000000000000", "9" * 30, "9" * 5000])
def test_a_number_that_no_clock_reaches_is_named(text: str) -> None:
    with pytest.raises(JobFailure, match=f"has the value '{text[:60]}'"):
        parse_timestamps(pa.chunked_array([[text]]), "ts", Frequency.parse("1D"), "seconds")
