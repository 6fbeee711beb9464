"""The job trigger: its event at each end and at its deadline, and what it stops."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.jobs import triggerer_job_runner
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetTaskStates, MaskSecret, TaskStatesResult
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_automl.naming import TRY_TAG
from airflow_automl.triggers.job import SageMakerAutoMLJobTrigger
from airflow_automl.triggers.payload import EventStatus, validate_event
from tests.fakes import fake, stands_for
from tests.standin import ENDLESS, StandIn, connection, ends, running
from tests.unit.triggers.conftest import INTERVAL, fire, until


def _trigger(**kwargs: Any) -> SageMakerAutoMLJobTrigger:
    return SageMakerAutoMLJobTrigger("job", **{"poll_interval": INTERVAL, **kwargs})


def test_it_serializes_to_plain_json_and_back() -> None:
    trigger = _trigger(
        api_version="V1",
        deadline=1.5,
        stop_on_kill=False,
        region_name="eu-west-1",
        verify="/ca.pem",
        botocore_config={"read_timeout": 5},
    )
    path, arguments = trigger.serialize()
    assert path == "airflow_automl.triggers.job.SageMakerAutoMLJobTrigger"
    again = SageMakerAutoMLJobTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)
    assert arguments["botocore_config"] == {"read_timeout": 5}


@pytest.mark.parametrize(
    "arguments",
    [
        {"job_name": "job"},
        {
            "job_name": "job",
            "api_version": None,
            "poll_interval": 30,
            "deadline": None,
            "stop_on_kill": True,
            "aws_conn_id": "aws_default",
            "region_name": None,
            "verify": None,
            "botocore_config": None,
        },
    ],
    ids=["least", "0.1"],
)
def test_the_arguments_of_every_release_are_understood(arguments: dict[str, Any]) -> None:
    assert SageMakerAutoMLJobTrigger(**arguments).job_name == "job"


@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped"])
async def test_its_event_carries_the_describe_answer_as_json(standin: StandIn, status: str) -> None:
    standin.add_job("job", ends(status, status, 0.1))
    event = await fire(_trigger())
    ended = validate_event(json.loads(json.dumps(event.payload)))
    assert ended.status == status.lower()
    assert ended.job is not None
    assert ended.job["AutoMLJobStatus"] == status
    assert isinstance(ended.job["EndTime"], str)
    assert "ResponseMetadata" not in ended.job


async def test_wait_for_creation_waits_for_a_job_that_does_not_exist_yet(standin: StandIn) -> None:
    waiting = asyncio.create_task(fire(_trigger(stop_on_kill=False, wait_for_creation=60)))
    # The first two polls are those that end a wait without wait_for_creation.
    await until(lambda: standin.calls["DescribeAutoMLJobV2"] > 2)
    standin.add_job("job", ends("Completed", "Completed", 0.1))
    assert validate_event((await waiting).payload).status is EventStatus.COMPLETED


async def test_a_job_that_never_appears_is_reported_with_the_searched_region(standin: StandIn) -> None:
    event = validate_event((await fire(_trigger(stop_on_kill=False, wait_for_creation=0.1))).payload)
    assert event.status is EventStatus.NOT_FOUND
    assert "(region us-east-1, connection 'aws_default')" in event.message


def test_it_runs_alone_in_a_new_event_loop_each_time(standin: StandIn) -> None:
    """That is what ``airflow dags test`` does."""
    for name in ("one", "two"):
        standin.add_job(name, running(0.1))
        event = asyncio.run(fire(SageMakerAutoMLJobTrigger(name, poll_interval=INTERVAL)))
        assert event.payload["status"] == "completed"


async def test_a_missing_job_is_reported(standin: StandIn) -> None:
    event = await fire(_trigger())
    assert validate_event(event.payload).status is EventStatus.NOT_FOUND
    assert "job" in event.payload["message"]


async def test_at_its_deadline_it_stops_the_job_and_says_timeout(standin: StandIn) -> None:
    standin.add_job("job", ENDLESS)
    deadline = time.time() + 0.8
    event = await fire(_trigger(deadline=deadline))
    assert event.at >= deadline
    assert event.payload["status"] == "timeout"
    assert event.payload["job"]["AutoMLJobStatus"] == "InProgress"
    assert standin.calls["StopAutoMLJob"] == 1


async def test_a_job_of_another_task_is_not_stopped_at_the_deadline(standin: StandIn) -> None:
    standin.add_job("job", ENDLESS)
    event = await fire(_trigger(deadline=time.time() + 0.5, stop_on_kill=False))
    assert event.payload["status"] == "timeout"
    assert not standin.calls["StopAutoMLJob"]


async def test_a_deadline_that_passed_long_ago_ends_the_wait_at_once(standin: StandIn) -> None:
    standin.add_job("job", ENDLESS)
    event = await asyncio.wait_for(fire(_trigger(deadline=time.time() - 3600)), 60)
    assert event.payload["status"] == "timeout"
    assert standin.calls["StopAutoMLJob"] == 1


async def test_a_job_that_ended_just_before_the_deadline_has_ended(standin: StandIn) -> None:
    standin.add_job("job", running(0.0), age=10.0)
    event = await fire(_trigger(deadline=time.time() - 1))
    assert event.payload["status"] == "completed"
    assert not standin.calls["StopAutoMLJob"]


async def test_a_stop_that_is_throttled_is_tried_again(standin: StandIn) -> None:
    standin.add_job("job", ENDLESS)
    standin.faults.throttle_next = 3
    event = await fire(_trigger(deadline=time.time() - 1))
    assert event.payload["status"] == "timeout"
    assert standin.jobs["job"].stopped is not None


async def test_a_denied_stop_is_reported_in_the_event(standin: StandIn) -> None:
    standin.add_job("job", ENDLESS)
    standin.faults.deny = frozenset({"StopAutoMLJob"})
    event = await fire(_trigger(deadline=time.time() - 1))
    assert event.payload["status"] == "timeout"
    assert "could not be stopped" in event.payload["message"]
    assert "not authorized to perform: sagemaker:StopAutoMLJob" in event.payload["message"]


@stands_for(triggerer_job_runner.TriggerCommsDecoder)
class Airflow:
    """What a triggerer's supervisor answers."""

    def __init__(self, states: dict[str, Any] | Exception | None) -> None:
        self.states = states
        self.asked: list[GetTaskStates] = []

    async def asend(self, request: GetTaskStates) -> Any:
        self.asked.append(request)
        if isinstance(self.states, Exception):
            raise self.states
        if self.states is None:
            return ErrorResponse()
        return TaskStatesResult(task_states=self.states)

    def send(self, request: MaskSecret) -> None:
        assert isinstance(request, MaskSecret)


