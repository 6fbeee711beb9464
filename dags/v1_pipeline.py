"""Train through the first version of the API (CreateAutoMLJob), and deploy its pipeline of containers.

HYPERPARAMETER_TUNING trains candidates of several containers: one prepares the columns, one predicts, and for
classifiers one names the classes. They are deployed and registered together.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Param, task

from airflow_automl.contract import job_v1
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobV1Operator,
    SageMakerAutoMLRegisterOperator,
    SageMakerAutoMLReportOperator,
)
from airflow_automl.retries import automl_retry_policy

with DAG(
    dag_id="v1_pipeline",
    description="CreateAutoMLJob (V1) by hyperparameter tuning, served as a pipeline of containers",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/churn", type="string", title="Folder with train/ and validation/"),
        "max_candidates": Param(30, type="integer", minimum=1, maximum=750, title="Most training jobs"),
        "max_runtime": Param(14400, type="integer", minimum=30, title="Longest run of the job, in seconds"),
        "min_auc": Param(0.75, type="number", minimum=0, maximum=1, title="Smallest AUC that is deployed"),
    },
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:
    train = SageMakerAutoMLJobV1Operator(
        task_id="train",
        config=job_v1(
            "{{ params.data }}/train/",
            validation="{{ params.data }}/validation/",
            target="churn",
            problem_type="BinaryClassification",
            objective="AUC",
            mode="HYPERPARAMETER_TUNING",
            max_candidates="{{ params.max_candidates }}",
            max_runtime="{{ params.max_runtime }}",
        ),
        wait_for_slot=timedelta(hours=12),
        deferrable=True,
        poll_interval=5,
    )
    gate = SageMakerAutoMLGateOperator(
        task_id="good_enough", candidate=train.best_candidate, require={"AUC": "{{ params.min_auc }}"}
    )
    deploy = SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name="churn-v1",
        response=["predicted_label", "probability"],
        deferrable=True,
        poll_interval=5,
    )
    register = SageMakerAutoMLRegisterOperator(
        task_id="register", candidate=train.best_candidate, job=train.job, group="churn-v1"
    )

    @task
    def containers(candidate: dict[str, Any]) -> list[str]:
        """The images that answer one after another; any task can read the candidate in AWS's own keys."""
        return [container["Image"] for container in candidate["InferenceContainers"]]

    report = SageMakerAutoMLReportOperator(
        task_id="report", job=train.job, path="{{ params.data }}/reports/{{ run_id }}/"
    )
    train >> gate >> [deploy, register, containers(train.best_candidate)] >> report.as_teardown()
