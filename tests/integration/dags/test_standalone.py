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
FORM = {"max_runtime_minutes": 5, "max_candidates": 2}
DAGS = [
    *("scheduled_retraining", "manual_automl", "v1_pipeline", "champion_challenger", "human_approval", "batch_scoring"),
    *("many_segments", "migrated_from_amazon_provider"),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One for each try: remains of a failed test would fail it again, and hide the reason."""
    # DAGs run with the defaults of their forms, which allow hours.
    with started(tmp_path / "world", AIRFLOW__AUTOML__MAX_RUNTIME="90") as world:
        yield world


@pytest.fixture
def airflow(world: World) -> Airflow:
    """All of Airflow: scheduler, executor and triggerer."""
    world.stack.start_airflow()
    return Airflow(world.stack)


def value(xcom: Any) -> Any:
    """An XCom as the API shows it: text, unless it is a scalar."""
    return json.loads(xcom) if isinstance(xcom, str) and xcom[:1] in "[{" else xcom


@pytest.fixture
def segments(world: World) -> list[str]:
    """Four folders of customers, each too small for more than one quick candidate."""
    s3, names = world.client("s3"), [f"segment-{number}" for number in range(4)]
    customers = dataset.load().train
    for number, name in enumerate(names):
        part = customers.sample(SEGMENT_ROWS, random_state=number)
        s3.put_object(Bucket=dataset.BUCKET, Key=f"segments/{name}/part-0.csv", Body=dataset.to_csv(part, header=True))
    return names


def test_the_examples_do_what_they_say(world: World, airflow: Airflow, segments: list[str]) -> None:
    """All DAGs at once, unless one needs the model of another."""
    sagemaker, s3 = world.client("sagemaker"), world.client("s3")
    for dag_id in DAGS:
        airflow.unpause(dag_id)

    # Four runs: the scheduler starts one, the gate rejects one, the service fails one, and one trains with V1.
    broken = airflow.trigger("manual_automl", {**FORM, "target": "no_such_column"})
    kept_back = airflow.trigger("manual_automl", {**FORM, "min_score": 0.9999, "endpoint_name": "never"})
    through_v1 = airflow.trigger(
        "manual_automl", {**FORM, "api_version": "V1", "problem_type": "BinaryClassification", "objective": "F1"}
    )
    scheduled = airflow.scheduled_run("scheduled_retraining")
    first = airflow.trigger("champion_challenger", {})
    v1 = airflow.trigger("v1_pipeline", {"max_candidates": 2, "min_auc": 0.5})
    approved = airflow.trigger("human_approval", {})
    rejected = airflow.trigger("human_approval", SMALL)
    many = airflow.trigger("many_segments", {**SMALL, "segments": segments})

    ends = airflow.follow([scheduled, kept_back, broken, through_v1, first])
    state, tasks = ends[scheduled]
    ends[scheduled] = state, {task.removeprefix("automl."): states for task, states in tasks.items()}
    for run in (scheduled, kept_back, broken, through_v1):
        state, tasks = ends[run]
        assert "deferred" in tasks["train"], (run, state, tasks)
        assert "success" in tasks["report"], (run, state, tasks)
    for run in (scheduled, kept_back, through_v1, first):
        assert ends[run][0] == "success", airflow.failures(run)
    assert ends[broken][0] == "failed", ends[broken]
    assert_failed(sagemaker, airflow, broken)
    assert all("success" in ends[scheduled][1][task] for task in ("train", "gate", "deploy")), ends[scheduled]
    assert "CandidateName" in str(airflow.xcom(scheduled, "automl.train", "return_value"))
    assert sagemaker.describe_endpoint(EndpointName="churn")["EndpointStatus"] == "InService"
    assert "skipped" in ends[kept_back][1]["deploy"]
    assert "skipped" in ends[through_v1][1]["deploy"]
    assert_trained_by_v1(sagemaker, airflow, through_v1)

    # From this time on, because the scheduled run has updated the same asset.
    airflow.unpause("deploy_on_new_model")
    migrated = airflow.trigger("migrated_from_amazon_provider", {**SMALL, "output": f"s3://{dataset.BUCKET}/automl/"})
    for run in (approved, rejected):
        question = airflow.question(run, "ask")
        assert question["options"] == ["Approve", "Reject"]
        best = value(airflow.xcom(run, "train", "return_value"))["CandidateName"]
        assert question["subject"] == f"Deploy {best}?"
        assert "| Candidate | AUC |" in question["body"]
        assert f"| `{best}` | 0." in question["body"]
    # Answer late: Airflow fails a task that is answered before the scheduler has recorded its question.
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
    seen = airflow.succeeded([v1, migrated, approved, rejected, many, second, deployed, scored])

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


def assert_failed(sagemaker: Any, airflow: Airflow, run: Run) -> None:
    """The error has the service's reason, and the task's log has the end of the trainer's log."""
    name = value(airflow.xcom(run, "train", "job"))["name"]
    assert "no_such_column" in sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name)["FailureReason"]
    assert f"The end of {name}/trainer in /aws/sagemaker/TrainingJobs" in airflow.log(run, "train")


def assert_trained_by_v1(sagemaker: Any, airflow: Airflow, run: Run) -> None:
    name = value(airflow.xcom(run, "train", "job"))["name"]
    described = sagemaker.describe_auto_ml_job(AutoMLJobName=name)
    assert described["AutoMLJobStatus"] == "Completed"
    assert described["AutoMLJobObjective"] == {"MetricName": "F1"}


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
    """The first candidate is deployed without a champion; the second one is trained alike, so it is not better."""
    decision = value(airflow.xcom(first, "beats_the_champion", "return_value"))
    assert decision["passed"]
    assert "there is no champion churn-champion yet" in decision["reason"]
    champion = value(airflow.xcom(first, "deploy", "return_value"))
    decision = value(airflow.xcom(second, "beats_the_champion", "return_value"))
    assert not decision["passed"], decision
    assert champion["candidate_name"] in decision["champion"]["name"]
    assert "scored now on 600 rows" in decision["champion"]["name"]
    # The champion's score through the endpoint equals the one that its job measured.
    trained = value(airflow.xcom(first, "challenger", "return_value"))["FinalAutoMLJobObjectiveMetric"]["Value"]
    assert decision["champion"]["value"] == pytest.approx(trained, abs=1e-4)
    serving = sagemaker.describe_endpoint(EndpointName="churn-champion")["EndpointConfigName"]
    assert serving == champion["endpoint_config"]
