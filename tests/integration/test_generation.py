"""Text generation through an unmodified boto3: deployed by the job itself, in batch transform, stopped, crashed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.contract import check, text_generation
from airflow_automl.contract.metrics import candidate_metrics
from tests import tiny_language_model as tiny
from tests.service.running import ROLE, RunningService, ended, gone, real_service, until

pytest.importorskip("torch", reason="the extra 'llm' is not installed")
pytest.importorskip("peft", reason="the extra 'llm' is not installed")

pytestmark = pytest.mark.slow

QUESTIONS = tiny.questions(150)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("generation")
    tiny.write_model(folder / "models" / "Tiny")
    with real_service(folder / "data", "--max-jobs", "1", "--model-dir", str(folder / "models")) as running:
        s3 = running.client("s3")
        s3.put_object(Bucket="automl", Key="small/train.csv", Body=QUESTIONS.to_csv(index=False).encode())
        many = tiny.questions(20_000).to_csv(index=False).encode()
        s3.put_object(Bucket="automl", Key="large/train.csv", Body=many)
        yield running


def create(service: RunningService, name: str, data: str, **options: Any) -> Any:
    """Create a job as a DAG would: with the builder, checked before the call."""
    request = text_generation(f"s3://automl/{data}/", name=name, output="s3://automl/out/", role=ROLE, **options)
    assert [str(found) for found in check("V2", request) if found.severity == "error"] == []
    client = service.client()
    client.create_auto_ml_job_v2(**request)
    return client


def test_a_missing_base_model_fails_the_job_with_a_list_of_the_installed_ones(service: RunningService) -> None:
    client = create(service, "nobody", "small")
    found = ended(client, "nobody", 120)
    assert found["AutoMLJobStatus"] == "Failed"
    assert "'Falcon7BInstruct' (the default, since the request names none)" in found["FailureReason"]
    assert "available: 'Tiny'" in found["FailureReason"]


@pytest.fixture(scope="module")
def job(service: RunningService) -> dict[str, Any]:
    """A job that deployed its model itself."""
    options = {"epoch_count": 4, "batch_size": 8, "learning_rate": 0.01}
    client = create(
        service, "assistant", "small", base_model="Tiny", deployment={"EndpointName": "one-click"}, **options
    )
    found = ended(client, "assistant", 300)
    assert found["AutoMLJobStatus"] == "Completed", found.get("FailureReason")
    return found


def test_the_job_deploys_a_model_that_answers(service: RunningService, job: dict[str, Any]) -> None:
    assert job["ModelDeployResult"] == {"EndpointName": "one-click"}
    answer = service.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="one-click",
        ContentType="application/json",
        Body=json.dumps({"inputs": list(QUESTIONS["input"][:3]), "parameters": {"max_new_tokens": 20}}),
    )
    texts = [entry["generated_text"] for entry in json.loads(answer["Body"].read())]
    assert len(texts) == 3
    assert all(text.startswith("The capital is") for text in texts)


def test_its_endpoint_is_evaluated_by_what_it_writes(service: RunningService, job: dict[str, Any]) -> None:
    found = service.evaluate(endpoint_name="one-click", job_name="assistant", data="s3://automl/small/", max_rows=12)
    assert (found["rows"], found["unit"], found["complete"]) == (12, "texts", True)
    measured = candidate_metrics(found)
    assert measured["RougeL"] > 0.5, "half of each answer is the same for all questions"
    low, high = found["intervals"]["RougeL"]
    assert low <= measured["RougeL"] <= high


@pytest.mark.parametrize(
    ("kind", "split", "body", "answers"),
    [
        ("application/json", "None", json.dumps({"inputs": ["Norway: capital?", "Peru: capital?"]}), 2),
        ("application/jsonlines", "Line", '{"inputs": "Norway: capital?"}\n{"inputs": "Peru: capital?"}\n', 2),
    ],
    ids=["one document", "lines"],
)
def test_batch_transform_answers_prompts(
    service: RunningService, job: dict[str, Any], kind: str, split: str, body: str, answers: int
) -> None:
    client, s3, name = service.client(), service.client("s3"), f"prompts-{split.lower()}"
    client.create_model(ModelName=name, Containers=job["BestCandidate"]["InferenceContainers"], ExecutionRoleArn=ROLE)
    s3.put_object(Bucket="automl", Key=f"{name}/prompts", Body=body.encode())
    client.create_transform_job(
        TransformJobName=name,
        ModelName=name,
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://automl/{name}/"}},
            "ContentType": kind,
            "SplitType": split,
        },
        TransformOutput={"S3OutputPath": f"s3://automl/{name}-out/", "Accept": kind, "AssembleWith": split},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )

    def done() -> dict[str, Any] | None:
        found: dict[str, Any] = client.describe_transform_job(TransformJobName=name)
        return None if found["TransformJobStatus"] == "InProgress" else found

    found = until(done, 120)
    assert found["TransformJobStatus"] == "Completed", found.get("FailureReason")
    out = s3.get_object(Bucket="automl", Key=f"{name}-out/prompts.out")["Body"].read().decode()
    assert out.count('"generated_text": "The capital is') == answers


def log_of(service: RunningService, name: str) -> str:
    path = service.data_dir / "jobs" / name / "trainer.log"
    return path.read_text() if path.exists() else ""


def trainer_of(service: RunningService, name: str) -> int:
    """The pid of a job's trainer, once it fine-tunes."""
    until(lambda: "Step 1 of" in log_of(service, name), 300)
    folder = str(service.data_dir.resolve() / "jobs" / name)
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and folder in (entry / "cmdline").read_bytes().decode(errors="replace").split("\0"):
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError(f"the job {name} has no trainer")


def test_a_stop_ends_fine_tuning_and_its_process(service: RunningService) -> None:
    # 200,000 steps: hours, even for this model.
    client = create(service, "endless", "large", base_model="Tiny", epoch_count=10, batch_size=1)
    pid = trainer_of(service, "endless")
    client.stop_auto_ml_job(AutoMLJobName="endless")
    found = ended(client, "endless", 60)
    assert (found["AutoMLJobStatus"], found["AutoMLJobSecondaryStatus"]) == ("Stopped", "Stopped")
    until(lambda: gone(pid))


def test_a_model_trained_until_the_time_limit_is_kept(service: RunningService) -> None:
    client = create(service, "limited", "large", base_model="Tiny", epoch_count=10, batch_size=1, max_runtime=90)
    found = ended(client, "limited", 180)
    assert (found["AutoMLJobStatus"], found["AutoMLJobSecondaryStatus"]) == ("Completed", "MaxAutoMLJobRuntimeReached")
    assert found["BestCandidate"]["CandidateStatus"] == "Completed"
    assert found["ResolvedAttributes"]["CompletionCriteria"]["MaxAutoMLJobRuntimeInSeconds"] == 90


def test_a_trainer_that_is_killed_fails_the_job(service: RunningService) -> None:
    client = create(service, "killed", "large", base_model="Tiny", epoch_count=10, batch_size=1)
    os.kill(trainer_of(service, "killed"), signal.SIGKILL)
    found = ended(client, "killed", 60)
    assert found["AutoMLJobStatus"] == "Failed"
    assert "signal 9" in found["FailureReason"]
