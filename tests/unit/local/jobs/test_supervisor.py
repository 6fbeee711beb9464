"""What the supervisor makes of records that fit no process of its own, and of jobs that can't be started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.local import processes
from airflow_automl.local.jobs.executors.local import TrainerSettings, deadline, output_of
from airflow_automl.local.jobs.supervisor import Supervisor
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
    settings = TrainerSettings(SLEEPER, dict, "123456789012", "us-east-1", 1, None)

    async def unused(job: Job) -> Any:
        raise AssertionError(job.name)

    return Supervisor(jobs, folder, settings, 1, unused, unused)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER, start_new_session=True) as process:
        yield process
        process.kill()


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
    jobs.set_process("churn", processes.holder(stranger.pid)._replace(**changed))
    await supervisor.start()
    await supervisor.stop()
    assert stranger.poll() is None
    job = jobs.get("churn")
    assert (job.stage, job.crashes) == ("queued", 1)


async def test_a_limit_beyond_all_numbers_is_no_limit(
    supervisor: Supervisor, jobs: JobStore, added: Callable[..., Job]
) -> None:
    added(MaxAutoMLJobRuntimeInSeconds=10**400)
    supervisor._step()
    job = jobs.get("churn")
    assert job.process is not None
    assert (deadline(job) or 0) > 10**9
    await supervisor.stop()


def test_a_job_that_cannot_be_started_fails_and_does_not_come_back(
    supervisor: Supervisor, jobs: JobStore, added: Callable[..., Job]
) -> None:
    added(path="https://s3.amazonaws.com")
    supervisor._step()
    job = jobs.get("churn")
    assert (job.status, job.process) == ("Failed", None)
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
def test_what_a_job_writes_is_addressed_as_s3(added: Callable[..., Job], path: str, output: str) -> None:
    assert output_of(added(path=path)) == output
