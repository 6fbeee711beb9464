"""Transform jobs on a cluster: begun once, continued if they are lost, stopped; objects of dead tasks go to others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_automl.local import background
from airflow_automl.local.background import Background
from airflow_automl.local.errors import in_use
from airflow_automl.local.jobs.executors.base import Handle, State
from airflow_automl.local.jobs.specification import Share
from airflow_automl.local.serving.model_host_client import Container
from airflow_automl.local.serving.transform import jobs, tasks
from airflow_automl.local.serving.transform.jobs import Transforms
from airflow_automl.local.serving.transform.objects import Object
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.resources import TRANSFORM_JOB, Resource, ResourceStore
from airflow_automl.local.storage.client import Location

RUNS = State(True, 1.0, "")
GONE = State(False, 2.0, "ended on Ray (UNKNOWN)", True)
MODEL = Container("image", "s3://automl/model.tar.gz", "0" * 64, {"LEVEL": "1"})


class Executor:
    """Attempts that are in the state that a test gives them."""

    def __init__(self) -> None:
        self.started: list[Mapping[str, Any]] = []
        self.states: list[State] = []
        self.final: dict[str, Any] | None = None
        self.stopping: list[int] = []
        self.stops = True
        self.forgotten: list[int] = []

    def find(self, specification: Mapping[str, Any]) -> Handle:
        return {"job": specification["name"], "attempt": specification["attempt"]}

    def start(self, specification: Mapping[str, Any]) -> Handle:
        self.started.append(specification)
        return self.find(specification)

    def state(self, handle: Handle) -> State:
        return self.states.pop(0) if self.states else RUNS

    def events(self, handle: Handle, position: int) -> tuple[list[dict[str, Any]], int]:
        return ([self.final], 1) if self.final and not position else ([], position)

    def stop(self, handle: Handle) -> bool:
        self.stopping.append(handle["attempt"])
        return self.stops

    def forget(self, handle: Handle) -> None:
        self.forgotten.append(handle["attempt"])

    def last_words(self, handle: Handle) -> str:
        return "out of memory"


class Models:
    """Knows the containers of a model."""

    def containers(self, model: Resource) -> list[Container]:
        return [MODEL]


@pytest.fixture
def executor() -> Executor:
    return Executor()


@pytest.fixture
def service(resources: ResourceStore, tmp_path: Path, executor: Any, monkeypatch: pytest.MonkeyPatch) -> Transforms:
    monkeypatch.setattr(background, "_PAUSE", 0.0)
    monkeypatch.setattr(jobs, "_LOOK", 0.0)
    resources.add("model", "churn", "arn:churn", {}, taken=in_use("taken"))
    document = {
        "ModelName": "churn",
        "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://automl/in/"}}},
        "TransformOutput": {"S3OutputPath": "s3://automl/out"},
        "Environment": {"LEVEL": "2"},
    }
    resources.add(TRANSFORM_JOB, "score", "arn:score", document, taken=in_use("taken"), status="InProgress")
    return transforms(resources, tmp_path, executor)


def transforms(resources: ResourceStore, folder: Path, executor: Any) -> Transforms:
    data = DataFolder(folder / "data")
    data.prepare()
    models: Any = Models()
    share = Share(4, 2 << 30, 1)
    return Transforms(resources, models, models, data, lambda: None, Background(), 2, executor, share)


async def ended(service: Transforms) -> None:
    while (task := service._tasks.get("score")) is not None:
        await asyncio.wait({task})


async def until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0)


async def until_started(executor: Executor, count: int) -> None:
    await until(lambda: len(executor.started) == count)


def job(resources: ResourceStore) -> Resource:
    found = resources.find(TRANSFORM_JOB, "score")
    assert found is not None
    return found


async def test_a_job_gets_what_it_needs_and_leaves_nothing_behind(
    service: Transforms, resources: ResourceStore, executor: Executor
) -> None:
    executor.states, executor.final = [RUNS, GONE], {"event": "completed"}
    service.begin("score")
    await ended(service)
    assert job(resources).status == "Completed", job(resources).document
    (given,) = executor.started
    assert given["output"] == "s3://automl/out/"
    assert given["share"] == Share(4, 2 << 30, 1)
    assert not given["again"]
    # Waiting for tasks needs no share of a node.
    assert not given["threads"]
    assert given["containers"] == [MODEL._replace(environment={"LEVEL": "2"})]
    assert executor.forgotten == [1]
    assert "Trainer" not in job(resources).document


async def test_the_reason_of_a_failure_is_the_one_that_the_cluster_reports(
    service: Transforms, resources: ResourceStore, executor: Executor
) -> None:
    executor.states, executor.final = [GONE] * 3, {"event": "failed", "reason": "s3://automl/in/a: it is bad"}
    service.begin("score")
    await ended(service)
    assert job(resources).document["FailureReason"] == "s3://automl/in/a: it is bad"
    assert len(executor.started) == 1


async def test_a_job_that_is_lost_continues_with_what_is_left(
    service: Transforms, resources: ResourceStore, executor: Executor
) -> None:
    executor.states = [RUNS, GONE]
    service.begin("score")
    await until_started(executor, 2)
    executor.states, executor.final = [GONE] * 3, {"event": "completed"}
    await ended(service)
    assert job(resources).status == "Completed"
    assert [(each["attempt"], each["again"]) for each in executor.started] == [(1, False), (2, True)]


async def test_a_job_that_is_lost_five_times_fails_with_the_end_of_its_log(
    service: Transforms, resources: ResourceStore, executor: Executor
) -> None:
    executor.states = [GONE] * 9
    service.begin("score")
    await ended(service)
    assert len(executor.started) == 5
    reason = job(resources).document["FailureReason"]
    assert reason == "the job ended on Ray (UNKNOWN) without a result, 5 times; its log ends: out of memory"


async def test_the_service_after_a_killed_one_starts_nothing_twice(
    service: Transforms, resources: ResourceStore, executor: Executor, tmp_path: Path
) -> None:
    service.begin("score")
    await until_started(executor, 1)
    await service._tasks.stop()
    following = transforms(resources, tmp_path, executor)
    await following.start()
    executor.states, executor.final = [GONE] * 3, {"event": "completed"}
    await ended(following)
    assert job(resources).status == "Completed"
    assert len(executor.started) == 1


async def test_a_service_that_stops_withdraws_its_jobs_and_the_next_one_continues(
    service: Transforms, resources: ResourceStore, executor: Executor, tmp_path: Path
) -> None:
    service.begin("score")
    await until_started(executor, 1)
    await service.stop()
    assert executor.stopping == [1]
    following = transforms(resources, tmp_path, executor)
    await following.start()
    await until_started(executor, 2)
    assert [(each["attempt"], each["again"]) for each in executor.started] == [(1, False), (2, True)]
    await following.stop()


async def test_nothing_runs_on_of_a_job_whose_model_is_gone_when_the_service_returns(
    service: Transforms, resources: ResourceStore, executor: Executor, tmp_path: Path
) -> None:
    service.begin("score")
    await until_started(executor, 1)
    await service._tasks.stop()
    resources.remove("model", "churn")
    following = transforms(resources, tmp_path, executor)
    await following.start()
    await ended(following)
    assert job(resources).document["FailureReason"] == "the model 'churn' was deleted"
    assert executor.stopping == [1]


async def test_a_job_is_stopped_once_nothing_runs(
    service: Transforms, resources: ResourceStore, executor: Executor
) -> None:
    executor.stops = False
    service.begin("score")
    await until_started(executor, 1)
    service.cancel(job(resources))
    await until(lambda: bool(executor.stopping))
    assert job(resources).status == "Stopping"
    executor.stops = True
    await ended(service)
    assert job(resources).status == "Stopped"


class Died(Exception):
    """A task died."""


class RayTasks:
    """Tasks that ask and end as a test says: ``(key, number)`` asks, ``(key, result or error)`` ends."""

    def __init__(self, *steps: tuple[int, Any]) -> None:
        self.ray = SimpleNamespace(get=self._result, exceptions=SimpleNamespace(RayError=Died))
        self.steps = list(steps)
        self.started: list[int] = []
        self.answers: list[str | None] = []

    def __call__(self, work: Any) -> RayTasks:
        return self

    def start(self, options: Mapping[str, Any], key: int, job: Mapping[str, Any], at_once: int) -> int:
        self.started.append(key)
        return key

    def wait(self, running: Mapping[int, int]) -> tuple[Any, list[int]]:
        key, what = self.steps.pop(0)
        if isinstance(what, int | tuple):
            number, reason = what if isinstance(what, tuple) else (what, None)
            return ((key, number), reason), []
        self.outcome = what
        assert key in running
        return None, [key]

    def answer(self, slot: tuple[int, int], each: Object | None) -> None:
        self.answers.append(each and f"{each.source.key}{' again' if each.again else ''}")

    def _result(self, task: int) -> Any:
        if isinstance(self.outcome, Died):
            raise self.outcome
        return self.outcome


def spread(monkeypatch: pytest.MonkeyPatch, count: int, *steps: tuple[int, Any]) -> tuple[str | None, RayTasks]:
    fake = RayTasks(*steps)
    monkeypatch.setattr(tasks, "RayTasks", fake)
    objects = [Object(Location("b", name), Location("b", f"{name}.out"), False) for name in "abcdef"[:count]]
    return tasks._spread({"share": Share(1, None)}, objects), fake


def test_objects_of_a_dead_task_go_to_others(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    asks = [(0, 0), (1, 0), (1, 0), (0, Died("node")), (0, 0), (1, 0), (1, 0), (1, None)]
    with caplog.at_level(logging.WARNING):
        reason, fake = spread(monkeypatch, 3, *asks)
    assert reason is None
    # What the dead task had asked for before it died is not given to it.
    assert fake.answers == ["a", "b", "c", "a again", None]
    assert fake.started == [0, 1, 2, 3]
    assert "node" in caplog.text


def test_an_object_that_kills_its_tasks_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    reason, fake = spread(monkeypatch, 1, *[step for key in range(3) for step in ((key, 0), (key, Died("signal 9")))])
    assert reason == "s3://b/a: its task died 3 times: signal 9"
    assert fake.started == [0, 1, 2]


def test_objects_that_are_bad_fail_the_job_once_all_others_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    # The task that had the bad object a dies with c.
    asks = [(0, 0), (0, (0, "s3://b/a: it is bad")), (1, 0), (0, Died("node")), (1, (0, "s3://b/b: it is bad"))]
    reason, fake = spread(monkeypatch, 3, *asks, (1, 0), (1, None))
    assert reason == "s3://b/a: it is bad (and 1 more object)"
    assert fake.answers == ["a", "b", "c", "b again", None]


def test_a_model_that_fails_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spread(monkeypatch, 2, (0, 0), (0, "the model was deleted"))[0] == "the model was deleted"


def test_tasks_that_never_begin_end_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Died, match="no module"):
        spread(monkeypatch, 2, (0, Died("no module")), (1, Died("no module")))
