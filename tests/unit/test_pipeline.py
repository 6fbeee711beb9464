"""The tasks that one call makes, their order, and what it leaves out."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, TaskGroup, task
from airflow.utils.dag_cycle_tester import check_cycle

from airflow_automl.contract import image_classification, tabular, text_generation, time_series
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.pipeline import automl_pipeline

CHURN = tabular("s3://acme-ml/churn/train/", target="churn", max_runtime=60)
SERIES = time_series(
    "s3://acme-ml/d/", target="y", timestamp="at", item_id="item", horizon=2, frequency="1D", max_runtime=60
)
ALL: dict[str, Any] = {
    "endpoint_name": "churn",
    "evaluation_data": "s3://acme-ml/churn/labelled/",
    "report_path": "s3://acme-ml/reports/",
}


def build(config: Any = CHURN, **settings: Any) -> DAG:
    with DAG("pipeline") as dag:
        automl_pipeline(config, **settings)
    check_cycle(dag)
    return dag


def steps(dag: DAG) -> list[str]:
    return [each.task_id.removeprefix("automl.") for each in dag.topological_sort() if not isinstance(each, TaskGroup)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["train"]),
        ({"report_path": "s3://r/"}, ["train", "report"]),
        ({"require": {"AUC": 0.8}}, ["train", "gate"]),
        ({"endpoint_name": "churn"}, ["train", "gate", "deploy"]),
        ({"endpoint_name": "churn", "retrain": {"max_age": 60}}, ["decide", "train", "gate", "deploy"]),
        (ALL, ["evaluate", "decide", "train", "challenger", "gate", "deploy", "report"]),
    ],
)
def test_omitted_arguments_omit_their_tasks(settings: dict[str, Any], expected: list[str]) -> None:
    assert steps(build(**settings)) == expected


@pytest.mark.parametrize(
    "config", [CHURN, SERIES, image_classification("s3://acme-ml/i/"), text_generation("s3://acme-ml/t/")]
)
def test_every_problem_type(config: Any) -> None:
    dag = build(config, **ALL)
    assert steps(dag) == ["evaluate", "decide", "train", "challenger", "gate", "deploy", "report"]
    assert dag.get_task("automl.train").config is config  # type: ignore[union-attr]


def test_with_validation_data_the_gate_sends_them_to_the_endpoint() -> None:
    config = tabular("s3://acme-ml/t/", validation="s3://acme-ml/v/", target="churn", max_runtime=60)
    dag = build(config, **ALL)
    assert "challenger" not in steps(dag)
    assert dag.get_task("automl.gate").champion_data == "s3://acme-ml/v/"  # type: ignore[union-attr]


def test_models_without_an_objective_are_compared_by_their_loss() -> None:
    dag = build(text_generation("s3://acme-ml/t/"), endpoint_name="assistant")
    assert dag.get_task("automl.gate").metric == "ValidationLoss"  # type: ignore[union-attr]
    assert build(endpoint_name="churn").get_task("automl.gate").metric is None  # type: ignore[union-attr]


def test_tasks_are_chained_and_the_report_is_a_teardown() -> None:
    dag = build(**ALL)
    found = {each.task_id: each.downstream_task_ids for each in dag.tasks}
    assert found["automl.decide"] == {"automl.train", "automl.report"}
    assert "automl.deploy" in found["automl.gate"]
    assert dag.get_task("automl.report").is_teardown
    assert dag.get_task("automl.train").deferrable  # type: ignore[union-attr]


def test_own_tasks_run_between() -> None:
    seen: dict[str, Any] = {}

    def approval(tasks: dict[str, Any]) -> Any:
        seen.update(tasks)
        return BaseOperator(task_id="approve")

    def checks(tasks: dict[str, Any]) -> list[Any]:
        return [BaseOperator(task_id="count"), BaseOperator(task_id="compare")]

    dag = build(before={"deploy": approval, "train": checks}, **ALL)
    assert set(seen) == {"evaluate", "decide", "train", "challenger", "gate"}
    assert dag.get_task("automl.approve").upstream_task_ids == {"automl.gate"}
    assert "automl.approve" in dag.get_task("automl.deploy").upstream_task_ids
    assert {"automl.count", "automl.compare"} <= dag.get_task("automl.train").upstream_task_ids
    # A decision to keep the model skips them too.
    assert {"automl.count", "automl.compare"} <= dag.get_task("automl.decide").downstream_task_ids
    assert "automl.train" not in dag.get_task("automl.decide").downstream_task_ids


def test_without_own_tasks_the_chain_holds() -> None:
    dag = build(before={"deploy": lambda tasks: []}, **ALL)
    # A gate that rejects skips what is directly downstream.
    assert "automl.deploy" in dag.get_task("automl.gate").downstream_task_ids


def test_options_reach_their_operator_and_common_arguments_all() -> None:
    dag = build(options={"deploy": {"instance_type": "ml.m5.large"}}, poll_interval=5, pool="automl", **ALL)
    deploy = dag.get_task("automl.deploy")
    assert (deploy.instance_type, deploy.poll_interval) == ("ml.m5.large", 5)  # type: ignore[union-attr]
    assert {each.pool for each in dag.tasks} == {"automl"}


def test_mapped_over_a_list_and_over_the_output_of_a_task() -> None:
    items = [{"config": CHURN, "endpoint_name": f"churn-{name}"} for name in ("at", "ch")]
    dag = build(None, over=items, report_path="s3://acme-ml/r/{{ ti.map_index }}/")
    assert steps(dag) == ["train", "gate", "deploy", "report"]

    with DAG("xcom") as dag:

        @task
        def segments() -> list[dict[str, Any]]:
            return items

        automl_pipeline(over=segments(), evaluation_data="s3://acme-ml/l/", group_id="segment")
    check_cycle(dag)
    assert [each for each in steps(dag) if each != "segments"] == [
        f"segment.{each}" for each in ("evaluate", "decide", "train", "challenger", "gate", "deploy")
    ]
    assert dag.get_task("segment.train").get_closest_mapped_task_group() is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"config": None}, "config: is not given"),
        ({"before": {"deply": print}}, "before: deply is unknown; did you mean deploy"),
        ({"options": {"gat": {}}}, "options: gat is unknown; did you mean gate"),
        ({"over": [{"config": CHURN}, {"config": CHURN, "endpoint_name": "x"}]}, "over: the dicts have different keys"),
        ({"over": [{"endpoint": "x"}]}, "over: endpoint is unknown; did you mean endpoint_name"),
    ],
)
def test_names_that_do_not_exist(settings: dict[str, Any], message: str) -> None:
    with DAG("wrong"), pytest.raises(AutoMLValidationError, match=message):
        automl_pipeline(**{"config": CHURN, **settings})
