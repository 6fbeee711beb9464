"""The example DAG of the README, run by ``airflow dags test`` as a user would."""

from __future__ import annotations

import pytest

from airflow_automl.demo import dataset
from tests.integration.dags.conftest import World


def test_scheduled_retraining_deploys_a_model_that_answers(world: World) -> None:
    outcome = world.dags_test("scheduled_retraining", {"max_runtime": 40, "min_auc": 0.6})

    assert outcome.code == 0, outcome.log
    states = world.task_states("scheduled_retraining")
    steps = ["evaluate", "decide", "train", "gate", "deploy", "report"]
    assert states == dict.fromkeys([f"automl.{step}" for step in steps], "success")
    job = world.client("sagemaker").describe_auto_ml_job_v2(AutoMLJobName=world.newest_job())
    assert job["AutoMLJobStatus"] == "Completed"
    assert job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"] > 0.7
    endpoint = world.client("sagemaker").describe_endpoint(EndpointName="churn")
    assert endpoint["EndpointStatus"] == "InService"
    customers = dataset.load().test.head(3).drop(columns=dataset.TARGET)
    answer = world.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="churn", ContentType="text/csv", Accept="text/csv", Body=dataset.to_csv(customers, header=False)
    )
    rows = answer["Body"].read().decode().splitlines()
    assert [row.split(",")[0] in {"Yes", "No"} for row in rows] == [True] * 3
    reports = world.client("s3").list_objects_v2(Bucket=dataset.BUCKET, Prefix="churn/reports/")["Contents"]
    assert any(item["Key"].endswith(".html") and item["Size"] > 5_000 for item in reports)


@pytest.mark.slow
def test_the_next_run_keeps_a_model_that_is_as_good_as_it_was(world: World) -> None:
    jobs = world.client("sagemaker").list_auto_ml_jobs()["AutoMLJobSummaries"]
    if not any(job["AutoMLJobStatus"] == "Completed" for job in jobs):
        test_scheduled_retraining_deploys_a_model_that_answers(world)
    newest = world.newest_job()

    outcome = world.dags_test("scheduled_retraining", {"max_runtime": 40, "min_auc": 0.6})

    assert outcome.code == 0, outcome.log
    done, skipped = ["evaluate", "decide", "report"], ["train", "gate", "deploy"]
    assert world.task_states("scheduled_retraining") == {
        **{f"automl.{step}": "success" for step in done},
        **{f"automl.{step}": "skipped" for step in skipped},
    }
    assert world.newest_job() == newest
    assert "The model is kept, candidate" in outcome.log
    reports = world.client("s3").list_objects_v2(Bucket=dataset.BUCKET, Prefix="churn/reports/")["Contents"]
    last = max((each for each in reports if each["Key"].endswith(".html")), key=lambda each: each["LastModified"])
    page = world.client("s3").get_object(Bucket=dataset.BUCKET, Key=last["Key"])["Body"].read().decode()
    assert "The deployed model is kept" in page
