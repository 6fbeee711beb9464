"""What DescribeTrainingJob and DescribeProcessingJob answer for the steps of candidates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_automl.local.api import OPERATIONS
from airflow_automl.local.errors import ServiceError
from airflow_automl.local.jobs import events
from airflow_automl.local.service_model import operations, serialize
from airflow_automl.local.state.jobs import JobStore
from airflow_automl.local.training.engines.candidates import Candidate, step
from tests.service.running import request

NAME = "a-long-name-of-a-job"


@pytest.fixture
def steps(jobs: JobStore) -> list[dict[str, str]]:
    jobs.add(NAME, f"arn:aws:sagemaker:us-east-1:123456789012:automl-job/{NAME}", "V2", request(NAME, "x"))
    spec: Any = SimpleNamespace(name=NAME, arn="arn", region="us-east-1", account="123456789012")
    found = [
        step(spec, "processing-job", "db-1"),
        step(spec, "training-job", "dpp-0"),
        step(spec, "training-job", "t1"),
    ]
    candidate = Candidate(
        "c", "BinaryClassification", "AUC", found, validation={"AUC": 0.9}, parameters={"depth": 3, "booster": "tree"}
    )
    parts = ("encode", "xgboost", "decode")
    candidate.containers = [{"Image": name, "ModelDataUrl": f"s3://automl/{name}/model.tar.gz"} for name in parts]
    candidate.created = 1_000.0
    candidate.complete()
    event = {"event": "candidate", "candidate": candidate.document(), "attempt": 0}
    # As a trainer's event, which is held against the shapes of the API.
    events.apply(jobs, jobs.get(NAME), lambda position: ([event], 1) if position == 0 else ([], 1))
    return found


def asked(jobs: JobStore, kind: str, name: str) -> dict[str, Any]:
    backend: Any = SimpleNamespace(jobs=jobs)
    answer = OPERATIONS[f"Describe{kind}Job"](backend, {f"{kind}JobName": name})
    shape = operations()[f"Describe{kind}Job"][1]
    assert shape is not None
    found: dict[str, Any] = serialize(shape, answer)
    return found


def test_the_last_step_is_the_candidate_s_training(jobs: JobStore, steps: list[dict[str, str]]) -> None:
    answer = asked(jobs, "Training", steps[-1]["CandidateStepName"])
    assert answer["TrainingJobArn"] == steps[-1]["CandidateStepArn"]
    assert (answer["TrainingJobStatus"], answer["SecondaryStatus"]) == ("Completed", "Completed")
    assert answer["HyperParameters"] == {"depth": "3", "booster": "tree"}
    assert answer["ModelArtifacts"] == {"S3ModelArtifacts": "s3://automl/xgboost/model.tar.gz"}
    assert answer["TrainingStartTime"] == 1_000.0 < answer["TrainingEndTime"]
    assert answer["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://automl/script/x"
    assert [(m["MetricName"], m["Value"]) for m in answer["FinalMetricDataList"]] == [("validation:AUC", 0.9)]


def test_the_steps_before_are_done_when_the_candidate_begins(jobs: JobStore, steps: list[dict[str, str]]) -> None:
    features = asked(jobs, "Training", steps[1]["CandidateStepName"])
    assert (features["TrainingJobStatus"], features["TrainingEndTime"]) == ("Completed", 1_000.0)
    assert features["ModelArtifacts"] == {"S3ModelArtifacts": "s3://automl/encode/model.tar.gz"}
    assert not features["FinalMetricDataList"]
    data = asked(jobs, "Processing", steps[0]["CandidateStepName"])
    assert (data["ProcessingJobStatus"], data["ProcessingEndTime"]) == ("Completed", 1_000.0)
    assert data["ProcessingInputs"][0]["S3Input"]["S3Uri"] == "s3://automl/script/x"


DEFINED = {"CPU": [{"Image": "model", "ModelDataUrl": "s3://automl/model.tar.gz"}]}


@pytest.mark.parametrize("version", ["V1", "V2"])
@pytest.mark.parametrize(
    ("problem", "end", "containers", "kinds"),
    [
        (
            "BinaryClassification",
            "Completed",
            {"InferenceContainers": DEFINED["CPU"] * 3},
            ["processing", "training", "training"],
        ),
        ("Regression", "Completed", {"InferenceContainers": DEFINED["CPU"]}, ["processing", "training"]),
        ("TimeSeriesForecasting", "Stopped", {"InferenceContainers": DEFINED["CPU"]}, ["processing", "training"]),
        ("TextClassification", "Completed", {"InferenceContainerDefinitions": DEFINED}, ["processing", "training"]),
        ("ImageClassification", "Failed", {"InferenceContainerDefinitions": DEFINED}, ["processing", "training"]),
        ("TextGeneration", "Completed", {"InferenceContainerDefinitions": DEFINED}, ["training"]),
        ("None yet", "Failed", {}, ["training"]),
    ],
)
def test_every_step_of_every_kind_of_candidate_is_described(
    jobs: JobStore, version: str, problem: str, end: str, containers: dict[str, Any], kinds: list[str]
) -> None:
    asked_for = request(NAME, "x")
    channels = asked_for.pop("AutoMLJobInputDataConfig")
    if version == "V1":
        asked_for["InputDataConfig"] = [
            {"DataSource": each["DataSource"], "TargetAttributeName": "y"} for each in channels
        ]
    else:
        asked_for["AutoMLJobInputDataConfig"] = channels
    jobs.add(NAME, f"arn:aws:sagemaker:us-east-1:123456789012:automl-job/{NAME}", version, asked_for)
    spec: Any = SimpleNamespace(name=NAME, arn="arn", region="us-east-1", account="123456789012")
    steps = [step(spec, f"{kind}-job", f"{number}") for number, kind in enumerate(kinds)]
    for number, status in enumerate(("InProgress", end)):
        candidate = Candidate("c", problem, "AUC", steps).document() | containers | {"CandidateStatus": status}
        event = {"event": "candidate", "candidate": candidate, "attempt": 0}
        told = ([event], number + 1)
        events.apply(jobs, jobs.get(NAME), lambda at, told=told: told if at < told[1] else ([], at))  # type: ignore[misc]
        for kind, each in zip(kinds, steps, strict=True):
            answer = asked(jobs, kind.title(), each["CandidateStepName"])
            assert answer[f"{kind.title()}JobStatus"] == (status if each is steps[-1] else "Completed")
            if kind == "training":
                assert answer["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://automl/script/x"


def test_other_names_are_not_found(jobs: JobStore, steps: list[dict[str, str]]) -> None:
    for kind, name in (
        ("Training", "other"),
        ("Training", steps[0]["CandidateStepName"]),
        ("Processing", steps[-1]["CandidateStepName"]),
        ("Training", steps[-1]["CandidateStepName"] + "x"),
    ):
        with pytest.raises(ServiceError) as missing:
            asked(jobs, kind, name)
        assert missing.value.code == "ValidationException"


def test_steps_in_lists_of_candidates_are_as_the_api_has_them(jobs: JobStore, steps: list[dict[str, str]]) -> None:
    listed = OPERATIONS["ListCandidatesForAutoMLJob"](SimpleNamespace(jobs=jobs), {"AutoMLJobName": NAME})  # type: ignore[arg-type]
    shape = operations()["ListCandidatesForAutoMLJob"][1]
    assert shape is not None
    assert serialize(shape, listed)["Candidates"][0]["CandidateSteps"] == steps
