"""One job of each problem type on this machine and on a Ray cluster: the same candidates, ends and endpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer

from airflow_automl.contract import image_classification, tabular, text_classification, text_generation, time_series
from airflow_automl.demo import corpora
from airflow_automl.local.models import weights
from tests import tiny_language_model as tiny
from tests.ray_cluster import cluster
from tests.service.running import ROLE, RunningService, ended, real_service

pytestmark = pytest.mark.slow

CANCER = load_breast_cancer(as_frame=True).frame
FLIGHTS = corpora.daily_flights(carriers=2)
ROW = CANCER.drop(columns="target").head(1).to_csv(index=False, header=False)


@pytest.fixture(scope="module", params=["local", "ray"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("executors")
    models = folder / "models"
    tiny.write_model(models / "Tiny")
    options = ["--model-dir", str(models), "--trials-per-job", "2"]
    with contextlib.ExitStack() as stack:
        if request.param == "ray":
            file = folder / "executor.toml"
            file.write_text('[executor]\ncores = 1\nmemory = "3G"\n')
            nodes = stack.enter_context(cluster(workers=2, environment={weights.MODEL_DIR: str(models)}))
            options += ["--executor", "ray", "--ray-address", nodes.address, "--executor-file", str(file)]
        running = stack.enter_context(real_service(folder / "data", *options))
        objects = {
            "cancer/train.csv": CANCER.to_csv(index=False).encode(),
            "flights/train.csv": FLIGHTS.to_csv(index=False).encode(),
            "questions/train.csv": tiny.questions(150).to_csv(index=False).encode(),
            **corpora.tickets(120, 5),
            **corpora.digits(200, 3),
        }
        s3 = running.client("s3")
        for key, body in objects.items():
            s3.put_object(Bucket="automl", Key=key, Body=body)
        yield running


def train(service: RunningService, name: str, request: dict[str, Any]) -> dict[str, Any]:
    service.client().create_auto_ml_job_v2(
        **{"AutoMLJobName": name, "RoleArn": ROLE, "OutputDataConfig": {"S3OutputPath": "s3://automl/out/"}, **request},
        ModelDeployConfig={"EndpointName": name},
    )
    job = ended(service.client(), name, 600)
    assert job["AutoMLJobStatus"] == "Completed", job
    assert job["ModelDeployResult"] == {"EndpointName": name}
    return job


def candidates(service: RunningService, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.client().list_candidates_for_auto_ml_job(AutoMLJobName=name)["Candidates"]
    return found


def ask(service: RunningService, endpoint: str, body: str | bytes, kind: str = "text/csv") -> str:
    answer = service.client("sagemaker-runtime").invoke_endpoint(EndpointName=endpoint, ContentType=kind, Body=body)
    return str(answer["Body"].read().decode())


@pytest.mark.parametrize("mode", ["ENSEMBLING", "HYPERPARAMETER_TUNING"])
def test_a_table(service: RunningService, mode: str) -> None:
    job = train(
        service,
        mode.lower().replace("_", "-"),
        tabular("s3://automl/cancer/", target="target", mode=mode, max_candidates=4, max_runtime=400),
    )
    found = candidates(service, job["AutoMLJobName"])
    assert len(found) == 4
    assert {entry["CandidateStatus"] for entry in found} <= {"Completed", "Stopped"}
    assert job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"] > 0.9
    assert ask(service, job["AutoMLJobName"], ROW).strip() in ("0", "1")


def test_definitions_only(service: RunningService) -> None:
    sagemaker = service.client()
    data = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://automl/cancer/"}}
    sagemaker.create_auto_ml_job(
        AutoMLJobName="definitions",
        RoleArn=ROLE,
        InputDataConfig=[{"DataSource": data, "TargetAttributeName": "target"}],
        OutputDataConfig={"S3OutputPath": "s3://automl/out/"},
        GenerateCandidateDefinitionsOnly=True,
    )
    job = ended(sagemaker, "definitions", 300)
    assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("Completed", "CandidateDefinitionsGenerated")
    location = job["AutoMLJobArtifacts"]["CandidateDefinitionNotebookLocation"].removeprefix("s3://automl/")
    assert service.client("s3").head_object(Bucket="automl", Key=location)["ContentLength"] > 1000


def test_a_forecast(service: RunningService) -> None:
    pytest.importorskip("statsforecast", reason="the extra 'timeseries' is not installed")
    columns = {"target": "demand", "timestamp": "date", "item_id": "item"}
    request = time_series("s3://automl/flights/", frequency="1D", horizon=7, algorithms=["npts"], **columns)
    train(service, "flights", request)
    assert "p50" in ask(service, "flights", FLIGHTS.to_csv(index=False))


@pytest.mark.skipif(not weights.available("minilm-int8"), reason="needs MiniLM's weights")
def test_texts(service: RunningService) -> None:
    job = train(service, "tickets", text_classification("s3://automl/tickets/train/", content="text", label="team"))
    assert len(candidates(service, job["AutoMLJobName"])) in {2, 3}  # with a blend if it is more accurate
    assert set(ask(service, "tickets", b'"The ""box"" was open."\nlovely\n').split()) <= {"care", "thanks"}


@pytest.mark.skipif(not weights.available("efficientnet-lite0"), reason="needs EfficientNet's weights")
def test_pictures(service: RunningService) -> None:
    train(service, "digits", image_classification("s3://automl/digits/train/", max_candidates=1))
    found = service.client("s3").list_objects_v2(Bucket="automl", Prefix="digits/unsorted/", MaxKeys=1)["Contents"]
    picture = service.client("s3").get_object(Bucket="automl", Key=found[0]["Key"])["Body"].read()
    assert ask(service, "digits", picture, "application/x-image").strip() in set("0123456789")


def test_a_language_model(service: RunningService) -> None:
    pytest.importorskip("peft", reason="the extra 'llm' is not installed")
    train(
        service,
        "assistant",
        text_generation("s3://automl/questions/", base_model="Tiny", epoch_count=1, batch_size=8, learning_rate=0.01),
    )
    body = '{"inputs": "What is the capital of France?"}'
    assert "generated_text" in ask(service, "assistant", body, "application/json")
