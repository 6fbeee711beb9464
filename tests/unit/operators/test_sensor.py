"""The sensor on a job that does not exist yet, or that is never created."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from botocore.exceptions import ClientError

from airflow_automl.compat import AirflowSkipException, TaskDeferred
from airflow_automl.exceptions import AutoMLJobFailed, AutoMLJobNotFound
from airflow_automl.operators import SageMakerAutoMLJobOperator
from airflow_automl.sensors import SageMakerAutoMLJobSensor
from airflow_automl.triggers.job import SageMakerAutoMLJobTrigger
from tests.fakes import fake
from tests.standin import ENDLESS, StandIn, connection, ends
from tests.unit.triggers.conftest import fire, until

WHERE = r"\(region us-east-1, connection 'aws_default'\)"


def make_sensor(**arguments: Any) -> SageMakerAutoMLJobSensor:
    return SageMakerAutoMLJobSensor(task_id="wait", job_name="later", poke_interval=0.1, timeout=60, **arguments)


def test_mapped_sensors_run_after_the_task_whose_job_they_wait_for() -> None:
    with DAG("mapped"):
        train = SageMakerAutoMLJobOperator(task_id="train", config={})
        wait = SageMakerAutoMLJobSensor.partial(task_id="wait", job=train.job).expand(region_name=["eu-west-1", None])
    assert wait.upstream_task_ids == {"train"}


def test_it_pokes_until_the_job_is_there(standin: StandIn, context: dict[str, Any]) -> None:
    sensor = make_sensor(wait_for_creation=timedelta(minutes=1))
    assert not sensor.poke(context)
    standin.add_job("later", age=9)
    assert sensor.poke(context).xcom_value["CandidateName"] == "later-best"


def test_it_says_where_it_looked(standin: StandIn, context: dict[str, Any]) -> None:
    for arguments in ({}, {"wait_for_creation": 0, "deferrable": True}):
        with pytest.raises(AutoMLJobNotFound, match=WHERE) as caught:
            make_sensor(**arguments).execute(context)
        assert isinstance(caught.value.__cause__, ClientError)


@pytest.mark.parametrize(("soft_fail", "error"), [(False, AutoMLJobFailed), (True, AirflowSkipException)])
def test_no_error_is_its_own_cause(
    standin: StandIn, context: dict[str, Any], soft_fail: bool, error: type[Exception]
) -> None:
    """Some loggers, as that of Airflow 3.0, follow causes to their end."""
    standin.add_job("later", ends("Failed", "Failed"), age=9)
    with pytest.raises(error) as caught:
        make_sensor(soft_fail=soft_fail).execute(context)
    assert isinstance(caught.value.__cause__, AutoMLJobFailed) is soft_fail


async def test_a_missing_job_is_not_reported_as_running(standin: StandIn) -> None:
    event = (await fire(SageMakerAutoMLJobTrigger("later", poll_interval=0.1, stop_on_kill=False))).payload
    assert event["status"] == "not_found"
    assert not event["runs_on"]
    assert "it does not exist" in event["message"]


def test_it_counts_from_its_first_poke_where_it_is_rescheduled(standin: StandIn, context: dict[str, Any]) -> None:
    def rescheduled(ago: float) -> None:
        since = datetime.now(UTC) - timedelta(seconds=ago)
        context["ti"] = fake(RuntimeTaskInstance, get_first_reschedule_date=lambda context: since)

    rescheduled(ago=20)
    assert not make_sensor(mode="reschedule", wait_for_creation=60).poke(context)
    rescheduled(ago=90)
    with pytest.raises(AutoMLJobNotFound, match=WHERE):
        make_sensor(mode="reschedule", wait_for_creation=60).poke(context)


def test_rotated_credentials_are_taken_up_by_a_poking_sensor(
    standin: StandIn, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.add_job("later", ENDLESS)
    sensor = make_sensor()
    assert not sensor.poke(context)
    standin.faults.valid_key = "rotated"
    # The service takes the old key for stale, which ends no wait; then the connection is read again.
    assert not sensor.poke(context)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(standin.url).replace('"test"', '"rotated"'))
    standin.jobs["later"].script = ends("Completed", "Completed", after=0.0)
    assert sensor.poke(context).xcom_value["CandidateName"] == "later-best"


def test_a_rescheduled_poke_takes_no_other_credentials_than_the_one_before(
    standin: StandIn, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Store(dict[str, Any]):
        set = dict.__setitem__

    standin.add_job("later", ENDLESS)
    context["task_state_store"] = Store()
    assert not make_sensor(mode="reschedule").poke(context)
    polled = standin.calls.total()
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("ENDPOINT_URL", standin.url)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
    assert not make_sensor(mode="reschedule").poke(context)
    assert standin.calls.total() == polled


def test_it_waits_in_the_triggerer(standin: StandIn, context: dict[str, Any]) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        make_sensor(deferrable=True, wait_for_creation=60).execute(context)
    assert deferred.value.trigger.serialize()[1]["wait_for_creation"] == 60


async def test_it_waits_in_the_triggerer_from_the_start(standin: StandIn, context: dict[str, Any]) -> None:
    sensor = make_sensor(start_from_trigger=True, wait_for_creation=timedelta(minutes=1))
    start = sensor.start_trigger_args
    # Airflow keeps them in the DAG as JSON.
    assert start.trigger_cls == "airflow_automl.triggers.job.SageMakerAutoMLJobTrigger"
    trigger = SageMakerAutoMLJobTrigger(**json.loads(json.dumps(start.trigger_kwargs)))
    waiting = asyncio.create_task(fire(trigger))
    await until(lambda: standin.calls["DescribeAutoMLJobV2"] > 2)
    standin.add_job("later", age=9)
    fired = (await waiting).payload
    assert fired["connection_exists"]
    ended = getattr(sensor, start.next_method)(context, fired)
    assert ended["CandidateName"] == "later-best"


def test_a_connection_that_cannot_be_read_at_the_first_poll_is_awaited_before_the_deferral(
    standin: StandIn, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook
    from airflow_automl.waiting import WorkerCalls

    answers = [RuntimeError("the secrets backend does not answer")] * 3
    found = SageMakerAutoMLHook.get_connection

    def get_connection(conn_id: str, *_: Any) -> Any:
        if answers:
            raise answers.pop()
        return found(conn_id)

    async def pause(self: Any, seconds: float) -> None:
        pass

    monkeypatch.setattr(SageMakerAutoMLHook, "get_connection", staticmethod(get_connection))
    monkeypatch.setattr(WorkerCalls, "pause", pause)
    standin.add_job("later", ENDLESS)
    with pytest.raises(TaskDeferred) as deferred:
        make_sensor(deferrable=True).execute(context)
    assert deferred.value.trigger.serialize()[1]["connection_exists"]
    assert not answers


def test_the_document_of_a_job_may_be_rendered_to_text(standin: StandIn, context: dict[str, Any]) -> None:
    standin.add_job("later", age=9)
    sensor = SageMakerAutoMLJobSensor(task_id="wait", job=str({"name": "later"}))
    assert sensor.poke(context).xcom_value["CandidateName"] == "later-best"
