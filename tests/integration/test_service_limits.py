"""Time limits of single candidates, enforced from another process. The trainer is real; one of its libraries hangs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer

from tests.service.running import RunningService, ended, request, scripted_service

LIMIT = 6


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("limits") / "data"
    with scripted_service(folder, max_jobs=3, trainer="faulty_trainer.py") as running:
        body = load_breast_cancer(as_frame=True).frame.to_csv(index=False).encode()
        running.client("s3").put_object(Bucket="automl", Key="in/train.csv", Body=body)
        yield running


def job(name: str, mode: str, algorithms: list[str], **criteria: int) -> dict[str, Any]:
    config = {
        "TargetAttributeName": "target",
        "Mode": mode,
        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": algorithms}]},
        "CompletionCriteria": {"MaxRuntimePerTrainingJobInSeconds": LIMIT, **criteria},
    }
    found = request(name, "", AutoMLProblemTypeConfig={"TabularJobConfig": config})
    found["AutoMLJobInputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://automl/in/"
    return found


@pytest.fixture(scope="module")
def jobs(service: RunningService) -> dict[str, dict[str, Any]]:
    """Name → the ended job; all at once, because they mostly wait."""
    sagemaker = service.client()
    asked = [
        job("hang-tuning", "HYPERPARAMETER_TUNING", ["xgboost", "linear-learner"], MaxCandidates=2),
        job("hang-ensembling", "ENSEMBLING", ["lightgbm", "linear-learner"], MaxCandidates=2),
        job("hang-all", "ENSEMBLING", ["lightgbm"], MaxCandidates=1),
    ]
    for entry in asked:
        sagemaker.create_auto_ml_job_v2(**entry)
    return {entry["AutoMLJobName"]: ended(sagemaker, entry["AutoMLJobName"], 200) for entry in asked}


@pytest.mark.parametrize("name", ["hang-tuning", "hang-ensembling"])
def test_a_candidate_that_never_ends_is_killed_and_the_job_continues(
    service: RunningService, jobs: dict[str, dict[str, Any]], name: str
) -> None:
    described = jobs[name]
    assert described["AutoMLJobStatus"] == "Completed", described.get("FailureReason")
    found = service.client().list_candidates_for_auto_ml_job(AutoMLJobName=name)["Candidates"]
    stopped, completed = (
        [entry for entry in found if entry["CandidateStatus"] == status] for status in ("Stopped", "Completed")
    )
    assert len(stopped) == len(completed) == 1
    assert described["BestCandidate"]["CandidateName"] == completed[0]["CandidateName"]
    assert f"MaxRuntimePerTrainingJobInSeconds ({LIMIT} s)" in stopped[0]["FailureReason"]
    ran = (stopped[0]["EndTime"] - stopped[0]["CreationTime"]).total_seconds()
    assert LIMIT <= ran <= LIMIT + 5


def test_the_reason_of_a_job_without_a_finished_candidate(jobs: dict[str, dict[str, Any]]) -> None:
    assert jobs["hang-all"]["AutoMLJobStatus"] == "Failed"
    assert "MaxRuntimePerTrainingJobInSeconds" in jobs["hang-all"]["FailureReason"]


def test_nothing_is_left_of_them(service: RunningService, jobs: dict[str, dict[str, Any]]) -> None:
    folder = service.data_dir.resolve() / "jobs"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert not (entry / "cwd").resolve().is_relative_to(folder)
            except OSError:
                continue
