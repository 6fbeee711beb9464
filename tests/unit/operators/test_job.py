"""The job operator, the sensor and the stop operator in a real Airflow, against a stand-in at the wire.

One DAG run holds many independent tasks: each is one way in which a task learns of a job's end. What each end of a job
means for a task is tested with the integration tests (`test_ends.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Asset

from airflow_automl.operators import (
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLJobV1Operator,
    SageMakerAutoMLJobV2Operator,
    SageMakerAutoMLStopOperator,
)
from airflow_automl.sensors import SageMakerAutoMLJobSensor
from tests.standin import COMPLETED, ENDLESS, StandIn, connection, ends, running, serve

ROLE = "arn:aws:iam::123456789012:role/automl"
DATA = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"}}
V1: dict[str, Any] = {
    "InputDataConfig": [{"DataSource": DATA, "TargetAttributeName": "y"}],
    "OutputDataConfig": {"S3OutputPath": "s3://out/"},
    "AutoMLJobConfig": {"CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": "3600"}},
    "RoleArn": ROLE,
}
V2: dict[str, Any] = {
    "AutoMLJobInputDataConfig": [
        {"ChannelType": "training", "ContentType": "text/csv;header=present", "DataSource": DATA}
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://out/"},
    "AutoMLProblemTypeConfig": {
        "TabularJobConfig": {
            "TargetAttributeName": "{{ 'y' }}",
            "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": "{{ 3600 }}"},
        }
    },
    "RoleArn": ROLE,
}


class Ran:
    """A DAG run that has ended, and what each of its tasks returned."""

    def __init__(self, run: Any, stand_in: StandIn) -> None:
        from airflow.models.xcom import XComModel
        from airflow.settings import Session

        self.states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
        self.stand_in = stand_in
        self.calls = dict(stand_in.calls)
        with Session() as session:
            rows = session.query(XComModel).filter(XComModel.run_id == run.run_id, XComModel.dag_id == run.dag_id)
            self.xcoms = {(row.task_id, row.key): XComModel.deserialize_value(row) for row in rows}


@pytest.fixture(scope="module")
def run_tasks(airflow_home: Path, run_dag: Callable[..., Any]) -> Iterator[Callable[..., Ran]]:
    with pytest.MonkeyPatch.context() as patch, serve() as stand_in:
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(stand_in.url))

        def run(dag: DAG) -> Ran:
            return Ran(run_dag(dag), stand_in)

        run.stand_in = stand_in  # type: ignore[attr-defined]
        yield run


def new_dag(dag_id: str, folder: str | None = None) -> DAG:
    return DAG(
        dag_id,
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        template_searchpath=[folder] if folder else None,
    )


def plan_by_task(scripts: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    def plan(request: dict[str, Any]) -> Any:
        tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", ())}
        return scripts[tags["airflow:task_id"]]

    return plan


@pytest.fixture(scope="module")
def ran_tasks(run_tasks: Callable[..., Ran], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One run of a DAG that shows what else these tasks can do."""
    stand_in: StandIn = run_tasks.stand_in  # type: ignore[attr-defined]
    stand_in.reset()
    scripts = dict.fromkeys(("from_json", "from_yaml", "v2_said_outright", "defaults", "not_waited"), running(0.4))
    stand_in.plan = plan_by_task({**scripts, "timed_out": ENDLESS})
    for name, script, api in (
        ("done", COMPLETED, "V2"),
        ("done-v1", COMPLETED, "V1"),
        ("soon", running(6), "V2"),
        ("soon-v1", running(6), "V1"),
        ("bad", ends("Failed", "Failed"), "V2"),
        ("endless", ENDLESS, "V2"),
        ("doomed", ENDLESS, "V2"),
        ("doomed-too", ENDLESS, "V1"),
    ):
        stand_in.add_job(name, script, api=api, age=1)
    folder = tmp_path_factory.mktemp("configs")
    (folder / "request.json").write_text(json.dumps(V2))
    (folder / "request.yaml").write_text(json.dumps(V1))
    lean = {key: value for key, value in V2.items() if key not in {"RoleArn", "OutputDataConfig"}}
    extra = {
        "role_arn": ROLE,
        "output_path": "s3://default/",
        "volume_kms_key_id": "key",
        "security_group_ids": ["sg-1"],
        "subnets": ["subnet-1"],
        "tags": {"team": "ml"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_DEFAULTS", connection(stand_in.url, automl=extra))
        patch.setenv("AIRFLOW__AUTOML__MAX_RUNTIME", "600")
        with new_dag("tasks", str(folder)) as dag:
            job, sensor, stop = SageMakerAutoMLJobOperator, SageMakerAutoMLJobSensor, SageMakerAutoMLStopOperator
            quick = {"poll_interval": 0.1}
            job(task_id="from_json", config="request.json", **quick)
            SageMakerAutoMLJobV1Operator(task_id="from_yaml", config="request.yaml", **quick)
            SageMakerAutoMLJobV2Operator(task_id="v2_said_outright", config=V2, **quick)
            SageMakerAutoMLJobV1Operator(task_id="v1_said_wrongly", config=V2, **quick)
            job(task_id="defaults", config=lean, aws_conn_id="defaults", **quick)
            trained = job(task_id="not_waited", config=V2, wait_for_completion=False, deferrable=True)
            job(task_id="timed_out", config=V2, timeout=timedelta(seconds=0.1), deferrable=True, **quick)
            watch = {"poke_interval": 0.2, "timeout": 600}
            found = sensor(task_id="finds_ended", job_name="done", outlets=[Asset("found")], **watch)
            sensor(task_id="finds_ended_deferrable", job_name="done-v1", deferrable=True, **watch)
            sensor(task_id="pokes", job_name="{{ 'soon' }}", **watch)
            sensor(task_id="defers", job_name="soon-v1", deferrable=True, **watch)
            sensor(task_id="waits_for_task", job=trained.job, **watch)
            sensor(task_id="sees_failure", job_name="bad", **watch)
            sensor(task_id="skips_failure", job_name="bad", soft_fail=True, **watch)
            sensor(task_id="skips_failure_deferred", job_name="bad", soft_fail=True, deferrable=True, **watch)
            sensor(task_id="times_out", job_name="endless", poke_interval=0.05, timeout=0.1)
            sensor(task_id="times_out_deferred", job_name="endless", poke_interval=0.05, timeout=0.1, deferrable=True)
            sensor(task_id="skips_timeout", job_name="endless", poke_interval=0.05, timeout=0.1, soft_fail=True)
            sensor(
                task_id="skips_timeout_deferred",
                job_name="endless",
                poke_interval=0.05,
                timeout=0.1,
                soft_fail=True,
                deferrable=True,
            )
            sensor(task_id="finds_none", job_name="nobody", **watch)
            stop(task_id="stops", job_name="doomed", **quick)
            stop(task_id="stops_deferred", job_name="doomed-too", deferrable=True, **quick)
            stop(task_id="stops_ended", job_name="done")
            stop(task_id="stops_nothing", job=None, job_name="{{ '' }}")
            stop(task_id="stops_by_document", job=found.job)
        return run_tasks(dag)


@pytest.mark.parametrize(
    ("name", "state"),
    {
        "from_json": "success",
        "from_yaml": "success",
        "v2_said_outright": "success",
        "v1_said_wrongly": "failed",
        "defaults": "success",
        "not_waited": "success",
        "timed_out": "failed",
        "finds_ended": "success",
        "finds_ended_deferrable": "success",
        "pokes": "success",
        "defers": "success",
        "waits_for_task": "success",
        "sees_failure": "failed",
        "skips_failure": "skipped",
        "skips_failure_deferred": "skipped",
        "times_out": "failed",
        "times_out_deferred": "failed",
        "skips_timeout": "skipped",
        "skips_timeout_deferred": "skipped",
        "finds_none": "failed",
        "stops": "success",
        "stops_deferred": "success",
        "stops_ended": "success",
        "stops_nothing": "success",
        "stops_by_document": "success",
    }.items(),
)
def test_state_of_a_task(ran_tasks: Ran, name: str, state: str) -> None:
    assert ran_tasks.states[name] == state


def test_a_sensor_hands_on_the_best_candidate(ran_tasks: Ran) -> None:
    for task in ("finds_ended", "finds_ended_deferrable", "pokes", "defers", "waits_for_task"):
        assert ran_tasks.xcoms[task, "return_value"]["CandidateName"] == ran_tasks.xcoms[task, "job"]["name"] + "-best"


def test_a_sensor_never_stops_a_job(ran_tasks: Ran) -> None:
    assert ran_tasks.stand_in.jobs["endless"].stopped is None


def test_stopped_jobs_have_stopped_and_ended_ones_are_left_alone(ran_tasks: Ran) -> None:
    for task in ("stops", "stops_deferred"):
        assert ran_tasks.xcoms[task, "job"]["status"] == "Stopped"
    assert ran_tasks.stand_in.jobs["done"].stopped is None


def test_fields_that_a_dag_omits_come_from_the_connection(ran_tasks: Ran) -> None:
    name = ran_tasks.xcoms["defaults", "job"]["name"]
    request = ran_tasks.stand_in.jobs[name].request
    assert request["RoleArn"] == ROLE
    assert request["OutputDataConfig"] == {"S3OutputPath": "s3://default/"}
    assert request["SecurityConfig"] == {
        "VolumeKmsKeyId": "key",
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
    }
    assert {"Key": "team", "Value": "ml"} in request["Tags"]
    criteria = request["AutoMLProblemTypeConfig"]["TabularJobConfig"]["CompletionCriteria"]
    assert criteria == {"MaxAutoMLJobRuntimeInSeconds": 600}


def test_an_event_of_an_asset_carries_the_candidate_and_the_job(ran_tasks: Ran) -> None:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.settings import Session

    with Session() as session:
        event = session.query(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        extra = event.filter(AssetModel.name == "found").one().extra
    assert extra["best_candidate"]["CandidateName"] == "done-best"
    assert extra["job"] == ran_tasks.xcoms["finds_ended", "job"]


def test_a_job_that_outlasts_its_wait_is_stopped(ran_tasks: Ran) -> None:
    job = ran_tasks.xcoms["timed_out", "job"]
    assert ran_tasks.stand_in.jobs[job["name"]].stopped is not None


def test_a_sensor_can_start_in_the_triggerer(airflow_home: Path) -> None:
    with new_dag("from_trigger"):
        sensor = SageMakerAutoMLJobSensor(
            task_id="wait", job_name="{{ params.job }}", start_from_trigger=True, timeout=60, region_name="eu-west-1"
        )
    assert sensor.start_from_trigger
    arguments = sensor.start_trigger_args
    assert arguments.next_method == "execute_complete"
    assert arguments.timeout == timedelta(seconds=60)
    assert arguments.trigger_kwargs["job_name"] == "{{ params.job }}"
    assert arguments.trigger_kwargs["region_name"] == "eu-west-1"
    assert arguments.trigger_kwargs["stop_on_kill"] is False
