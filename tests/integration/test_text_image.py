"""Text and image jobs on the service as users start it: crashes, Stop, deployment by the job, batch transform."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.contract import image_classification, text_classification
from airflow_automl.contract.metrics import candidate_metrics
from airflow_automl.demo import corpora
from airflow_automl.demo.dataset import BUCKET, upload
from airflow_automl.local.models import weights
from tests.service.running import ROLE, RunningService, ended, real_service, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not weights.available("efficientnet-lite0"), reason="needs EfficientNet's weights"),
    pytest.mark.skipif(not weights.available("minilm-int8"), reason="needs MiniLM's weights"),
]

LONG = 600.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with real_service(tmp_path_factory.mktemp("service") / "data") as running:
        upload(running.client("s3"), {**corpora.tickets(120, 5), **corpora.digits(400, 3)})
        yield running


def submit(service: RunningService, name: str, request: dict[str, Any], **more: Any) -> Any:
    sagemaker = service.client()
    output = {"S3OutputPath": f"s3://{BUCKET}/output/"}
    sagemaker.create_auto_ml_job_v2(AutoMLJobName=name, OutputDataConfig=output, RoleArn=ROLE, **request, **more)
    return sagemaker


def training(sagemaker: Any, name: str) -> None:
    """Wait until a job trains."""
    until(
        lambda: sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name)["AutoMLJobSecondaryStatus"] == "TrainingModels",
        LONG,
    )


def test_a_text_job_survives_its_trainer_and_deploys_itself(service: RunningService) -> None:
    request = text_classification(f"s3://{BUCKET}/tickets/train/", content="text", label="team")
    sagemaker = submit(service, "tickets", request, ModelDeployConfig={"EndpointName": "tickets"})
    training(sagemaker, "tickets")
    # The service dies as well: the next one finds the job without its trainer, and starts it over.
    pid = _pid(service, "tickets")
    service.kill()
    os.killpg(pid, signal.SIGKILL)
    service.start()
    sagemaker = service.client()

    job = ended(sagemaker, "tickets", LONG)

    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", "Completed"), job
    assert job["ModelDeployResult"] == {"EndpointName": "tickets"}
    listed = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName="tickets")["Candidates"]
    assert {candidate["CandidateStatus"] for candidate in listed} == {"Completed"}
    assert len(listed) in {2, 3}  # with a blend if it is more accurate
    answer = service.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="tickets", ContentType="text/csv", Body=b'"Stale, and the ""box"" was open."\nlovely\n'
    )
    assert set(answer["Body"].read().decode().split()) <= {"care", "thanks"}
    found = service.evaluate(
        endpoint_name="tickets", job_name="tickets", data=f"s3://{BUCKET}/tickets/train/", max_rows=40
    )
    assert (found["rows"], found["unit"], found["complete"]) == (40, "rows", True)
    assert candidate_metrics(found)["Accuracy"] > 0.5
    assert found["confusion_matrix"]["labels"] == ["care", "thanks"]


def test_an_image_job_stops_and_another_one_sorts(service: RunningService) -> None:
    request = image_classification(f"s3://{BUCKET}/digits/train/")
    sagemaker = submit(service, "stopped", request)
    training(sagemaker, "stopped")
    pid = _pid(service, "stopped")
    sagemaker.stop_auto_ml_job(AutoMLJobName="stopped")
    assert ended(sagemaker, "stopped", LONG)["AutoMLJobStatus"] == "Stopped"
    assert not Path(f"/proc/{pid}").exists()

    submit(service, "digits", image_classification(f"s3://{BUCKET}/digits/train/", max_candidates=1))
    job = ended(sagemaker, "digits", LONG)

    assert job["AutoMLJobStatus"] == "Completed", job
    assert len(sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName="digits")["Candidates"]) == 1
    containers = job["BestCandidate"]["InferenceContainerDefinitions"]["GPU"]
    sagemaker.create_model(ModelName="digits", Containers=containers, ExecutionRoleArn=ROLE)
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/digits/unsorted/"}}
    sagemaker.create_transform_job(
        TransformJobName="digits",
        ModelName="digits",
        TransformInput={"DataSource": source, "ContentType": "application/x-image", "SplitType": "None"},
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/sorted/", "Accept": "application/json"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )

    def transformed() -> str | None:
        status = str(sagemaker.describe_transform_job(TransformJobName="digits")["TransformJobStatus"])
        return status if status != "InProgress" else None

    assert until(transformed, LONG) == "Completed"
    s3 = service.client("s3")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix="sorted/")["Contents"]]
    assert len(keys) == 3
    (row,) = json.loads(s3.get_object(Bucket=BUCKET, Key=keys[0])["Body"].read())["predictions"]
    assert row["predicted_label"] in set("0123456789")

    variant = {"VariantName": "v", "ModelName": "digits", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName="digits", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="digits", EndpointConfigName="digits")
    until(lambda: sagemaker.describe_endpoint(EndpointName="digits")["EndpointStatus"] == "InService", LONG)
    found = service.evaluate(
        endpoint_name="digits", job_name="digits", data=f"s3://{BUCKET}/digits/train/", max_rows=30
    )
    assert (found["rows"], found["unit"], found["complete"]) == (30, "images", True)
    assert candidate_metrics(found)["Accuracy"] > 0.5
    assert set(found["confusion_matrix"]["labels"]) <= set("0123456789")


def _pid(service: RunningService, name: str) -> int:
    """The pid of a job's trainer."""
    events = service.data_dir / "jobs" / name / "events.jsonl"
    until(events.exists, LONG)
    folder = str(service.data_dir.resolve() / "jobs" / name)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if folder in words:
                return int(entry.name)
    raise AssertionError(f"the job {name} has no trainer")
