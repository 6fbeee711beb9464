"""A wait that fails stops its job, keeps the type of its error and names the job; and the arguments of waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_automl import exceptions
from airflow_automl.compat import AirflowException, TaskDeferred
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLConnectionError,
    AutoMLError,
    AutoMLJobTimeout,
    AutoMLTerminalError,
    AutoMLTransientError,
    AutoMLValidationError,
)
from airflow_automl.hooks import SageMakerAutoMLHook, errors
from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook
from airflow_automl.operators import (
    SageMakerAutoMLDeleteEndpointOperator,
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLEvaluateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLRollbackOperator,
    SageMakerAutoMLStopOperator,
    SageMakerAutoMLTransformOperator,
)
from airflow_automl.sensors import SageMakerAutoMLJobSensor
from airflow_automl.triggers import SageMakerAutoMLEventTrigger
from airflow_automl.triggers.job import SageMakerAutoMLJobTrigger
from airflow_automl.triggers.payload import failure_event, validate_event
from airflow_automl.waiting import AUTOML_JOB, Target, stop, wait_until_ended
from tests.standin import COMPLETED, ENDLESS, Refused, StandIn, connection, ends
from tests.unit.operators.test_resuming import V2_RENDERED, TaskRun

DESCRIBES = frozenset({"DescribeAutoMLJobV2", "DescribeAutoMLJob"})


@pytest.fixture
def task(standin: StandIn) -> TaskRun:
    standin.plan = lambda request: ENDLESS
    return TaskRun()


@pytest.fixture
def at_each_pause(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something whenever the worker sleeps."""

    def arrange(act: Callable[[], Any]) -> None:
        monkeypatch.setattr("airflow_automl.waiting.time.sleep", lambda seconds: act())

    return arrange


def only_job(standin: StandIn) -> Any:
    (job,) = standin.jobs.values()
    return job


@pytest.mark.parametrize("when", ["at once", "later"])
def test_in_a_worker_a_job_that_may_not_be_described_is_stopped_and_named(
    standin: StandIn, task: TaskRun, at_each_pause: Callable[..., None], when: str
) -> None:
    def deny() -> None:
        standin.faults.deny = DESCRIBES

    if when == "at once":
        deny()
    else:
        at_each_pause(deny)
    with pytest.raises(AutoMLAccessDenied, match=r"not authorized.*it was stopped") as caught:
        task.attempt()
    job = only_job(standin)
    assert job.stopped is not None
    assert f"AutoML job {job.name}" in str(caught.value)


def test_a_job_that_can_not_be_stopped_is_named(standin: StandIn, task: TaskRun) -> None:
    standin.faults.deny = DESCRIBES | {"StopAutoMLJob"}
    with pytest.raises(AutoMLAccessDenied, match="it continues, because it could not be stopped") as caught:
        task.attempt()
    assert only_job(standin).name in str(caught.value)


def test_a_job_that_ends_while_it_is_to_be_stopped_does_not_continue() -> None:
    class Calls:
        status = "InProgress"

        async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
            if operation == "stop_auto_ml_job":
                self.status = "Completed"
                raise AutoMLTerminalError("the job has ended")
            return {"Tags": []} if operation == "list_tags" else {"AutoMLJobArn": "arn", "AutoMLJobStatus": self.status}

        async def pause(self, seconds: float) -> None: ...

    result = asyncio.run(stop(Calls(), Target(AUTOML_JOB, "churn"), 1, seconds=1.0))
    assert (result.said, result.runs_on) == ("it had already ended", False)
    assert (result.answer or {})["AutoMLJobStatus"] == "Completed"


def test_the_error_for_a_job_that_can_not_be_stopped_has_the_address_of_the_console(
    standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch, at_each_pause: Callable[..., None]
) -> None:
    monkeypatch.setattr(SageMakerAutoMLHook, "is_aws", True)

    def deny() -> None:
        standin.faults.deny = DESCRIBES | {"StopAutoMLJob"}

    at_each_pause(deny)
    with pytest.raises(AutoMLAccessDenied, match=r"could not be stopped.*https://\S+console\.aws\.amazon\.com"):
        task.attempt()