@pytest.fixture
def killed(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that kills a deferred task with the given state, and returns whether the job continues."""

    async def kill(states: Any, *, map_index: int = -1, try_number: int = 1, **kwargs: Any) -> bool:
        job = standin.jobs.get("job") or standin.add_job("job", ENDLESS)
        airflow = Airflow(states)
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", airflow, raising=False)
        trigger = _trigger(**kwargs)
        trigger.task_instance = fake(
            RuntimeTaskInstance,  # type: ignore[assignment]
            dag_id="dag",
            run_id="run",
            task_id="train",
            map_index=map_index,
            try_number=try_number,
        )
        await trigger.on_kill()
        kill.asked = airflow.asked  # type: ignore[attr-defined]
        return job.stopped is None

    return kill


@pytest.mark.parametrize("state", ["failed", "success", "scheduled", "queued", "running", "up_for_retry", None])
async def test_a_killed_task_stops_its_job(killed: Any, state: str | None) -> None:
    assert not await killed({"run": {"train": state}})


async def test_a_task_that_was_deleted_stops_its_job(killed: Any) -> None:
    assert not await killed({})


async def test_a_task_that_another_triggerer_waits_for_keeps_its_job(killed: Any) -> None:
    assert await killed({"run": {"train": "deferred"}})


async def test_a_mapped_task_is_distinguished_from_its_siblings(killed: Any) -> None:
    assert await killed({"run": {"train_3": "deferred", "train_2": "failed"}}, map_index=3)
    assert killed.asked[0].map_index == 3
    assert not await killed({"run": {"train_3": "failed", "train_2": "deferred"}}, map_index=3)


@pytest.mark.parametrize("answer", [None, RuntimeError("no answer")])
async def test_if_airflow_does_not_answer_no_job_is_stopped(killed: Any, answer: Any) -> None:
    assert await killed(answer)


async def test_a_job_is_stopped_even_if_airflow_says_too_late_that_its_task_was_killed(
    killed: Any, standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asend = asyncio.Event(), Airflow.asend

    async def slow(self: Airflow, request: GetTaskStates) -> Any:
        await answers.wait()
        return await asend(self, request)

    monkeypatch.setattr(Airflow, "asend", slow)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(killed({"run": {"train": "failed"}}), 0.01)  # Airflow waits for 30 seconds
    assert standin.jobs["job"].stopped is None
    answers.set()
    await until(lambda: standin.jobs["job"].stopped is not None)


async def test_a_job_that_a_newer_try_adopted_is_left_to_it(killed: Any, standin: StandIn) -> None:
    job = standin.add_job("job", ENDLESS, tags={TRY_TAG: "2"})
    assert await killed({"run": {"train": "running"}}, try_number=1)
    assert job.stopped is None
    assert not await killed({"run": {"train": "failed"}}, try_number=2)


async def test_a_job_that_has_ended_is_not_stopped(killed: Any, standin: StandIn) -> None:
    standin.add_job("job", age=10.0)
    assert await killed({"run": {"train": "failed"}})
    assert not standin.calls["StopAutoMLJob"]


async def test_a_job_that_is_not_the_tasks_is_never_stopped(killed: Any) -> None:
    assert await killed({"run": {"train": "failed"}}, stop_on_kill=False)
    assert not killed.asked


async def test_on_kill_survives_throttling_and_a_missing_job(killed: Any, standin: StandIn) -> None:
    standin.faults.throttle_next = 2
    assert not await killed({"run": {"train": "failed"}})
    standin.jobs.clear()
    trigger = _trigger()
    trigger.task_instance = fake(
        RuntimeTaskInstance,  # type: ignore[assignment]
        dag_id="dag",
        run_id="run",
        task_id="train",
        map_index=-1,
        try_number=1,
    )
    await trigger.on_kill()


@pytest.mark.parametrize(
    ("message", "state", "stopped"),
    [
        # Before 3.3, Airflow gives no reason for a cancellation; the task's state shows it.
        (getattr(triggerer_job_runner, "_USER_ACTION_CANCEL_MSG", None), "failed", True),
        (None, "deferred", False),
    ],
)
async def test_airflows_runner_stops_the_job_when_a_user_acts_and_not_when_it_shuts_down(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, message: str | None, state: str, stopped: bool
) -> None:
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Airflow({"run": {"train": state}}), raising=False)
    job = standin.add_job("job", ENDLESS)
    trigger = _trigger()
    trigger.task_instance = fake(
        RuntimeTaskInstance,  # type: ignore[assignment]
        id="1",
        dag_id="dag",
        run_id="run",
        task_id="train",
        map_index=-1,
        try_number=1,
    )
    trigger.timeout_after = None  # type: ignore[attr-defined]
    if hasattr(triggerer_job_runner, "_make_trigger_span"):
        monkeypatch.setattr("airflow.jobs.triggerer_job_runner._make_trigger_span", _no_span)
    runner = triggerer_job_runner.TriggerRunner()
    task = asyncio.create_task(runner.run_trigger(1, trigger))
    runner.triggers[1] = {"task": task, "is_watcher": False, "name": "job", "events": 0}
    await until(lambda: standin.calls.total() > 0)
    task.cancel(message) if message else task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (job.stopped is not None) is stopped


def _no_span(**kwargs: Any) -> Any:
    from contextlib import nullcontext

    from opentelemetry.trace import INVALID_SPAN

    return nullcontext(INVALID_SPAN)


async def test_every_change_of_status_is_logged_once(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    log = SimpleNamespace(info=lambda text, *args: lines.append(text % args))
    monkeypatch.setattr(SageMakerAutoMLJobTrigger, "log", log)
    job = standin.add_job("job", ((0.0, "InProgress", "Starting"),), age=10.0)
    wait = asyncio.create_task(fire(_trigger()))
    await until(lambda: len(lines) == 1)
    looks = standin.calls.total()
    await until(lambda: standin.calls.total() >= looks + 2)
    job.script = (*job.script, (time.time() - job.created, "Completed", "Completed"))
    await wait
    assert lines == [
        "AutoML job job: In progress (InProgress/Starting)",
        "AutoML job job: Completed (Completed/Completed)",
    ]


async def test_region_and_botocore_config_reach_the_client(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_automl.triggers._watcher import watcher_for

    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(standin.url, config_kwargs={"read_timeout": 7}))
    standin.add_job("job", running(0.1))
    first = _trigger(region_name="eu-central-1", botocore_config={"user_agent_extra": "night-shift"})
    await fire(first)
    async with watcher_for(first._aws).in_use() as client:
        meta = (await client._client()).client.meta
        assert meta.region_name == "eu-central-1"
        assert "night-shift" in meta.config.user_agent_extra
    second = _trigger()
    await fire(second)
    async with watcher_for(second._aws).in_use() as client:
        assert (await client._client()).client.meta.config.read_timeout == 7
