"""One schema for every end of a wait, read across releases."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_automl.exceptions import InvalidTriggerEvent
from airflow_automl.triggers.payload import EventStatus, JobEvent, end_event, validate_event

DESCRIBE = {"AutoMLJobName": "job", "AutoMLJobStatus": "Completed", "AutoMLJobSecondaryStatus": "Completed"}


@pytest.mark.parametrize("status", EventStatus)
def test_every_outcome_has_the_same_keys_and_survives_json(status: EventStatus) -> None:
    event = JobEvent(status, "job", "why", dict(DESCRIBE))
    payload = json.loads(json.dumps(event.payload()))
    assert payload.keys() == {"schema_version", "status", "job_name", "message", "job", "timeline", "error", "runs_on"}
    assert validate_event(payload) == event


def test_times_of_the_describe_answer_become_strings() -> None:
    event = end_event({**DESCRIBE, "EndTime": datetime(2026, 1, 2, tzinfo=UTC)})
    assert event.job is not None
    assert event.job["EndTime"] == "2026-01-02T00:00:00+00:00"
    json.dumps(event.payload())


def test_an_event_of_a_newer_release_with_more_keys_is_understood() -> None:
    payload = {**end_event(DESCRIBE).payload(), "schema_version": 7, "cost": {"hours": 2}}
    assert validate_event(payload).status is EventStatus.COMPLETED


def test_an_event_without_version_or_message_is_understood() -> None:
    assert validate_event({"status": "completed", "job": DESCRIBE}).job_name == "job"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (None, "received None"),
        ("completed", "received 'completed'"),
        ({}, "unknown status None"),
        ({"status": "success", "job_name": "job"}, "known: completed, failed, stopped"),
        ({"status": "completed", "job_name": "job"}, "no describe answer"),
        ({"status": "timeout", "job_name": "job", "job": "x"}, "expected a describe answer"),
        ({"status": "timeout"}, "names no job"),
    ],
)
def test_a_value_that_is_not_an_event_is_refused_by_name(event: Any, said: str) -> None:
    with pytest.raises(InvalidTriggerEvent, match=said):
        validate_event(event)
