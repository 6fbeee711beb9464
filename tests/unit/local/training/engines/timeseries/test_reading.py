"""The rows that a forecast was trained on, sent to the model: they make the very same series."""

from __future__ import annotations

import csv
import io
import logging
import random
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models.payloads import PayloadError
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.serving.transform.records import Processing
from airflow_automl.local.training.data import channels, csv_text
from airflow_automl.local.training.engines.timeseries import serving
from airflow_automl.local.training.engines.timeseries.algorithms.base import Context, Forecaster
from airflow_automl.local.training.engines.timeseries.backtest import Backtest
from airflow_automl.local.training.engines.timeseries.dataset import Dataset, load
from airflow_automl.local.training.engines.timeseries.panel import Panel
from airflow_automl.local.training.engines.timeseries.serving import ForecastModel, _of_frame, _table
from tests.local_s3 import BUCKET, Bucket, bucket, s3_endpoint
from tests.unit.local.training import reading
from tests.unit.local.training.engines.timeseries.conftest import config
from tests.unit.local.training.test_reading_property import FAST, MARKS, SHAPES, spark

__all__ = ["bucket", "s3_endpoint"]

CASES = Path(__file__).parents[5] / "data" / "reading"


def trained(
    bucket: Bucket | reading.Memory, folder: Path, body: bytes | str, key: str = "in/a.csv", **columns: Any
) -> Dataset:
    """Read a file as a job does."""
    bucket.put(key, body)
    names = {
        "TargetAttributeName": "y",
        "TimestampAttributeName": "ts",
        "ItemIdentifierAttributeName": "item",
    } | columns
    given = config(horizon=2, TimeSeriesConfig=names)
    kind = channels.PARQUET if key.endswith("parquet") else channels.CSV
    inputs = [reading.channel(f"s3://{BUCKET}/in/", ContentType=kind)]
    request = {
        "AutoMLJobInputDataConfig": inputs,
        "AutoMLProblemTypeConfig": {"TimeSeriesForecastingJobConfig": given},
    }
    return load(bucket.store, channels.resolve(bucket.store, inputs), request, folder / "download")


class Remembered(Forecaster):
    """A scripted algorithm: its forecast is a number that only the very same series has."""

    name = "remembered"

    @classmethod
    def fit(cls, panel: Panel, context: Context) -> Remembered:
        return cls()

    def forecast(self, panel: Panel, context: Context) -> np.ndarray:
        said = [
            zlib.crc32(repr((one.key, one.start, one.target.tolist(), one.features.tolist())).encode())
            for one in panel.series
        ]
        shape = (panel.horizon, 1 + len(panel.settings.quantiles))
        return np.array([np.full(shape, float(number)) for number in said])

    def save(self, folder: Path) -> None:
        """Nothing was trained."""

    @classmethod
    def load(cls, folder: Path, document: dict[str, Any]) -> Remembered:
        return cls()


@pytest.fixture(autouse=True)
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "forecaster", lambda name: Remembered)


def served(data: Dataset) -> ForecastModel:
    """The model that the artefact of a job holds."""
    model: ForecastModel = reading.loaded(
        {
            "engine": "timeseries",
            "weights": {"remembered": 1.0},
            "calibration": [],
            "settings": data.panel.settings.as_json(),
            "calendar": data.panel.calendar.as_json(),
            "related": data.related.as_json(),
            "columns": [codec.as_json() for codec in data.columns],
            "reader": data.reader.as_json(),
            "escaped": data.escaped,
        }
    )
    return model


def answered(model: ForecastModel, body: bytes | str, content_type: str = "text/csv") -> str:
    """The endpoint's answer."""
    body = body.encode() if isinstance(body, str) else body
    (found,) = model.respond([Payload(body, content_type, "text/csv")])
    if isinstance(found, PayloadError):
        raise found
    return found[0].decode()


def transformed(model: ForecastModel, body: bytes) -> str:
    """The answer of a batch transform to an object, which is one payload."""
    transform = Processing.of({"TransformInput": {}, "TransformOutput": {}})
    return answered(model, csv_text.body(body, None, model.escaped), transform.headers()["content-type"])


