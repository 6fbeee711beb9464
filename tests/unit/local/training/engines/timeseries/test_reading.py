"""The rows that a forecast was trained on, sent to the model: they make the very same series."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.models.payloads import PayloadError
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.training.data import channels
from airflow_automl.local.training.data.codec import Codec
from airflow_automl.local.training.engines.timeseries.dataset import Dataset, RowReader, load
from airflow_automl.local.training.engines.timeseries.frequency import Calendar
from airflow_automl.local.training.engines.timeseries.panel import Panel
from airflow_automl.local.training.engines.timeseries.related import Related
from airflow_automl.local.training.engines.timeseries.serving import ForecastModel, _of_frame, _table
from airflow_automl.local.training.engines.timeseries.settings import Settings
from tests.local_s3 import BUCKET, Bucket, bucket, s3_endpoint
from tests.unit.local.training import reading
from tests.unit.local.training.engines.timeseries.conftest import config

__all__ = ["bucket", "s3_endpoint"]

CASES = Path(__file__).parents[5] / "data" / "reading"


def trained(
    bucket: Bucket,
    folder: Path,
    body: bytes | str,
    key: str = "in/a.csv",
    types: dict[str, str] | None = None,
    **columns: str,
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


def served(data: Dataset) -> ForecastModel:
    """What serving knows: JSON in an artefact."""
    document = json.loads(
        json.dumps(
            {
                "settings": data.panel.settings.as_json(),
                "calendar": data.panel.calendar.as_json(),
                "related": data.related.as_json(),
                "columns": [codec.as_json() for codec in data.columns],
                "reader": data.reader.as_json(),
                "escaped": data.escaped,
            }
        )
    )
    return ForecastModel(
        Settings.read(document["settings"]),
        Calendar.from_json(document["calendar"]),
        Related.from_json(document["related"]),
        tuple(Codec.from_json(entry) for entry in document["columns"]),
        RowReader.from_json(document["reader"]),
        {},
        {},
        escaped=document["escaped"],
    )


def same(one: Panel, two: Panel) -> None:
    assert [series.key for series in one.series] == [series.key for series in two.series]
    for first, second in zip(one.series, two.series, strict=True):
        assert first.start == second.start
        np.testing.assert_array_equal(first.target, second.target)
        np.testing.assert_array_equal(first.features, second.features)


def check(data: Dataset, text: str) -> None:
    """Send the file's rows in every way."""
    model = served(data)
    header, rows = reading.rows_of(text)
    other = list(range(len(header)))[::-1]
    turned = [[row[place] for place in other] for row in [header, *rows]]
    same(data.panel, model.read(_table(text.encode(), "text/csv", model.escaped)))
    same(data.panel, model.read(_table(reading.written([header, *rows], csv.QUOTE_ALL).encode(), "text/csv")))
    same(data.panel, model.read(_table(reading.written(turned).encode(), "text/csv")))
    same(data.panel, model.read(_of_frame(pd.DataFrame(rows, columns=header, dtype=object))))


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
def test_whatever_names_an_item_is_an_item(bucket: Bucket, tmp_path: Path, items: tuple[str, ...]) -> None:
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


def test_copies_of_rows_are_said(bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = history().splitlines(keepends=True)
    with caplog.at_level(logging.WARNING):
        data = trained(bucket, tmp_path, "".join([*lines, *lines[1:6]]))
    assert "5 rows repeat the item, timestamp and target of another row" in caplog.text
    check(data, "".join([*lines, *lines[1:6]]))


def test_what_training_refuses_a_forecast_refuses(bucket: Bucket, tmp_path: Path) -> None:
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
