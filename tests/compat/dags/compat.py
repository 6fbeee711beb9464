"""DAGs that must work on every supported Airflow. Without test code: only the wheel is installed here."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_automl.contract import tabular
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLReportOperator,
)
from airflow_automl.retries import automl_retry_policy
from airflow_automl.sensors import SageMakerAutoMLJobSensor
from airflow_automl.triggers.event import SageMakerAutoMLEventTrigger

COMMON: dict[str, Any] = {
    "schedule": None,
    "start_date": datetime(2026, 1, 1),
    "is_paused_upon_creation": False,
    "default_args": {"retries": 2, "retry_delay": timedelta(seconds=1), "retry_policy": automl_retry_policy()},
}

with DAG("retraining", **COMMON):
    train = SageMakerAutoMLJobOperator(
        task_id="train",
        config=tabular(
            "s3://automl/compat/train/",
            output="s3://automl/out/",
            role="arn:aws:iam::123456789012:role/AutoMLExecutionRole",
            target="left",
            problem_type="BinaryClassification",
            objective="AUC",
            mode="ENSEMBLING",
            max_candidates=1,
            max_runtime=300,
        ),
        deferrable=True,
        poll_interval=1.0,
    )
    gate = SageMakerAutoMLGateOperator(task_id="good_enough", candidate=train.best_candidate, require={"AUC": 0.6})
    deploy = SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name="compat",
        instance_type="ml.m5.large",
        deferrable=True,
        poll_interval=1.0,
    )
    report = SageMakerAutoMLReportOperator(
        task_id="report", job=train.job, path="s3://automl/reports/{{ macros.automl.job_name(ti, 'train') }}/"
    )
    train >> gate >> deploy >> report.as_teardown()

SCRIPTED = {
    "AutoMLJobInputDataConfig": [
        {
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://automl/script/{{ dag_run.conf['script'] }}"}
            }
        }
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://automl/out/"},
    "RoleArn": "arn:aws:iam::123456789012:role/AutoMLExecutionRole",
    "AutoMLProblemTypeConfig": {
        "TabularJobConfig": {
            "TargetAttributeName": "y",
            "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": 3600},
        }
    },
}

for dag_id, deferrable in (("deferred", True), ("in_worker", False)):
    with DAG(dag_id, **COMMON):
        SageMakerAutoMLJobOperator(task_id="train", config=SCRIPTED, deferrable=deferrable, poll_interval=1.0)

with DAG("sensed", **COMMON):
    submit = SageMakerAutoMLJobOperator(task_id="train", config=SCRIPTED, wait_for_completion=False)
    SageMakerAutoMLJobSensor(task_id="rescheduled", job=submit.job, mode="reschedule", poke_interval=1.0)
    SageMakerAutoMLJobSensor(task_id="deferred", job=submit.job, deferrable=True, poke_interval=1.0)

watched = Asset(
    "watched",
    watchers=[
        AssetWatcher(name="jobs", trigger=SageMakerAutoMLEventTrigger(name_prefix="watched-", poll_interval=1.0))
    ],
)
with DAG("on_watched", **{**COMMON, "schedule": [watched], "max_active_runs": 10}):

    @task
    def names(*, triggering_asset_events: Any) -> list[str]:
        return [event.extra["payload"]["job"]["name"] for event in triggering_asset_events[watched]]

    names()