def same(one: Panel, two: Panel) -> None:
    assert [series.key for series in one.series] == [series.key for series in two.series]
    for first, second in zip(one.series, two.series, strict=True):
        assert first.start == second.start
        np.testing.assert_array_equal(first.target, second.target)
        np.testing.assert_array_equal(first.features, second.features)


def check(data: Dataset, text: str) -> None:
    """Send the file's rows in every way."""
    check_rows(data, *reading.rows_of(text), text)


def check_rows(data: Dataset, header: list[str], rows: list[list[str]], text: str | None = None) -> None:
    """Send rows in every way: all give the forecasts that the series of training give."""
    model = served(data)
    turned = [row[::-1] for row in [header, *rows]]
    quoted = reading.written([header, *rows], csv.QUOTE_ALL)
    same(data.panel, model.read(_table(quoted.encode(), "text/csv")))
    forecast = serving.tabulate(data.panel, model.of(data.panel)).to_csv(index=False, lineterminator="\n")
    for body in (quoted, reading.written(turned), *([] if text is None else [text])):
        assert answered(model, body) == forecast
        assert transformed(model, body.encode()) == forecast
    for frame in (pd.DataFrame(rows, columns=header), pd.DataFrame(turned[1:], columns=header[::-1])):
        assert model.forecast(frame.astype(object)).to_csv(index=False, lineterminator="\n") == forecast


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("06_tsblank_0", {"TimestampAttributeName": "date", "TargetAttributeName": "demand"}),
        ("06_tsidx_0", {"TimestampAttributeName": "date", "TargetAttributeName": "demand"}),
        ("29_tq_0", {"TimestampAttributeName": "t"}),
    ],
)
@pytest.mark.parametrize("quoted", [False, True])
def test_files_that_people_have_make_the_same_series(
    bucket: Bucket, tmp_path: Path, name: str, columns: dict[str, str], quoted: bool
) -> None:
    text = (CASES / f"{name}_a.csv").read_text()
    if quoted:
        header, rows = reading.rows_of(text)
        text = reading.written([header, *rows], csv.QUOTE_ALL)
    data = trained(bucket, tmp_path, text, **columns)
    if name == "29_tq_0":
        assert [column.kind for column in data.related.columns] == ["number"]
    check(data, text)


def history(form: str = "%Y-%m-%d", items: tuple[str, ...] = ("1", "2"), **columns: Any) -> str:
    days = pd.date_range("2024-01-01", periods=30)
    parts = [
        pd.DataFrame({"item": item, "ts": days.strftime(form), "y": np.arange(30) * (place + 1), **columns})
        for place, item in enumerate(items)
    ]
    return str(pd.concat(parts).to_csv(index=False))


@pytest.mark.parametrize(
    "form",
    ["%d/%m/%Y", "%m/%d/%y", "%d.%m.%Y %H:%M", "%d-%m-%Y", "%Y%m%d", "%Y-%m-%dT%H:%M:%SZ", "%d/%m/%y %I:%M %p", "%s"],
)
def test_dates_are_served_as_they_were_trained(bucket: Bucket, tmp_path: Path, form: str) -> None:
    text = history(form)
    data = trained(bucket, tmp_path, text)
    check(data, text)
    # Days that could be months as well are read as the training data says.
    head = "".join(text.splitlines(keepends=True)[:11])
    first = served(data).read(_table(head.encode(), False)).series[0]
    assert (first.start, first.target.tolist()) == (data.panel.series[0].start, list(range(10)))


@pytest.mark.parametrize("items", [("NA", "nan"), ("007", "08"), ("1.0", "2.50"), (" a ", "b,c"), ("true", "false")])
def test_items_may_have_any_name(bucket: Bucket, tmp_path: Path, items: tuple[str, ...]) -> None:
    text = history(items=items)
    data = trained(bucket, tmp_path, text)
    assert [series.key for series in data.panel.series] == [(item.strip(),) for item in items]
    check(data, text)


