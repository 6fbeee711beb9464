"""The documents read from tasks and asset events."""

from __future__ import annotations

from airflow.sdk.api.datamodels._generated import AssetEventResponse

from airflow_automl.xcom import documents_of
from tests.fakes import fake


def test_events_of_outlets_and_of_the_trigger_are_read_the_same_way() -> None:
    documents = {"best_candidate": {"CandidateName": "best"}, "job": {"name": "job"}}
    for extra in (documents, {"payload": {"schema_version": 1, **documents}, "from_trigger": True}):
        assert documents_of(fake(AssetEventResponse, extra=extra)) == documents
    for extra in (None, {}, {"payload": None}, {"payload": "of another program"}):
        assert documents_of(fake(AssetEventResponse, extra=extra)) == {"best_candidate": None, "job": None}
