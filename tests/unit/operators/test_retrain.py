"""Whether the deployed model must be replaced, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, task, task_group
from airflow.utils.dag_cycle_tester import check_cycle

from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.operators import SageMakerAutoMLRetrainOperator
from tests.hosting import HostingStandIn
from tests.unit.operators.conftest import put_live
from tests.unit.operators.test_endpoint_scoring import JOB
from tests.unit.operators.test_gate_runs import RunDag, states

NOW = datetime.now(UTC)


@pytest.fixture
def live(hosting: HostingStandIn) -> HostingStandIn:
    """An endpoint with a model that is ten days old; its AUC was 0.85 at deployment."""
    hosting.jobs["churn-5a8e"] = {**JOB, "CreationTime": (NOW - timedelta(days=10)).timestamp()}
    put_live(hosting)
    return hosting


def evaluation(auc: float, low: float, high: float) -> dict[str, Any]:
    metrics = [{"StandardMetricName": "AUC", "Value": auc, "Set": "Test"}]
    metrics.append({"StandardMetricName": "LogLoss", "Value": 0.9, "Set": "Test"})
    return {
        "CandidateName": "c",
        "FinalAutoMLJobObjectiveMetric": {"MetricName": "AUC", "Value": auc},
        "CandidateProperties": {"CandidateMetrics": metrics},
        "intervals": {"AUC": [low, high], "LogLoss": [0.8, 1.0]},
        "rows": 500,
        "unit": "rows",
        "data": "s3://acme-ml/new/",
    }


def decide(context: dict[str, Any], **settings: Any) -> dict[str, Any]:
    operator = SageMakerAutoMLRetrainOperator(task_id="decide", endpoint_name="churn", dag=DAG("churn"), **settings)
    return operator.execute(context)


def test_the_first_run_trains(hosting: HostingStandIn, context: dict[str, Any]) -> None:
    decision = decide(context, evaluation=None, max_age=timedelta(days=1))
    assert decision["train"]
    assert decision["reason"] == "Training is needed: endpoint churn serves no model yet."


def test_a_misspelt_bound_is_reported_before_anything_is_deployed(
    hosting: HostingStandIn, context: dict[str, Any]
) -> None:
    with pytest.raises(AutoMLValidationError, match=r"AUC.mx is unknown; did you mean max\?"):
        decide(context, evaluation=None, require={"AUC": {"mx": 0.8}})


@pytest.mark.parametrize(
    ("settings", "train", "reason"),
    [
        ({"evaluation": evaluation(0.80, 0.77, 0.83)}, True, "against 0.85 at deployment is a drop of 0.05."),
        ({"evaluation": evaluation(0.80, 0.77, 0.83), "require": {}}, True, "is a drop of 0.05."),
        ({"evaluation": evaluation(0.80, 0.77, 0.83), "max_drop": "None"}, True, "is a drop of 0.05."),
        ({"evaluation": evaluation(0.80, 0.77, 0.83), "max_drop": ""}, True, "is a drop of 0.05."),
        ({"evaluation": evaluation(0.84, 0.81, 0.87)}, False, "is not a significant drop"),
        ({"evaluation": evaluation(0.86, 0.855, 0.87)}, False, "is not a drop"),
        ({"evaluation": evaluation(0.8, 0.7, 0.83), "max_drop": 0.06}, False, "is a drop of at most 0.06"),
        ({"evaluation": evaluation(0.8, 0.7, 0.83), "max_drop": "0.04"}, True, "a drop of 0.05 (at most 0.04)"),
        ({"evaluation": evaluation(0.85, 0.8, 0.9), "max_drop": {"log_loss": 0.1}}, True, "LogLoss 0.9 (0.8 to 1)"),
        ({"evaluation": evaluation(0.8, 0.7, 0.83), "require": {"AUC": 0.75}}, False, "AUC 0.8 is at least 0.75"),
        ({"evaluation": evaluation(0.7, 0.6, 0.9), "require": {"AUC": 0.75}}, True, "is below the required 0.75"),
        ({"max_age": timedelta(days=9)}, True, "the model is 10 days old (at most 9)"),
        ({"max_age": timedelta(days=11)}, False, "The model is kept, candidate churn-WeightedEnsemble-L2"),
        ({}, False, "there is no evaluation to judge its metrics by"),
    ],
)
def test_conditions(
    live: HostingStandIn, context: dict[str, Any], settings: dict[str, Any], train: bool, reason: str
) -> None:
    decision = decide(context, **settings)
    assert decision["train"] is train
    assert reason in decision["reason"]
    assert decision["reason"].count(". ") == 0


def test_new_data_require_training(
    live: HostingStandIn, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_automl.hooks.storage import Storage

    objects = {"s3://b/old": (700, NOW - timedelta(days=20)), "s3://b/new": (300, NOW - timedelta(days=1))}
    monkeypatch.setattr(Storage, "written", lambda self, prefix: objects)
    found = [decide(context, training_data="s3://b/", min_new_data=least) for least in (0.3, "0.31")]
    assert [each["train"] for each in found] == [True, False]
    assert "30% of the data at s3://b/ are newer than the model" in found[0]["reason"]
    with pytest.raises(AutoMLValidationError, match="min_new_data: is 20; expected a share from 0 to 1"):
        decide(context, training_data="s3://b/", min_new_data=20)
    with pytest.raises(AutoMLValidationError, match="min_new_data: is given, but no training_data"):
        SageMakerAutoMLRetrainOperator(task_id="decide", endpoint_name="churn", min_new_data=0.1)


def test_a_metric_that_was_not_recorded_is_named(live: HostingStandIn, context: dict[str, Any]) -> None:
    found = evaluation(0.8, 0.7, 0.83)
    found["CandidateProperties"]["CandidateMetrics"].append({"StandardMetricName": "Recall", "Value": 0.1})
    assert "Recall is not compared" in decide(context, evaluation=found, max_drop={"Recall": 0})["reason"]


@pytest.mark.parametrize(("wrong", "named"), [("tell", "'tell'"), (None, "None"), ({"to": "train"}, "{'to': 'train'}")])
def test_a_wrong_branch_is_an_import_error(wrong: Any, named: str) -> None:
    with DAG("wrong") as dag:
        decides = SageMakerAutoMLRetrainOperator(task_id="decide", endpoint_name="churn", on_keep=wrong)
        decides >> BaseOperator(task_id="train")
    with pytest.raises(AutoMLValidationError, match=f"on_keep: {named} is neither skip, nor a task"):
        check_cycle(dag)


@pytest.mark.slow
def test_in_a_mapped_group_each_decision_is_about_its_own_map_index(live: HostingStandIn, run_dag: RunDag) -> None:
    with DAG("retrain_mapped") as dag:

        @task
        def train() -> None:
            return None

        @task_group
        def segment(endpoint_name: str) -> None:
            decides = SageMakerAutoMLRetrainOperator(
                task_id="decide", endpoint_name=endpoint_name, max_age=timedelta(days=30)
            )
            decides >> train()

        segment.expand(endpoint_name=["churn", "none-yet"])
    assert states(run_dag(dag)) == {
        "decide[0]": "success",
        "decide[1]": "success",
        "train[0]": "skipped",
        "train[1]": "success",
    }