@pytest.mark.parametrize("mark", ["-", "?", "NA", " ", "None"])
def test_a_mark_of_a_missing_value_is_one_in_a_single_row_too(bucket: Bucket, tmp_path: Path, mark: str) -> None:
    header, rows = reading.rows_of(history(price=2.5))
    for row in rows[10:14]:
        row[2] = row[3] = mark
    text = reading.written([header, *rows])
    data = trained(bucket, tmp_path, text)
    check(data, text)
    few = reading.written([header, *rows[:6], ["1", "2024-01-07", mark, mark]])
    assert served(data).read(_table(few.encode(), False)).series[0].target.tolist() == list(range(6))


def test_parquet_is_served_as_it_was_trained(bucket: Bucket, tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO(history(price=1.5, promo=True, odd="x")))
    frame = frame.assign(ts=pd.to_datetime(frame["ts"]).astype("datetime64[ns]"), item=frame["item"].astype("int64"))
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    data = trained(bucket, tmp_path, buffer.getvalue(), "in/a.parquet")
    same(data.panel, served(data).read(_of_frame(frame)))
    same(data.panel, served(data).read(_of_frame(frame.astype({"item": "float64"}))))
    check(data, str(frame.to_csv(index=False)))


def test_a_parquet_column_that_cannot_be_used_is_left_out(bucket: Bucket, tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO(history(price=1.5)))
    buffer = io.BytesIO()
    frame.assign(odd=[[1, 2]] * len(frame)).to_parquet(buffer)
    data = trained(bucket, tmp_path, buffer.getvalue(), "in/a.parquet")
    assert [column.name for column in data.columns] == ["price"]
    assert "The column 'odd' is left out: the type " in data.failures[0]


