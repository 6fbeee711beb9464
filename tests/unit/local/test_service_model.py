"""Answers have only members of their shape; times are numbers."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_automl.local.service_model import mistyped, seconds, serialize


def test_an_answer_keeps_only_members_of_its_shape() -> None:
    answer = {
        "Models": [{"ModelName": "m", "ModelArn": "a", "CreationTime": 1.23456, "Secret": 1}],
        "NextToken": None,
        "More": 1,
    }
    assert serialize("ListModelsOutput", answer) == {
        "Models": [{"ModelName": "m", "ModelArn": "a", "CreationTime": 1.235}]
    }


@pytest.mark.parametrize(
    "value",
    [
        *(1e9, "2001-09-09T01:46:40+00:00", "2001-09-09T01:46:40", "2001-09-09T08:46:40+07:00"),
        datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC),
    ],
)
def test_times_are_epoch_seconds_of_utc(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert seconds(value) == 1e9
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("value", ["0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_first_and_the_last_times_are_known(value: str) -> None:
    assert abs(seconds(value)) > 6e10


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"ModelName": "m"}, False),
        ({"ModelName": None}, False),
        ({"ModelName": 7}, True),
        ({"ModelName": ["m"]}, True),
        ({"Containers": {}}, True),
        ({"Containers": [{"Environment": {"A": 1}}]}, True),
        ({"EnableNetworkIsolation": "true"}, True),
        ({"Unknown": 7}, False),
        ([], True),
    ],
)
def test_wrong_json_types_are_distinguished_from_wrong_values(value: Any, expected: bool) -> None:
    assert mistyped("CreateModelInput", value) is expected
