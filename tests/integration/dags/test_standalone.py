"""The example DAGs in all of Airflow: scheduler, executor and triggerer, with tasks that are deferred for real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.demo import dataset
from tests.integration.dags.airflow_api import Airflow, Run
from tests.integration.dags.conftest import World, started

SEGMENT_ROWS = 500
SMALL = {"max_candidates": 1, "max_runtime": 300}
DAGS = [
    *("v1_pipeline", "champion_challenger", "human_approval", "batch_scoring"),
    *("deploy_on_new_model", "many_segments", "migrated_from_amazon_provider"),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One for each test: what a test that failed has left would fail it again, and hide why."""
    # DAGs run with the defaults of their forms, which allow hours.
    with started(tmp_path / "world", AIRFLOW__AUTOML__MAX_RUNTIME="300") as world:
        yield world


@pytest.fixture
def airflow(world: World) -> Airflow:
    """All of Airflow: scheduler, executor and triggerer."""
    url, _ = world.stack.start_standalone()
    return Airflow(url)


def test_runs_side_by_side_wait_in_the_triggerer_and_end_as_they_should(world: World, airflow: Airflow) -> None:
    """Four runs at once: scheduled and deployed, kept back by the gate, failed by the service, trained by V1."""
    small = {"max_runtime_minutes": 5, "max_candidates": 2}
    for dag_id in ("scheduled_retraining", "manual_automl"):
        airflow.unpause(dag_id)
    broken = airflow.trigger("manual_automl", {**small, "target": "no_such_column"})
    rejected = airflow.trigger("manual_automl", {**small, "min_score": 0.9999, "endpoint_name": "never"})
    through_v1 = airflow.trigger(
        "manual_automl",
        {**small, "api_version": "V1", "problem_type": "BinaryClassification", "objective": "F1"},
    )
    deployed = airflow.scheduled_run("scheduled_retraining")

    ends = airflow.follow([deployed, rejected, broken, through_v1])
    state, seen = ends[deployed]
    ends[deployed] = state, {task.removeprefix("automl."): states for task, states in seen.items()}

    sagemaker = world.client("sagemaker")
    for state, seen in ends.values():
        assert "deferred" in seen["train"], (state, seen)
        assert "success" in seen["report"], (state, seen)

    state, seen = ends[broken]
    assert state == "failed", seen
    assert "failed" in seen["train"]
    described = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=value(airflow.xcom(broken, "train", "job"))["name"])
    assert "no_such_column" in described["FailureReason"]
    log = airflow.log(broken, "train")
    assert f"The end of {described['AutoMLJobName']}/trainer in /aws/sagemaker/TrainingJobs" in log

    state, seen = ends[deployed]
    assert state == "success", airflow.failures(deployed)
    assert all("success" in seen[task] for task in ("train", "gate", "deploy")), seen
    assert "CandidateName" in str(airflow.xcom(deployed, "automl.train", "return_value"))
    assert sagemaker.describe_endpoint(EndpointName="churn")["EndpointStatus"] == "InService"

    state, seen = ends[rejected]
    assert state == "success", airflow.failures(rejected)
    assert "skipped" in seen["deploy"]

    state, seen = ends[through_v1]
    assert state == "success", airflow.failures(through_v1)
    assert "skipped" in seen["deploy"]
    name = value(airflow.xcom(through_v1, "train", "job"))["name"]
    described = sagemaker.describe_auto_ml_job(AutoMLJobName=name)
    assert described["AutoMLJobStatus"] == "Completed"
    assert described["AutoMLJobObjective"] == {"MetricName": "F1"}


def value(xcom: Any) -> Any:
    """An XCom as the API shows it: text, unless it is a scalar."""
    return json.loads(xcom) if isinstance(xcom, str) and xcom[:1] in "[{" else xcom


@pytest.fixture
def segments(world: World) -> list[str]:
    """Ten folders of customers, each too small for more than one quick candidate."""
    s3, names = world.client("s3"), [f"segment-{number}" for number in range(10)]
    customers = dataset.load().train
    for number, name in enumerate(names):
        part = customers.sample(SEGMENT_ROWS, random_state=number)
        s3.put_object(Bucket=dataset.BUCKET, Key=f"segments/{name}/part-0.csv", Body=dataset.to_csv(part, header=True))
    return names


