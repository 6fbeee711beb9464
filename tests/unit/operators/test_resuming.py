"""One run of a task submits one job, wherever it is killed. Each test is a sequence of tries against the stand-in."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRun
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_automl.compat import AirflowException, TaskDeferred
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLJobFailed,
    AutoMLJobStopped,
    AutoMLJobTimeout,
    AutoMLNameTaken,
    AutoMLQuotaExceeded,
    AutoMLTerminalError,
    AutoMLValidationError,
)
from airflow_automl.hooks import SageMakerAutoMLHook
from airflow_automl.naming import OWNER_TAG, TRY_TAG
from airflow_automl.operators import SageMakerAutoMLJobOperator
from tests.fakes import fake
from tests.standin import COMPLETED, ENDLESS, Refused, StandIn, ends
from tests.unit.operators.test_job import V2


class Killed(BaseException):
    """The worker process dies: nothing after this runs."""


class TaskRun:
    """What Airflow keeps of one task between its tries."""

    def __init__(self) -> None:
        self.started = datetime(2026, 11, 21, tzinfo=UTC)
        self.clears = 0
        self.try_number = 0
        self.max_tries = 2
        self.xcoms: dict[str, Any] = {}

    def clear(self, *, running: bool = False) -> None:
        """A user clears the task. If its worker is dead, Airflow does not raise the tries that it may have."""
        self.clears += 1
        if not running:
            self.max_tries = self.try_number + 2

    def make_again(self) -> None:
        """A user deletes the run, and triggers another one with the same id."""
        self.started += timedelta(hours=1)
        self.try_number, self.max_tries, self.clears = 0, 2, 0

    def operator(self, **kwargs: Any) -> SageMakerAutoMLJobOperator:
        arguments = {"config": V2_RENDERED, "poll_interval": 0.02, "deferrable": False, **kwargs}
        return SageMakerAutoMLJobOperator(task_id="train", **arguments)

    def context(self) -> Any:
        self.try_number += 1
        ti = fake(
            RuntimeTaskInstance,
            dag_id="churn",
            run_id="manual__1",
            task_id="train",
            map_index=-1,
            max_tries=self.max_tries,
            try_number=self.try_number,
            xcom_push=lambda key, value: self.xcoms.__setitem__(key, value),
        )
        run = fake(DagRun, start_date=self.started, clear_number=self.clears)
        return {"ti": ti, "dag_run": run, "outlet_events": {}}

    def attempt(self, **kwargs: Any) -> Any:
        return self.operator(**kwargs).execute(self.context())


V2_RENDERED = {
    **V2,
    "AutoMLProblemTypeConfig": {
        "TabularJobConfig": {
            "TargetAttributeName": "y",
            "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": 3600},
        }
    },
}


@pytest.fixture
def task(standin: StandIn) -> TaskRun:
    return TaskRun()


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Kill the worker before or after the first call of a method of the hook."""

    def arrange(method: str, *, after: bool) -> None:
        original = getattr(SageMakerAutoMLHook, method)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            monkeypatch.setattr(SageMakerAutoMLHook, method, original)
            if after:
                original(self, *args, **kwargs)
            raise Killed

        monkeypatch.setattr(SageMakerAutoMLHook, method, call)

    return arrange


