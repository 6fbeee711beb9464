"""The example DAG of the README, run by ``airflow dags test`` as a user would."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_automl.demo import dataset, examples
from tests.integration.dags.conftest import DAGS, World

#: Other tests run these with the defaults of their forms: ``test_standalone.py``, and the first one here. What needs
#: weights of its own, or a day, runs with other values: ``test_fine_tuned_assistant.py``, and the last one here.
ELSEWHERE = {
    *("scheduled_retraining", "champion_challenger", "human_approval", "batch_scoring", "deploy_on_new_model"),
    *("fine_tuned_assistant", "ab_test"),
}


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
def test_the_next_run_keeps_a_model_that_is_as_good_as_before(world: World) -> None:
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


@pytest.mark.slow
def test_a_model_is_replaced_only_by_one_that_is_better_on_the_same_rows(world: World) -> None:
    conf = {"max_runtime": 40, "endpoint_name": "churn-needed"}
    outcome = world.dags_test("retrain_when_needed", conf)

    assert outcome.code == 0, outcome.log
    steps = ["evaluate", "decide", "train", "challenger", "better", "deploy"]
    assert world.task_states("retrain_when_needed") == {**dict.fromkeys(steps, "success"), "tell": "skipped"}

    outcome = world.dags_test("retrain_when_needed", {**conf, "max_drop": 1})

    assert outcome.code == 0, outcome.log
    assert world.task_states("retrain_when_needed") == {
        **dict.fromkeys(["evaluate", "decide", "tell"], "success"),
        **dict.fromkeys(["train", "challenger", "better", "deploy"], "skipped"),
    }


@pytest.mark.slow
def test_a_challenger_gets_a_share_of_the_traffic_and_is_promoted_or_removed(world: World) -> None:
    sagemaker = world.client("sagemaker")
    if not any(each["EndpointName"] == "churn-needed" for each in sagemaker.list_endpoints()["Endpoints"]):
        world.dags_test("retrain_when_needed", {"max_runtime": 40, "endpoint_name": "churn-needed"})
    before = sagemaker.describe_endpoint(EndpointName="churn-needed")["EndpointConfigName"]

    outcome = world.dags_test("ab_test", {"max_runtime": 40, "endpoint_name": "churn-needed", "hours": 0})

    assert outcome.code == 0, outcome.log
    states = world.task_states("ab_test")
    assert {states["promote"], states["remove"]} == {"success", "skipped"}
    assert all(states[task] == "success" for task in states if task not in {"promote", "remove"})
    after = sagemaker.describe_endpoint(EndpointName="churn-needed")["EndpointConfigName"]
    assert (after == before) is (states["remove"] == "success")
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=after)["ProductionVariants"]
    assert len(variants) == 1


@pytest.fixture(scope="module")
def prepared(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example DAGs that run in this environment, their data uploaded, as ``airflow-automl demo --ui`` does."""
    folder = tmp_path_factory.mktemp("examples") / "dags"
    examples.choose(DAGS, folder)
    examples.upload(world.client("s3"), dataset.load(), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("dag_id", sorted({path.stem for path in DAGS.glob("*.py")} - ELSEWHERE))
def test_a_dag_runs_with_the_defaults_of_its_form(
    world: World, prepared: Path, monkeypatch: pytest.MonkeyPatch, dag_id: str
) -> None:
    if not (prepared / f"{dag_id}.py").exists():
        pytest.skip("needs an extra that is not installed")
    # The defaults allow hours. A job that reaches its limit does not deploy its model.
    monkeypatch.setitem(world.stack.environment, "AIRFLOW__AUTOML__MAX_RUNTIME", "300")

    # The ten jobs of many_segments run one after the other here.
    outcome = world.dags_test(dag_id, {}, within=1800)

    assert outcome.code == 0, outcome.log
    states = world.task_states(dag_id)
    # A mapped task has its index beside its id.
    assert {state for task, state in states.items() if task.startswith("train")} == {"success"}, states
    assert set(states.values()) <= {"success", "skipped"}, states