def test_the_examples_do_what_they_say(world: World, airflow: Airflow, segments: list[str]) -> None:
    """All at once, as far as one does not wait for another's model."""
    sagemaker, s3 = world.client("sagemaker"), world.client("s3")
    for dag_id in DAGS:
        airflow.unpause(dag_id)

    first = airflow.trigger("champion_challenger", {})
    v1 = airflow.trigger("v1_pipeline", {"max_candidates": 2, "min_auc": 0.5})
    approved = airflow.trigger("human_approval", {})
    rejected = airflow.trigger("human_approval", SMALL)
    migrated = airflow.trigger("migrated_from_amazon_provider", {**SMALL, "output": f"s3://{dataset.BUCKET}/automl/"})
    many = airflow.trigger("many_segments", {**SMALL, "segments": segments})

    for run in (approved, rejected):
        question = airflow.question(run, "ask")
        assert question["options"] == ["Approve", "Reject"]
        best = value(airflow.xcom(run, "train", "return_value"))["CandidateName"]
        assert question["subject"] == f"Deploy {best}?"
        assert "| Candidate | AUC |" in question["body"]
        assert f"| `{best}` | 0." in question["body"]
    airflow.succeeded([first, migrated])
    # People answer late; Airflow fails a task that is answered before the scheduler has heard that it asks.
    airflow.answer(approved, "ask", "Approve")
    airflow.answer(rejected, "ask", "Reject")
    customers = dataset.load().test.head(40).drop(columns=dataset.TARGET)
    for day in ("monday", "tuesday"):
        key = f"churn/new/{day}/part-0.csv"
        s3.put_object(Bucket=dataset.BUCKET, Key=key, Body=dataset.to_csv(customers, header=False))
    airflow.asset_event("s3://acme-ml/churn/new/", {"path": f"s3://{dataset.BUCKET}/churn/new/monday/"})
    second = airflow.trigger("champion_challenger", {**SMALL, "min_gain": 0.002})
    deployed = airflow.asset_run("deploy_on_new_model", migrated)
    scored = airflow.asset_run("batch_scoring")
    seen = airflow.succeeded([v1, approved, rejected, many, second, deployed, scored])

    assert_v1_pipeline(sagemaker, airflow, v1)
    assert_challenge(sagemaker, airflow, first, second)
    assert sagemaker.describe_endpoint(EndpointName="churn-approved")["EndpointStatus"] == "InService"
    packages = sagemaker.list_model_packages(ModelPackageGroupName="churn")["ModelPackageSummaryList"]
    assert sorted(package["ModelApprovalStatus"] for package in packages) == ["Approved", "Rejected"]
    assert "skipped" in seen[rejected]["deploy"]

    trained = value(airflow.xcom(migrated, "train", "return_value"))
    assert sagemaker.describe_endpoint(EndpointName="churn-migrated")["EndpointStatus"] == "InService"
    assert value(airflow.xcom(deployed, "deploy", "return_value"))["candidate_name"] == trained["CandidateName"]
    assert sagemaker.describe_endpoint(EndpointName="churn-newest")["EndpointStatus"] == "InService"
    listed = s3.list_objects_v2(Bucket=dataset.BUCKET, Prefix="churn/scored/")["Contents"]
    assert [item["Key"].rpartition("/")[2] for item in listed] == ["part-0.csv.out"]
    lines = s3.get_object(Bucket=dataset.BUCKET, Key=listed[0]["Key"])["Body"].read().decode().splitlines()
    assert len(lines) == len(customers)
    assert {line.rpartition(",")[2] for line in lines} <= {"Yes", "No"}

    scores = value(airflow.xcom(many, "scores", "return_value"))
    assert sorted(scores) == sorted(segments)
    assert all(0.5 < score <= 1 for score in scores.values()), scores


def assert_v1_pipeline(sagemaker: Any, airflow: Airflow, run: Run) -> None:
    job = value(airflow.xcom(run, "train", "job"))
    described = sagemaker.describe_auto_ml_job(AutoMLJobName=job["name"])
    assert described["AutoMLJobConfig"]["Mode"] == "HYPERPARAMETER_TUNING"
    images = value(airflow.xcom(run, "containers", "return_value"))
    assert len(images) > 1, "a pipeline of containers"
    model = value(airflow.xcom(run, "deploy", "return_value"))["model"]
    assert [each["Image"] for each in sagemaker.describe_model(ModelName=model)["Containers"]] == images
    assert sagemaker.describe_endpoint(EndpointName="churn-v1")["EndpointStatus"] == "InService"
    (package,) = sagemaker.list_model_packages(ModelPackageGroupName="churn-v1")["ModelPackageSummaryList"]
    assert package["ModelApprovalStatus"] == "PendingManualApproval"


def assert_challenge(sagemaker: Any, airflow: Airflow, first: Run, second: Run) -> None:
    """The first candidate is deployed unopposed; the second is trained alike, and so is no better."""
    decision = value(airflow.xcom(first, "beats_the_champion", "return_value"))
    assert decision["passed"]
    assert "there is no champion churn-champion yet" in decision["reason"]
    champion = value(airflow.xcom(first, "deploy", "return_value"))
    decision = value(airflow.xcom(second, "beats_the_champion", "return_value"))
    assert not decision["passed"], decision
    assert champion["candidate_name"] in decision["champion"]["name"]
    assert "scored now on 600 rows" in decision["champion"]["name"]
    # Scored through the endpoint, the champion is as good as its job had measured it.
    trained = value(airflow.xcom(first, "challenger", "return_value"))["FinalAutoMLJobObjectiveMetric"]["Value"]
    assert decision["champion"]["value"] == pytest.approx(trained, abs=1e-4)
    serving = sagemaker.describe_endpoint(EndpointName="churn-champion")["EndpointConfigName"]
    assert serving == champion["endpoint_config"]