@pytest.mark.parametrize("denied", [DESCRIBES, DESCRIBES | {"StopAutoMLJob"}])
def test_a_deferred_wait_that_ends_badly_stops_its_job(standin: StandIn, task: TaskRun, denied: frozenset[str]) -> None:
    operator = task.operator(deferrable=True)
    context = task.context()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    standin.faults.deny = denied
    event = _fire(deferred.value.trigger)
    assert event["error"] == "AutoMLAccessDenied"
    assert event["runs_on"] is ("StopAutoMLJob" in denied)
    # The worker may have rights, or a connection, that the triggerer lacks.
    standin.faults.deny = frozenset()
    with pytest.raises(AutoMLAccessDenied, match="stopped") as caught:
        operator.execute_complete(context, event)
    job = only_job(standin)
    assert job.stopped is not None
    assert job.name in str(caught.value)


def _fire(trigger: Any) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        async for event in type(trigger)(**json.loads(json.dumps(trigger.serialize()[1]))).run():
            payload: dict[str, Any] = json.loads(json.dumps(event.payload))
            return payload
        raise AssertionError("no event")

    return asyncio.run(first())


def test_a_setting_that_only_the_triggerer_uses_is_checked_before_there_is_a_job(
    standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AUTOML__MAX_CALLS_PER_SECOND", "fast")
    with pytest.raises(AutoMLValidationError, match="max_calls_per_second: expected a number"):
        task.operator(deferrable=True).execute(task.context())
    assert not standin.jobs


def test_a_wait_that_fails_unexpectedly_stops_its_job(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_automl.triggers._watcher.watcher import Watcher

    async def broken(*_: Any, **__: Any) -> None:
        raise KeyError("AutoMLJobStatus")

    standin.add_job("job", ENDLESS)
    monkeypatch.setattr(Watcher, "end_of", broken)
    event = validate_event(_fire(SageMakerAutoMLJobTrigger("job", poll_interval=0.02)))
    assert standin.jobs["job"].stopped is not None
    assert isinstance(event.failure, AutoMLError)
    assert "KeyError" in event.message


def test_a_job_whose_descriptions_cannot_be_read_is_stopped_or_named(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_automl.triggers._watcher import Client

    call, broken = Client.call, ["describe"]

    async def unreadable(self: Any, operation: str, **arguments: Any) -> Any:
        if operation.startswith(tuple(broken)):
            raise KeyError("no such shape")
        return await call(self, operation, **arguments)

    monkeypatch.setattr(Client, "call", unreadable)
    for name in ("first", "second"):
        standin.add_job(name, ENDLESS)
        event = validate_event(_fire(SageMakerAutoMLJobTrigger(name, poll_interval=0.02)))
        assert name in event.message
        assert event.runs_on is (standin.jobs[name].stopped is None) is (name == "second")
        broken.append("stop")


@pytest.mark.parametrize("name", [name for name in exceptions.__all__ if name.startswith("AutoML")])
def test_every_error_of_a_deferred_wait_keeps_its_type(name: str) -> None:
    cls = getattr(exceptions, name)
    error = cls("request", ["why"]) if cls is AutoMLValidationError else cls("why")
    event = validate_event(json.loads(json.dumps(failure_event("job", error, None, ()).payload())))
    assert type(event.failure) is cls
    assert "why" in str(event.failure)


def test_a_task_that_keeps_its_job_logs_that_it_still_runs(standin: StandIn, task: TaskRun) -> None:
    standin.faults.deny = DESCRIBES
    with pytest.raises(AutoMLAccessDenied, match="it continues, because stop_on_kill is False"):
        task.attempt(stop_on_kill=False)
    assert only_job(standin).stopped is None


def test_a_failure_of_airflow_after_the_submission_stops_the_job(
    standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> None:
        raise AirflowException("the API server is away")

    monkeypatch.setattr("airflow_automl.xcom.push_job", lost)
    with pytest.raises(AirflowException, match="the API server is away") as caught:
        task.attempt()
    assert only_job(standin).stopped is not None
    assert "it was stopped" in caught.value.__notes__[0]
    assert caught.value.__cause__ is None  # not itself: some loggers follow causes to their end


class TestConnections:
    def test_rotated_credentials_are_taken_up_by_a_worker(
        self, standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch, at_each_pause: Callable[..., None]
    ) -> None:
        def rotate() -> None:
            standin.faults.valid_key = "rotated"
            monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(standin.url).replace('"test"', '"rotated"'))
            for job in standin.jobs.values():
                job.script = COMPLETED

        at_each_pause(rotate)
        assert task.attempt()

    @pytest.mark.parametrize("later", [None, json.dumps({"conn_type": "aws"})], ids=["missing", "empty"])
    def test_a_connection_that_disappears_is_awaited_and_never_replaced(
        self,
        standin: StandIn,
        task: TaskRun,
        monkeypatch: pytest.MonkeyPatch,
        at_each_pause: Callable[..., None],
        later: str | None,
    ) -> None:
        """The stale client makes the worker read the connection again; boto3's own credentials would be taken else."""
        there = connection(standin.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ambient")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient")
        monkeypatch.setenv("AWS_ENDPOINT_URL", standin.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        pauses = iter(range(100))
        keys = set()
        answer = standin.answer

        def answered(operation: str, body: dict[str, Any], access_key: str = "") -> dict[str, Any]:
            keys.add(access_key)
            return answer(operation, body, access_key)

        monkeypatch.setattr(standin, "answer", answered)

        def go_away_and_return() -> None:
            pause = next(pauses)
            if pause == 0:
                standin.faults.expired_next = 1
            if pause == 1:
                monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
                if later:
                    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", later)
            if pause == 4:
                monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", there)
                for job in standin.jobs.values():
                    # At once: pauses that do not sleep are over before a script that takes time.
                    job.script = ends("Completed", "Completed", after=0)

        at_each_pause(go_away_and_return)
        assert task.attempt()
        assert next(pauses) > 4
        assert keys == {"test"}

    def test_one_that_stays_away_ends_the_wait_with_an_error_of_its_own(
        self, standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hook = SageMakerAutoMLHook(connection_exists=True)
        monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
        with pytest.raises(AutoMLTransientError, match="it existed when the task began"):
            hook.describe_job("job")
        monkeypatch.setattr(errors, "CONNECTION_GRACE", -1.0)
        with pytest.raises(AutoMLConnectionError, match="aws_default"):
            hook.describe_job("job")

    def test_a_job_is_not_created_with_other_credentials_after_the_wait_for_a_slot(
        self, standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        standin.faults.quota = 0
        with pytest.raises(TaskDeferred) as deferred:
            task.attempt(wait_for_slot=3600)
        limits = deferred.value.trigger.limits
        assert deferred.value.trigger.connection_exists
        standin.faults.quota = 1
        for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("ENDPOINT_URL", standin.url)):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
        event = {"status": "free", "limits": limits, "connection_exists": True}
        with pytest.raises(AutoMLTransientError, match="it existed when the task began"):
            task.operator(wait_for_slot=3600).execute_with_slot(task.context(), event)
        assert not standin.jobs

    @pytest.mark.parametrize("made", ["sensor", "stop", "deploy", "transform", "delete", "rollback"])
    def test_no_task_continues_with_other_credentials_after_a_deferral(
        self, standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch, made: str
    ) -> None:
        for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("ENDPOINT_URL", standin.url)):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
        operator: Any = {
            "sensor": lambda: SageMakerAutoMLJobSensor(task_id="wait", job_name="job"),
            "stop": lambda: SageMakerAutoMLStopOperator(task_id="stop", job_name="job"),
            "deploy": lambda: SageMakerAutoMLDeployOperator(task_id="deploy", job_name="job", endpoint_name="e"),
            "transform": lambda: SageMakerAutoMLTransformOperator(
                task_id="score", job_name="job", input_path="s3://in/", output_path="s3://out/"
            ),
            "delete": lambda: SageMakerAutoMLDeleteEndpointOperator(task_id="delete", endpoint_name="e"),
            "rollback": lambda: SageMakerAutoMLRollbackOperator(task_id="back", endpoint_name="e"),
        }[made]()
        ended = {"AutoMLJobName": "job", "AutoMLJobStatus": "Completed", "AutoMLJobArn": "arn:aws:sagemaker:x:1:a/job"}
        event = {"status": "completed", "job_name": "job", "job": ended}
        if made not in ("sensor", "stop"):
            state = {"submitted": True, "model": "m", "config": "c"}
            event = {"status": "final", "kind": operator.kind, "name": "e", "state": state}
        with suppress(AutoMLTransientError):
            operator.execute_complete(task.context(), {**event, "connection_exists": True})
        assert operator.hook.connection_exists
        assert not standin.calls

    def test_a_trigger_knows_that_the_connection_existed(self, standin: StandIn, task: TaskRun) -> None:
        with pytest.raises(TaskDeferred) as deferred:
            task.attempt(deferrable=True)
        assert deferred.value.trigger.serialize()[1]["connection_exists"] is True


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("SomethingNew", 400, AutoMLTerminalError),
        ("SomethingNew", 503, AutoMLTransientError),
        ("AccessDeniedException", 400, AutoMLAccessDenied),
        ("ValidationException", 400, AutoMLValidationError),
        ("ThrottlingException", 400, AutoMLTransientError),
        ("ConflictException", 400, AutoMLTransientError),
        ("ExpiredTokenException", 400, AutoMLTransientError),
        ("InvalidAccessKeyId", 403, AutoMLTransientError),
    ],
)
def test_one_table_sorts_the_errors_of_all_calls(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, code: str, status: int, kind: type[AutoMLError]
) -> None:
    def refuse(*_: Any) -> None:
        raise Refused(code, "no", status)

    monkeypatch.setattr(standin, "answer", refuse)
    once = {"retries": {"total_max_attempts": 1}}
    hook = SageMakerAutoMLDeploymentHook(config=once)
    for call in (
        lambda: hook.describe_job("job"),
        lambda: hook.list_candidates("job"),
        lambda: hook.ensure_model({"ModelName": "m", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/r"}),
    ):
        with pytest.raises(kind):
            call()


def test_a_region_that_does_not_exist_is_not_tried_again() -> None:
    with pytest.raises(AutoMLValidationError, match="us east 1"):
        SageMakerAutoMLHook(region_name="us east 1").describe_job("job")


@pytest.mark.parametrize(
    ("host", "is_aws"),
    [
        ("sagemaker.eusc-de-east-1.amazonaws.eu", True),
        ("api.sagemaker.cn-north-1.amazonaws.com.cn", True),
        ("localhost", False),
        ("amazonaws.com.example", False),
    ],
)
def test_the_endpoints_of_all_partitions_are_awss_own(monkeypatch: pytest.MonkeyPatch, host: str, is_aws: bool) -> None:
    extra = {"region_name": "eu-central-1", "endpoint_url": f"https://{host}"}
    named = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(named))
    assert SageMakerAutoMLHook().is_aws is is_aws


class TestArguments:
    @pytest.mark.parametrize("given", [90, 90.0, timedelta(seconds=90)])
    def test_times_are_timedeltas_or_seconds(self, given: Any) -> None:
        operator = SageMakerAutoMLJobOperator(
            task_id="t", config=V2_RENDERED, timeout=given, poll_interval=given, wait_for_slot=given
        )
        assert (operator.timeout, operator.interval, operator.wait_for_slot) == (90, 90, 90)
        assert SageMakerAutoMLStopOperator(task_id="s", job_name="j", timeout=given).timeout == 90
        sensor = SageMakerAutoMLJobSensor(
            task_id="w", job_name="j", timeout=given, poke_interval=given, wait_for_creation=given
        )
        assert (sensor.timeout, sensor.poke_interval, sensor.wait_for_creation) == (90, 90, 90)
        trigger = SageMakerAutoMLEventTrigger(poll_interval=given)
        assert json.loads(json.dumps(trigger.serialize()[1]))["poll_interval"] == 90
        evaluation = SageMakerAutoMLEvaluateOperator(task_id="e", data="s3://a/", endpoint_name="e", max_seconds=given)
        assert evaluation.max_seconds == 90

    @pytest.mark.parametrize("given", [-1, timedelta(seconds=-1), "90", True, float("nan"), float("inf")])
    @pytest.mark.parametrize("name", ["timeout", "poll_interval", "wait_for_slot"])
    def test_a_value_that_is_not_a_time_is_refused_at_parse_time(self, name: str, given: Any) -> None:
        with pytest.raises(AutoMLValidationError, match=f"is not valid for {name}"):
            SageMakerAutoMLJobOperator(task_id="t", config=V2_RENDERED, **{name: given})
        with pytest.raises(AutoMLValidationError, match="is not valid for wait_for_creation"):
            SageMakerAutoMLJobSensor(task_id="w", job_name="j", wait_for_creation=given)
        with pytest.raises(AutoMLValidationError, match="is not valid for poll_interval"):
            SageMakerAutoMLEventTrigger(poll_interval=given)

    def test_settings_that_are_not_json_are_refused_at_parse_time(self) -> None:
        with pytest.raises(AutoMLValidationError, match="is not valid for botocore_config"):
            SageMakerAutoMLJobOperator(task_id="t", config=V2_RENDERED, botocore_config={"a": object()})

    def test_the_old_name_is_still_taken(self) -> None:
        with pytest.warns(DeprecationWarning, match="max_wait is deprecated; use timeout"):
            operator = SageMakerAutoMLJobOperator(task_id="t", config=V2_RENDERED, max_wait=timedelta(hours=1))
        assert operator.timeout == 3600

    def test_a_default_argument_of_a_dag_may_be_seconds(self, standin: StandIn, task: TaskRun) -> None:
        from airflow.sdk import DAG

        with DAG("d", default_args={"timeout": 3600}, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
            operator = SageMakerAutoMLJobOperator(
                task_id="t", config=V2_RENDERED, deferrable=True, poll_interval=timedelta(seconds=5)
            )
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(task.context())
        trigger = deferred.value.trigger
        assert trigger.poll_interval == 5
        assert trigger.deadline - datetime.now(UTC).timestamp() == pytest.approx(3600, abs=60)


async def test_a_wait_lasts_until_its_deadline_and_looks_a_last_time_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an interval of 30 s, a wait of 25 s ends after 25 s, not at the first poll."""
    now = 1000.0
    looks: list[float] = []

    class Clock:
        async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
            looks.append(now)
            return {"EndpointStatus": "Creating"}

        async def pause(self, seconds: float) -> None:
            nonlocal now
            now += seconds

    monkeypatch.setattr("airflow_automl.waiting.time.time", lambda: now)
    for timeout, expected in ((25.0, [1000.0, 1025.0]), (65.0, [1000.0, 1030.0, 1060.0, 1065.0])):
        now, looks[:] = 1000.0, []
        with pytest.raises(TimeoutError):
            await wait_until_ended(
                Clock(),
                Target("endpoint", "e"),
                interval=30.0,
                deadline=now + timeout,
                log=None,  # type: ignore[arg-type]
                notice=lambda answer: None,
            )
        assert looks == expected


def test_a_timeout_stops_the_job_although_stopping_is_throttled(standin: StandIn, task: TaskRun) -> None:
    throttled = {"retries": {"total_max_attempts": 1}}
    operator = task.operator(timeout=0.1, botocore_config=throttled)
    original = SageMakerAutoMLHook.call
    refusals = iter(range(3))

    def call(self: Any, operation: str, **request: Any) -> Any:
        if operation == "stop_auto_ml_job" and next(refusals, None) is not None:
            standin.faults.throttle_next = 1
        return original(self, operation, **request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SageMakerAutoMLHook, "call", call)
        with pytest.raises(AutoMLJobTimeout, match="it was stopped"):
            operator.execute(task.context())
    assert only_job(standin).stopped is not None
