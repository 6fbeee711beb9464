"""The supervisor and trainers of an earlier service, time limits, and jobs that can't be started."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.local import processes
from airflow_automl.local.jobs.executors.base import State
from airflow_automl.local.jobs.executors.local import LocalExecutor
from airflow_automl.local.jobs.specification import Share, TrainerSettings, max_runtime, output_of, specification
from airflow_automl.local.jobs.supervisor import Supervisor
from airflow_automl.local.processes import Process
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import Job, JobStore

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


def request(path: str = "s3://automl/out", **criteria: int) -> dict[str, Any]:
    config = {"TargetAttributeName": "y", "CompletionCriteria": criteria}
    return {
        "OutputDataConfig": {"S3OutputPath": path},
        "AutoMLProblemTypeConfig": {"TabularJobConfig": config},
    }


@pytest.fixture
def added(jobs: JobStore) -> Callable[..., Job]:
    def add(**given: Any) -> Job:
        jobs.add("churn", "arn:churn", "V2", request(**given))
        return jobs.get("churn")

    return add


@pytest.fixture
def supervisor(jobs: JobStore, tmp_path: Path) -> Supervisor:
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    settings = TrainerSettings("123456789012", "us-east-1", Share(1, None))

    async def unused(job: Job) -> Any:
        raise AssertionError(job.name)

    return Supervisor(jobs, LocalExecutor(folder, SLEEPER, dict), settings, 1, unused, unused)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER, start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture
def orphan() -> Iterator[tuple[Process, int]]:
    """A trainer that was killed, and the pid of a child that it left behind."""
    code = f"import subprocess; print(subprocess.Popen({list(SLEEPER)!r}).pid, flush=True); input()"
    arguments = [sys.executable, "-c", code]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as trainer:
        assert trainer.stdout is not None
        child = int(trainer.stdout.readline())
        process = processes.holder(trainer.pid)
        trainer.kill()
    assert processes.identify(child) is not None
    yield process, child
    processes.kill_session(process)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 30 s")


@pytest.mark.parametrize("changed", [{"started": 1}, {"boot": "another"}])
async def test_a_session_that_has_a_trainers_pid_by_now_is_left_alone(
    supervisor: Supervisor,
    jobs: JobStore,
    added: Callable[..., Job],
    stranger: subprocess.Popen[bytes],
    changed: dict[str, Any],
) -> None:
    added()
    jobs.begin_attempt("churn", 1.0)
    handle = {"job": "churn", **processes.holder(stranger.pid)._asdict(), "began": time.monotonic(), "at": time.time()}
    jobs.set_handle("churn", handle | changed)
    await supervisor.start()
    await supervisor.stop()
    assert stranger.poll() is None
    job = jobs.get("churn")
    assert (job.stage, job.crashes) == ("queued", 1)


async def test_an_infinite_limit_is_not_a_limit(
    supervisor: Supervisor, jobs: JobStore, added: Callable[..., Job]
) -> None:
    added(MaxAutoMLJobRuntimeInSeconds=10**400)
    supervisor._step()
    job = jobs.get("churn")
    assert job.handle is not None
    assert (max_runtime(job) or 0) >= 10**9
    await supervisor.stop()


@pytest.mark.parametrize(("seconds", "crashes"), [(0.0, 0), (5.0, 1)])
def test_a_job_that_lost_its_machine_starts_over(
    supervisor: Supervisor,
    jobs: JobStore,
    added: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    crashes: int,
) -> None:
    added()
    supervisor._step()
    handle = jobs.get("churn").handle or {}
    while not supervisor._executor.stop(handle):
        time.sleep(0.01)
    monkeypatch.setattr(supervisor._executor, "state", lambda handle: State(False, seconds, "ended", lost=True))
    supervisor._attend(jobs.get("churn"))
    job = jobs.get("churn")
    assert (job.stage, job.crashes, job.status) == ("queued", crashes, "InProgress")


def test_a_job_that_cannot_be_started_fails_for_ever(
    supervisor: Supervisor, jobs: JobStore, added: Callable[..., Job]
) -> None:
    added(path="https://s3.amazonaws.com")
    supervisor._step()
    job = jobs.get("churn")
    assert (job.status, job.handle) == ("Failed", None)
    assert "is not an address in S3" in (job.failure or "")


@pytest.mark.parametrize(
    ("path", "output"),
    [
        ("s3://automl", "s3://automl/churn/"),
        ("s3://automl/out/", "s3://automl/out/churn/"),
        ("https://s3.us-east-1.amazonaws.com/automl/out", "s3://automl/out/churn/"),
        ("https://automl.s3.us-east-1.amazonaws.com/", "s3://automl/churn/"),
    ],
)
def test_the_output_path_of_a_job_is_an_s3_uri(added: Callable[..., Job], path: str, output: str) -> None:
    assert output_of(added(path=path)) == output


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_limit_holds_when_the_clock_is_set(
    supervisor: Supervisor, jobs: JobStore, added: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    added(MaxAutoMLJobRuntimeInSeconds=4)
    supervisor._step()
    handle = jobs.get("churn").handle
    assert handle is not None
    monkeypatch.setattr(time, "time", lambda known=time.time: known() + hours * 3600)
    supervisor._step()
    assert jobs.get("churn").stage == "training", "the limit is not reached"
    # As if it had started six seconds ago.
    handle["began"] -= 6
    supervisor._trainers["churn"] = handle
    await supervisor.start()
    await until(lambda: jobs.get("churn").stage == "ended")
    assert jobs.get("churn").secondary == "MaxAutoMLJobRuntimeReached"
    await supervisor.stop()


async def test_a_limit_counts_on_over_a_restart_of_the_service_with_the_clock_set(
    supervisor: Supervisor,
    jobs: JobStore,
    added: Callable[..., Job],
    stranger: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    added(MaxAutoMLJobRuntimeInSeconds=4)
    jobs.begin_attempt("churn", time.time())
    began = {"began": time.monotonic() - 6, "at": time.time() - 6}
    jobs.set_handle("churn", {"job": "churn", **processes.holder(stranger.pid)._asdict(), **began})
    monkeypatch.setattr(time, "time", lambda known=time.time: known() - 3600)
    await supervisor.start()
    await until(lambda: jobs.get("churn").stage == "ended")
    await supervisor.stop()
    assert jobs.get("churn").secondary == "MaxAutoMLJobRuntimeReached"
    assert stranger.wait(10) == -9


async def test_a_job_starts_over_if_only_a_child_of_its_trainer_survived(
    supervisor: Supervisor, jobs: JobStore, added: Callable[..., Job], orphan: tuple[Process, int]
) -> None:
    added()
    process, child = orphan
    jobs.begin_attempt("churn", time.time())
    jobs.set_handle("churn", {"job": "churn", **process._asdict(), "began": time.monotonic(), "at": time.time()})
    await supervisor.start()
    await until(lambda: jobs.get("churn").attempt == 2)
    job = jobs.get("churn")
    assert (job.stage, job.crashes, job.failure) == ("training", 1, None)
    assert processes.identify(child) is None
    await supervisor.stop()


@pytest.mark.parametrize(
    "failing", ["airflow_automl.local.state.jobs.JobStore.begin_attempt", "pathlib.Path.mkdir", "subprocess.Popen"]
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
async def test_a_queued_job_whose_start_fails_for_the_moment_is_started_later(
    supervisor: Supervisor,
    jobs: JobStore,
    added: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
    number: int,
) -> None:
    added()

    def short(*_: object, **__: object) -> Any:
        monkeypatch.undo()
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(failing, short)
    await supervisor.start()
    supervisor.wake()
    await until(lambda: jobs.get("churn").stage == "training" and jobs.get("churn").handle is not None)
    assert (jobs.get("churn").failure, jobs.get("churn").crashes) == (None, 0)
    await supervisor.stop()


def test_the_specification_and_the_handle_of_a_trainer_are_json(
    supervisor: Supervisor, added: Callable[..., Job]
) -> None:
    settings = TrainerSettings("123456789012", "us-east-1", Share(1, None))
    given = specification(settings, added(MaxAutoMLJobRuntimeInSeconds=60))
    assert json.loads(json.dumps(given)) == given
    executor = supervisor._executor
    handle = executor.start(given)
    assert json.loads(json.dumps(handle)) == handle
    # For a moment after its start, a process has no arguments yet.
    while (found := executor.find(given)) is None:
        assert executor.state(handle).running
    assert {**found, "began": 0, "at": 0} == {**handle, "began": 0, "at": 0}
    assert found["began"] == pytest.approx(handle["began"], abs=2)
    assert executor.state(handle).running
    assert executor.usage(handle) > 1 << 20
    assert executor.events(handle, 0) == ([], 0)
    assert executor.last_words(handle).startswith("--- attempt")
    while not executor.stop(handle):
        time.sleep(0.01)
    assert executor.state(handle).running is False
    assert executor.find(given) is None