@pytest.fixture
def ends_while_waited_for(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run until a task sleeps between two polls."""
    standin.plan = lambda request: ENDLESS

    def sleep(seconds: float) -> None:
        if not standin.faults.throttle_next:
            for job in standin.jobs.values():
                job.script = COMPLETED

    monkeypatch.setattr("airflow_automl.waiting.time.sleep", sleep)


def created(standin: StandIn) -> int:
    return len(standin.jobs)


@pytest.mark.parametrize(
    ("method", "after", "adopts"),
    [
        ("create_job", False, False),
        ("create_job", True, True),
        ("describe_job", False, True),
        ("describe_job", True, True),
    ],
)
def test_a_try_that_was_killed_is_continued(
    standin: StandIn,
    task: TaskRun,
    ends_while_waited_for: None,
    kill_at: Callable[..., None],
    method: str,
    after: bool,
    adopts: bool,
) -> None:
    kill_at(method, after=after)
    with pytest.raises(Killed):
        task.attempt()
    candidate = task.attempt()
    assert created(standin) == 1
    (job,) = standin.jobs.values()
    assert candidate["CandidateName"] == f"{job.name}-best"
    assert task.xcoms["job"]["status"] == "Completed"
    assert job.tags[TRY_TAG] == "2"
    assert (standin.calls["AddTags"] == 1) is adopts


class Unanswered:
    """XComs that Airflow's API server does not take in time."""

    def __setitem__(self, key: str, value: Any) -> None:
        detail = {"message": "timed out", "exception_type": "ReadTimeout"}
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_job_continues_if_airflow_does_not_answer_and_another_try_is_left(
    standin: StandIn, task: TaskRun, deferrable: bool
) -> None:
    standin.plan = lambda request: ENDLESS
    answered, task.xcoms = task.xcoms, Unanswered()  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(AirflowRuntimeError, match="timed out"):
            task.attempt(deferrable=deferrable)
    (job,) = standin.jobs.values()
    assert job.stopped is None
    task.xcoms = answered
    with pytest.raises(TaskDeferred):
        task.attempt(deferrable=True)
    assert created(standin) == 1
    assert job.stopped is None


def test_the_last_try_stops_its_job_if_airflow_does_not_answer(standin: StandIn, task: TaskRun) -> None:
    standin.plan = lambda request: ENDLESS
    task.max_tries, task.xcoms = 0, Unanswered()  # type: ignore[assignment]
    with pytest.raises(AirflowRuntimeError) as caught:
        task.attempt()
    (job,) = standin.jobs.values()
    assert job.stopped is not None
    assert caught.value.__notes__ == [f"AutoML job {job.name}; it was stopped"]


@pytest.mark.parametrize("stop_on_kill", [True, False])
def test_a_job_whose_trigger_failed_is_stopped_by_the_last_try(
    standin: StandIn, task: TaskRun, stop_on_kill: bool
) -> None:
    standin.plan = lambda request: ENDLESS
    failed = ("__fail__", {"error": "Trigger failure", "traceback": ["ModuleNotFoundError: airflow_automl"]})
    for _ in range(3):
        (job,) = standin.jobs.values() or (None,)
        assert job is None or job.stopped is None
        context = task.context()
        context["ti"].xcom_pull = lambda task_ids, key, map_indexes: task.xcoms.get(key)
        with pytest.raises(TaskDeferred):
            task.operator(deferrable=True, stop_on_kill=stop_on_kill).execute(context)
        with pytest.raises(AirflowException, match="Trigger failure"):
            task.operator(deferrable=True, stop_on_kill=stop_on_kill).resume_execution(*failed, context)
    (job,) = standin.jobs.values()
    assert (job.stopped is not None) is stop_on_kill


def test_a_try_killed_while_deferring_is_continued(standin: StandIn, task: TaskRun) -> None:
    standin.plan = lambda request: ENDLESS
    with pytest.raises(TaskDeferred):
        task.attempt(deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.attempt(deferrable=True)
    assert created(standin) == 1
    assert deferred.value.trigger.job_name.lower() in standin.jobs


def test_a_retry_after_a_job_that_failed_trains_again(standin: StandIn, task: TaskRun) -> None:
    standin.plan = lambda request: ends("Failed", "Failed") if not standin.jobs else COMPLETED
    with pytest.raises(AutoMLJobFailed):
        task.attempt()
    assert task.attempt()
    assert created(standin) == 2


def test_a_retry_after_a_job_that_completed_adopts_it(standin: StandIn, task: TaskRun) -> None:
    first = task.attempt()
    assert task.attempt() == first
    assert created(standin) == 1


@pytest.mark.parametrize(
    "again",
    [TaskRun.clear, lambda task: task.clear(running=True), TaskRun.make_again],
    ids=["clear", "clear_of_a_running_task", "made_again"],
)
def test_a_clear_or_a_run_created_again_trains_again_and_stops_the_old_job(
    standin: StandIn, task: TaskRun, again: Callable[[TaskRun], None]
) -> None:
    standin.plan = lambda request: ENDLESS
    with pytest.raises(TaskDeferred):
        task.attempt(deferrable=True)
    again(task)
    with pytest.raises(TaskDeferred) as deferred:
        task.attempt(deferrable=True)
    old, new = standin.jobs.values()
    assert old.stopped is not None
    assert new.stopped is None
    assert deferred.value.trigger.job_name == new.name


def test_a_run_that_is_made_again_does_not_take_the_old_model(standin: StandIn, task: TaskRun) -> None:
    old = task.attempt()
    task.make_again()
    assert task.attempt() != old
    assert created(standin) == 2


def test_a_retry_with_another_request_trains_again_and_logs_why(
    standin: StandIn, task: TaskRun, capsys: pytest.CaptureFixture[str]
) -> None:
    standin.plan = lambda request: ENDLESS
    with pytest.raises(TaskDeferred):
        task.attempt(deferrable=True)
    other = {**V2_RENDERED, "OutputDataConfig": {"S3OutputPath": "s3://other/"}}
    with pytest.raises(TaskDeferred) as deferred:
        task.attempt(deferrable=True, config=other)
    old, new = standin.jobs.values()
    assert old.stopped is not None
    assert deferred.value.trigger.job_name == new.name
    assert f"Stopping AutoML job {old.name}" in (said := capsys.readouterr().out)
    assert "its request was a different one" in said


@pytest.mark.parametrize("change", ["request", "run", "clear"])
def test_a_given_name_is_adopted_for_the_same_run_and_request_only(
    standin: StandIn, task: TaskRun, change: str
) -> None:
    config = {**V2_RENDERED, "AutoMLJobName": "mine"}
    task.attempt(config=config)
    if change == "request":
        config["OutputDataConfig"] = {"S3OutputPath": "s3://other/"}
    elif change == "run":
        task.make_again()
    else:
        task.clear()
    said = {"request": "its request was a different one", "run": "does not belong", "clear": "before a clear"}
    with pytest.raises(AutoMLNameTaken, match=said[change]):
        task.attempt(config=config)


def test_other_tags_do_not_make_another_request(standin: StandIn, task: TaskRun) -> None:
    task.attempt()
    task.attempt(config={**V2_RENDERED, "Tags": [{"Key": "cost-center", "Value": "42"}]})
    assert created(standin) == 1


def test_an_old_try_that_wakes_up_late_stops_nothing_of_a_newer_one(standin: StandIn, task: TaskRun) -> None:
    standin.plan = lambda request: ENDLESS
    late, context = task.operator(deferrable=True), task.context()
    task.clear()
    with pytest.raises(TaskDeferred) as deferred:
        task.attempt(deferrable=True)
    with pytest.raises(TaskDeferred):
        late.execute(context)
    assert standin.jobs[deferred.value.trigger.job_name].stopped is None


@pytest.mark.parametrize("denied", ["ListAutoMLJobs", "StopAutoMLJob"])
def test_older_jobs_that_may_not_be_seen_or_stopped_do_not_fail_the_task(
    standin: StandIn, task: TaskRun, denied: str
) -> None:
    standin.plan = lambda request: ENDLESS
    with pytest.raises(TaskDeferred):
        task.attempt(deferrable=True)
    task.clear()
    standin.faults.deny = frozenset({denied})
    with pytest.raises(TaskDeferred):
        task.attempt(deferrable=True)
    assert created(standin) == 2


@pytest.mark.parametrize("throttled", [4, 10_000])
def test_throttled_lists_of_older_jobs_are_tried_again_and_never_fail_the_task(
    standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch, throttled: int, capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow_automl.operators import _job_creation

    standin.plan = lambda request: ENDLESS
    with pytest.raises(TaskDeferred):
        task.attempt(deferrable=True)
    task.clear()
    left, lists = iter(range(throttled)), standin._ListAutoMLJobs

    def throttle(body: dict[str, Any]) -> dict[str, Any]:
        if next(left, None) is None:
            return lists(body)
        raise Refused("ThrottlingException", "Rate exceeded")

    monkeypatch.setattr(standin, "_ListAutoMLJobs", throttle)
    monkeypatch.setattr("airflow_automl.waiting.time.sleep", lambda seconds: None)
    monkeypatch.setattr(_job_creation, "_STOP", 30.0 if throttled == 4 else 0.3)
    with pytest.raises(TaskDeferred):
        task.attempt(deferrable=True, botocore_config={"retries": {"total_max_attempts": 1}})
    stopped = [job.stopped is not None for job in standin.jobs.values()]
    assert stopped == [throttled == 4, False]
    assert ("Their names contain" in capsys.readouterr().out) is (throttled != 4)


def test_stop_on_kill_false_leaves_the_old_job_alone_after_a_clear(standin: StandIn, task: TaskRun) -> None:
    standin.plan = lambda request: ENDLESS
    for _ in range(2):
        with pytest.raises(TaskDeferred):
            task.attempt(deferrable=True, stop_on_kill=False)
        task.clear()
    assert [job.stopped for job in standin.jobs.values()] == [None, None]


def test_two_airflows_do_not_adopt_each_others_jobs(
    standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.attempt()
    monkeypatch.setenv("AIRFLOW__AUTOML__DEPLOYMENT", "staging")
    task.attempt()
    assert created(standin) == 2


@pytest.mark.parametrize("other", ["Mine", "mine"])
def test_a_given_name_of_another_users_job_fails(standin: StandIn, task: TaskRun, other: str) -> None:
    standin.add_job(other, ENDLESS)
    with pytest.raises(AutoMLNameTaken, match="can't be reused"):
        task.attempt(config={**V2_RENDERED, "AutoMLJobName": "Mine"})
    assert standin.jobs["mine"].stopped is None


def test_a_given_name_is_adopted_by_a_retry_but_not_made_twice(standin: StandIn, task: TaskRun) -> None:
    config = {**V2_RENDERED, "AutoMLJobName": "mine"}
    standin.plan = lambda request: ENDLESS
    with pytest.raises(AutoMLJobTimeout):
        task.attempt(config=config, timeout=timedelta(0), stop_on_kill=False)
    standin.jobs["mine"].script = COMPLETED
    assert task.attempt(config=config)["CandidateName"] == "mine-best"
    standin.jobs.clear()
    standin.plan = lambda request: ends("Failed", "Failed")
    with pytest.raises(AutoMLJobFailed):
        task.attempt(config=config)
    with pytest.raises(AutoMLNameTaken, match="Failed"):
        task.attempt(config=config)


def test_a_terminated_worker_stops_its_job(standin: StandIn, task: TaskRun) -> None:
    standin.plan = lambda request: ENDLESS
    operator = task.operator()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            operator.execute(task.context())
    operator.on_kill()
    (job,) = standin.jobs.values()
    assert job.stopped is not None
    operator.on_kill()
    assert standin.calls["StopAutoMLJob"] == 1


@pytest.mark.parametrize("moment", ["before the call", "during the call"])
def test_a_terminated_worker_leaves_no_job_of_a_create_call_under_way(
    standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    standin.plan = lambda request: ENDLESS
    operator = task.operator()
    original = SageMakerAutoMLHook.create_job
    monkeypatch.setattr("airflow_automl.waiting.time.sleep", lambda seconds: None)

    def create(self: Any, *args: Any) -> str:
        operator.on_kill()
        return original(self, *args)

    if moment == "during the call":
        monkeypatch.setattr(SageMakerAutoMLHook, "create_job", create)
    else:
        operator.on_kill()
    with pytest.raises(AirflowException, match="Task terminated"):
        operator.execute(task.context())
    assert all(job.stopped is not None for job in standin.jobs.values())
    assert created(standin) == (moment == "during the call")


def test_a_terminated_worker_does_not_judge_its_own_stop(
    standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.plan = lambda request: ENDLESS
    operator = task.operator(accept_stopped=True)
    monkeypatch.setattr("airflow_automl.waiting.time.sleep", lambda seconds: operator.on_kill())
    with pytest.raises(AirflowException, match="Task terminated") as told:
        operator.execute(task.context())
    assert not isinstance(told.value, AutoMLTerminalError)


def test_an_older_try_does_not_stop_what_a_newer_one_adopted(standin: StandIn, task: TaskRun) -> None:
    standin.plan = lambda request: ENDLESS
    older = task.operator()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            older.execute(task.context())
    with pytest.raises(TaskDeferred):
        task.attempt(deferrable=True)
    older.on_kill()
    (job,) = standin.jobs.values()
    assert job.stopped is None


def test_a_job_of_an_account_that_forbids_tags_is_found_by_its_name(
    standin: StandIn, task: TaskRun, kill_at: Callable[..., None]
) -> None:
    standin.faults.forbid_tags = True
    kill_at("describe_job", after=False)
    with pytest.raises(Killed):
        task.attempt()
    assert task.attempt()
    assert created(standin) == 1
    assert OWNER_TAG not in next(iter(standin.jobs.values())).tags


def test_tags_that_a_dag_asks_for_are_never_dropped(standin: StandIn, task: TaskRun) -> None:
    standin.faults.forbid_tags = True
    with pytest.raises(AutoMLAccessDenied, match="AddTags"):
        task.attempt(config={**V2_RENDERED, "Tags": [{"Key": "cost-center", "Value": "42"}]})
    assert created(standin) == 0


def test_a_deadline_stops_the_job(standin: StandIn, task: TaskRun) -> None:
    standin.plan = lambda request: ENDLESS
    with pytest.raises(AutoMLJobTimeout, match="it was stopped"):
        task.attempt(timeout=timedelta(seconds=0.2))
    assert next(iter(standin.jobs.values())).stopped is not None


def test_throttling_and_failures_end_no_wait(standin: StandIn, task: TaskRun, ends_while_waited_for: None) -> None:
    operator = task.operator(botocore_config={"retries": {"total_max_attempts": 1}})
    original = SageMakerAutoMLHook.describe_job
    with pytest.MonkeyPatch.context() as patch:

        def describe(self: Any, *args: Any) -> Any:
            answer = original(self, *args)
            standin.faults.throttle_next = 3
            return answer

        patch.setattr(SageMakerAutoMLHook, "describe_job", describe)
        patch.setattr(SageMakerAutoMLHook, "read_tags", lambda self, arn: {})
        assert operator.execute(task.context())


def test_a_throttled_describe_of_a_new_job_does_not_mean_that_a_slot_is_missing(
    standin: StandIn, task: TaskRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin.plan = lambda request: ENDLESS
    original = SageMakerAutoMLHook.create_job

    def create(self: Any, *args: Any) -> str:
        arn = original(self, *args)
        standin.faults.throttle_next = 3
        return arn

    monkeypatch.setattr(SageMakerAutoMLHook, "create_job", create)
    monkeypatch.setattr("airflow_automl.waiting.time.sleep", lambda seconds: None)
    once = {"retries": {"total_max_attempts": 1}}
    with pytest.raises(TaskDeferred) as deferred:
        task.attempt(deferrable=True, wait_for_slot=timedelta(hours=1), botocore_config=once)
    assert deferred.value.trigger.job_name.lower() in standin.jobs


def test_a_full_account_fails_the_task_and_says_how_to_wait(standin: StandIn, task: TaskRun) -> None:
    standin.faults.quota = 0
    with pytest.raises(AutoMLQuotaExceeded, match="wait_for_slot"):
        task.attempt()


def test_a_full_account_is_waited_for_deferred(standin: StandIn, task: TaskRun) -> None:
    standin.faults.quota = 0
    operator = task.operator(wait_for_slot=timedelta(hours=1))
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(task.context())
    limits = deferred.value.trigger.limits
    assert deferred.value.method_name == "execute_with_slot"
    assert limits["slot_deadline"] - limits["since"] == pytest.approx(3600, abs=1)
    with pytest.raises(TaskDeferred) as again:
        operator.execute_with_slot(task.context(), {"status": "free", "limits": limits})
    assert again.value.trigger.limits == limits
    standin.faults.quota = 1
    assert operator.execute_with_slot(task.context(), {"status": "free", "limits": limits})
    with pytest.raises(AutoMLQuotaExceeded, match="no slot"):
        operator.execute_with_slot(task.context(), {"status": "timeout", "limits": limits})


def test_the_whole_request_is_checked_before_any_call(standin: StandIn, task: TaskRun) -> None:
    config = {**V2_RENDERED, "RoleArn": "nobody", "OutputDataConfig": {"S3OutputPath": "/tmp"}}
    with pytest.raises(AutoMLValidationError) as caught:
        task.attempt(config=config)
    assert {violation.path for violation in caught.value.violations} >= {"RoleArn", "OutputDataConfig.S3OutputPath"}
    assert not standin.calls


def test_settings_that_cannot_travel_to_the_triggerer_fail_before_there_is_a_job(
    standin: StandIn, task: TaskRun
) -> None:
    with pytest.raises(AutoMLValidationError, match="botocore_config"):
        task.attempt(botocore_config={"connect_timeout": 5, "user_agent_extra": object()})
    assert created(standin) == 0


def test_an_accepted_stop_is_one_that_this_try_saw(standin: StandIn, task: TaskRun) -> None:
    standin.plan = lambda request: ends("Stopped", "Stopped")
    with pytest.raises(AutoMLJobStopped):
        task.attempt()
    assert task.attempt(accept_stopped=True) is None
    assert created(standin) == 2


def test_a_job_that_appears_when_its_task_is_killed_is_stopped(
    standin: StandIn, task: TaskRun, kill_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_at("create_job", after=False)
    operator = task.operator()
    with pytest.raises(Killed):
        operator.execute(task.context())
    assert operator._running is not None
    name = operator._running
    monkeypatch.setattr("airflow_automl.waiting.time.sleep", lambda seconds: standin.add_job(name, ENDLESS))
    operator.on_kill()
    assert standin.jobs[name].stopped is not None
