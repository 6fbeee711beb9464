"""The example DAG of the README, run by ``airflow dags test`` as a user would."""

from __future__ import annotations

from airflow_automl.demo import dataset
from tests.integration.dags.conftest import World


def test_scheduled_retraining_deploys_a_model_that_answers(world: World) -> None:
    outcome = world.dags_test("scheduled_retraining", {"max_runtime": 40, "min_auc": 0.6})

    assert outcome.code == 0, outcome.log
    states = world.task_states("scheduled_retraining")
    assert states == dict.fromkeys(["train", "good_enough", "deploy", "report"], "success")
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