def test_duplicate_rows_are_noted(bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = history().splitlines(keepends=True)
    with caplog.at_level(logging.WARNING):
        data = trained(bucket, tmp_path, "".join([*lines, *lines[1:6]]))
    assert "5 rows repeat the item, timestamp and target of another row" in caplog.text
    check(data, "".join([*lines, *lines[1:6]]))


def test_a_forecast_refuses_values_that_training_refuses(bucket: Bucket, tmp_path: Path) -> None:
    header, rows = reading.rows_of(history(price=1))
    data = trained(bucket, tmp_path, reading.written([header, *rows]))
    for place, value, reason in (
        (1, "soon", "'ts' has the value 'soon'"),
        (2, "inf", "'y' must be numeric; it has the value 'inf'"),
        (3, "dear", "takes a number, not 'dear'"),
    ):
        wrong = [list(row) for row in rows]
        wrong[3][place] = value
        body = reading.written([header, *wrong]).encode()
        (refused,) = served(data).respond([Payload(body, "text/csv", "text/csv")])
        assert isinstance(refused, PayloadError)
        assert re.search(reason, str(refused))
        if place != 3:
            with pytest.raises(JobFailure, match=reason):
                trained(bucket, tmp_path, reading.written([header, *wrong]))


def test_values_that_cannot_be_read_are_partial_failures_and_in_the_insights(bucket: Bucket, tmp_path: Path) -> None:
    header, rows = reading.rows_of(history(price=2.5))
    rows[3][3] = "1e999"
    data = trained(bucket, tmp_path, reading.written([header, *rows]))
    (note,) = data.failures
    assert note == (
        "1 of 60 values of the column 'price' can't be read as numbers and count as missing: '1e999' in 1 rows "
        "(first in row 4)."
    )
    assert data.facts["notes"] == [note]
    check(data, reading.written([header, *rows]))


def test_the_metric_of_the_leaderboard_is_that_of_the_endpoint(bucket: Bucket, tmp_path: Path) -> None:
    header, rows = reading.rows_of(history(form="%d/%m/%Y", items=("01", "NA"), price="1.50", sold=""))
    for number, row in enumerate(rows):
        row[3:] = [str(number % 7), str(number % 5)]
    data = trained(bucket, tmp_path, reading.written([header, *rows]))
    test = Backtest.over(data.panel)
    leaderboard = test.measure(test.run(Remembered, Context())[0])
    model, asked = served(data), []
    for steps in test.steps:
        known = [row for number, row in enumerate(rows) if number % 30 < 30 - steps]
        answer = pd.read_csv(io.StringIO(answered(model, reading.written([header, *known]))), dtype={"item": str})
        said = answer[["mean", *data.panel.settings.names]].to_numpy()
        asked.append(said.reshape(2, data.panel.horizon, -1))
    assert test.measure(asked) == leaderboard
    assert leaderboard["RMSE"] > 0


NAMES = ('it\n"em"', " t,s", "[y] <é>", "", "k\\", "holidays:US", "x" * 300, "ds")


@st.composite
def histories(draw: st.DrawFn) -> dict[str, Any]:
    """A file of series: odd names, items, dates and columns of all shapes, in any order."""
    source = random.Random(draw(st.integers(0, 2**32)))
    names = draw(st.permutations(NAMES))[:5]
    items = draw(st.sampled_from([("NA", "nan"), ("007", "08"), ("1.0", "2.50"), (" a ", "b,c"), ('q"', "7")]))
    form = draw(st.sampled_from(["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%y", "%d.%m.%Y %H:%M", "%Y%m%d", "%Y-%m-%dT%H:%M:%SZ"]))
    numbers = draw(st.sampled_from(["whole", "decimal", "scientific", "padded", "half written", "code"]))
    days = pd.date_range("2024-01-01", periods=draw(st.integers(20, 40))).strftime(form)
    shapes = [SHAPES[name] for name in (numbers, *draw(st.permutations(sorted(SHAPES)))[:2])]
    rows = [[item, day, *(shape(source) for shape in shapes)] for item in items for day in days]
    for row in source.sample(rows[2:], draw(st.sampled_from([0, 1, 8]))):
        row[source.choice([2, 3, 4])] = source.choice(MARKS[:-1])
    if draw(st.booleans()):
        source.shuffle(rows)
    order = draw(st.permutations(range(5)))
    write = draw(st.sampled_from([reading.written, lambda given: reading.written(given, csv.QUOTE_ALL), spark]))
    table = [[row[place] for place in order] for row in [names, *rows]]
    return {"header": table[0], "rows": table[1:], "text": write(table), "names": names}


def test_histories_are_the_same_in_every_way(tmp_path: Path) -> None:
    @settings(FAST, max_examples=40)
    @given(histories())
    def everything(table: dict[str, Any]) -> None:
        memory = reading.Memory()
        names = [name.strip() or f"Unnamed: {table['header'].index('')}" for name in table["names"][:3]]
        keys = ("ItemIdentifierAttributeName", "TimestampAttributeName", "TargetAttributeName")
        columns = dict(zip(keys, names, strict=True))
        data = trained(memory, tmp_path, table["text"], **columns)
        check_rows(data, table["header"], table["rows"], table["text"])

    everything()


def test_a_header_that_is_repeated_in_a_body_is_not_a_row(bucket: Bucket, tmp_path: Path) -> None:
    text = history()
    head = text.partition("\n")[0]
    data = trained(bucket, tmp_path, f"{text}{head}\n")
    assert answered(served(data), f"{text}{head}\n{head}\n") == answered(served(data), text)


@pytest.mark.parametrize(
    ("text", "columns", "reason"),
    [
        (history().replace("2024-01-30", "9999-12-31"), {}, "'ts' has the value '9999-12-31'; write timestamps as"),
        (history().replace("item", "p50", 1), {"ItemIdentifierAttributeName": "p50"}, "forecast has a column 'p50'"),
        (history().replace(",", ";"), {}, "The target 'y' is not in .* seem to be separated by ';'"),
    ],
)
def test_data_without_a_possible_forecast_are_refused(
    bucket: Bucket, tmp_path: Path, text: str, columns: dict[str, str], reason: str
) -> None:
    with pytest.raises(JobFailure, match=reason):
        trained(bucket, tmp_path, text, **columns)
