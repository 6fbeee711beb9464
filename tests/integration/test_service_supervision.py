"""Jobs under supervision: queue, stop, limits, crashes. The trainer is scripted, everything else is real."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.service.running import RunningService, ended, gone, request, scripted_service, trainer_pid, until

DEPLOY = {"ModelDeployConfig": {"AutoGenerateEndpointName": True}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, executor: dict[str, str]) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("supervision") / "data"
    with scripted_service(folder, max_jobs=4, job_memory=200 << 20, **executor) as running:
        yield running


@pytest.fixture(scope="module")
def sagemaker(service: RunningService) -> Any:
    return service.client()


def go(service: RunningService, name: str) -> None:
    (service.data_dir / "jobs" / name / "go").touch()


def describe(sagemaker: Any, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name)
    return answer


def test_a_job_shows_its_phases_and_candidates_and_completes_with_the_best(sagemaker: Any) -> None:
    sagemaker.create_auto_ml_job_v2(**request("good", "phases,begin,candidate-80,candidate-90,candidate-85,completed"))
    job = ended(sagemaker, "good")
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", "Completed")
    assert job["BestCandidate"]["CandidateName"] == "good-3"
    assert job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"] == 0.9
    assert job["ResolvedAttributes"]["AutoMLJobObjective"] == {"MetricName": "AUC"}
    assert job["CreationTime"] < job["EndTime"] <= job["LastModifiedTime"]
    assert "FailureReason" not in job
    assert "PartialFailureReasons" not in job
    statuses = {c["CandidateName"]: c["CandidateStatus"] for c in candidates(sagemaker, "good")}
    assert statuses == {"good-1": "Stopped", "good-2": "Completed", "good-3": "Completed", "good-4": "Completed"}


def candidates(sagemaker: Any, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=name)["Candidates"]
    return found


def test_candidates_appear_while_the_job_runs(service: RunningService, sagemaker: Any) -> None:
    sagemaker.create_auto_ml_job_v2(**request("running", "phases,candidate-70,begin,wait,completed"))
    until(lambda: len(candidates(sagemaker, "running")) == 2)
    job = describe(sagemaker, "running")
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("InProgress", "TrainingModels")
    assert job["BestCandidate"]["CandidateName"] == "running-1"
    assert "EndTime" not in job
    go(service, "running")
    assert ended(sagemaker, "running")["AutoMLJobStatus"] == "Completed"


@pytest.mark.parametrize(
    ("script", "secondary"),
    [
        ("phases,candidate-70,completed-MaxCandidatesReached", "MaxCandidatesReached"),
        ("phases,candidate-70,completed-MaxAutoMLJobRuntimeReached", "MaxAutoMLJobRuntimeReached"),
        ("phases,candidate-70,partial-ExplainabilityError,completed", "ExplainabilityError"),
        ("phases,candidate-70,partial-ModelInsightsError,partial-ExplainabilityError,completed", "ExplainabilityError"),
        ("phases,candidate-70,partial-Candidate,completed", "Completed"),
    ],
)
def test_several_events_decide_the_final_secondary_status(sagemaker: Any, script: str, secondary: str) -> None:
    name = f"end-{abs(hash(script)) % 10**8}"
    sagemaker.create_auto_ml_job_v2(**request(name, script))
    job = ended(sagemaker, name)
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", secondary)
    assert len(job.get("PartialFailureReasons", [])) == script.count("partial")


@pytest.mark.parametrize("outcome", ["CandidateDefinitionsGenerated", "MaxAutoMLJobRuntimeReached"])
def test_a_job_may_complete_without_a_candidate(sagemaker: Any, outcome: str) -> None:
    name = f"none-{outcome[:12]}"
    sagemaker.create_auto_ml_job_v2(**request(name, f"phases,completed-{outcome}"))
    job = ended(sagemaker, name)
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", outcome)
    assert "BestCandidate" not in job


def test_a_failure_has_its_reason_and_no_best_candidate(sagemaker: Any) -> None:
    sagemaker.create_auto_ml_job_v2(**request("bad", "phases,candidate-70,failed"))
    job = ended(sagemaker, "bad")
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"] == "The column 'target' is not in the data"
    assert "BestCandidate" not in job


def test_a_trainer_that_dies_fails_its_job_with_exit_code_and_last_words(sagemaker: Any) -> None:
    sagemaker.create_auto_ml_job_v2(**request("dies", "phases,exit-3"))
    reason = ended(sagemaker, "dies")["FailureReason"]
    assert "exit code 3" in reason
    assert "nothing more to say" in reason


def test_a_killed_trainer_fails_its_job_naming_the_signal(service: RunningService, sagemaker: Any) -> None:
    sagemaker.create_auto_ml_job_v2(**request("killed", "phases,child,wait"))
    pid = trainer_pid(service, "killed")
    signal_process(pid, signal.SIGKILL)
    assert "signal 9" in ended(sagemaker, "killed")["FailureReason"]
    assert gone(pid)


def signal_process(pid: int, number: int) -> None:
    import os

    os.kill(pid, number)


def test_a_job_that_eats_too_much_memory_fails_alone(service: RunningService, sagemaker: Any) -> None:
    sagemaker.create_auto_ml_job_v2(**request("greedy", "phases,eat-300"))
    pid = trainer_pid(service, "greedy")
    job = ended(sagemaker, "greedy", 30)
    assert job["AutoMLJobStatus"] == "Failed"
    assert "memory" in job["FailureReason"]
    assert gone(pid)


def test_stop_says_stopped_only_when_every_process_is_dead(service: RunningService, sagemaker: Any) -> None:
    sagemaker.create_auto_ml_job_v2(**request("stop-me", "phases,candidate-60,child,wait"))
    pid = trainer_pid(service, "stop-me")
    until(lambda: "BestCandidate" in describe(sagemaker, "stop-me"))
    assert not gone(pid)
    sagemaker.stop_auto_ml_job(AutoMLJobName="stop-me")
    job = ended(sagemaker, "stop-me")
    assert gone(pid)
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Stopped", "Stopped")
    assert job["BestCandidate"]["CandidateName"] == "stop-me-1"
    assert not (service.data_dir / "jobs" / "stop-me" / "work").exists()
    sagemaker.stop_auto_ml_job(AutoMLJobName="stop-me")
    assert describe(sagemaker, "stop-me")["LastModifiedTime"] == job["LastModifiedTime"]


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15, 0.4, 0.8])
def test_stop_works_at_any_moment(sagemaker: Any, delay: float) -> None:
    name = f"any-{int(delay * 100)}"
    sagemaker.create_auto_ml_job_v2(**request(name, "phases,candidate-60,wait"))
    time.sleep(delay)
    sagemaker.stop_auto_ml_job(AutoMLJobName=name)
    assert ended(sagemaker, name)["AutoMLJobStatus"] == "Stopped"


def test_finished_candidates_are_kept_at_the_runtime_limit(service: RunningService, sagemaker: Any) -> None:
    started = time.monotonic()
    sagemaker.create_auto_ml_job_v2(**request("limited", "phases,candidate-60,begin,child,wait", limit=4))
    pid = trainer_pid(service, "limited")
    job = ended(sagemaker, "limited", 60)
    assert time.monotonic() - started >= 4
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", "MaxAutoMLJobRuntimeReached")
    assert job["BestCandidate"]["CandidateName"] == "limited-1"
    assert gone(pid)


def test_a_failed_deployment_is_a_warning(sagemaker: Any) -> None:
    sagemaker.create_auto_ml_job_v2(**request("undeployed", "phases,candidate-60,completed", **DEPLOY))
    job = ended(sagemaker, "undeployed", 30)
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", "ModelDeploymentError")
    assert "was not written by a job of this service" in job["PartialFailureReasons"][0]["PartialFailureMessage"]
    assert "ModelDeployResult" not in job
    assert job["ModelDeployConfig"] == DEPLOY["ModelDeployConfig"]


def test_jobs_wait_in_the_queue_and_can_be_stopped_there(tmp_path: Path) -> None:
    with scripted_service(tmp_path / "data", max_jobs=1, quota=3) as service:
        sagemaker = service.client()
        for name in ("first", "second", "third"):
            sagemaker.create_auto_ml_job_v2(**request(name, "phases,candidate-60,wait,completed"))
        trainer_pid(service, "first")
        until(lambda: describe(sagemaker, "first")["AutoMLJobSecondaryStatus"] == "TrainingModels")
        for name in ("second", "third"):
            job = describe(sagemaker, name)
            assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("InProgress", "Starting")
        with pytest.raises(ClientError, match="ResourceLimitExceeded"):
            sagemaker.create_auto_ml_job_v2(**request("fourth", "completed"))
        with pytest.raises(ClientError, match="ResourceInUse"):
            sagemaker.create_auto_ml_job_v2(**request("SECOND", "completed"))
        sagemaker.stop_auto_ml_job(AutoMLJobName="second")
        assert ended(sagemaker, "second")["AutoMLJobStatus"] == "Stopped"
        sagemaker.create_auto_ml_job_v2(**request("fourth", "phases,candidate-50,completed"))
        (service.data_dir / "jobs" / "first" / "go").touch()
        trainer_pid(service, "third")
        (service.data_dir / "jobs" / "third" / "go").touch()
        assert ended(sagemaker, "fourth")["AutoMLJobStatus"] == "Completed"
