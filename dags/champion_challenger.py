"""Retrain when there is new data, and replace the deployed model only if the new one is better.

The first run deploys its candidate, because there is no champion yet. Later runs score the champion, through its
endpoint, on the rows that the challenger was measured on, so that both are compared on the same data.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Asset, Param

from airflow_automl.contract import tabular
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLReportOperator,
)
from airflow_automl.retries import automl_retry_policy

with DAG(
    dag_id="champion_challenger",
    description="Deploy a retrained model only if it beats the one that serves",
    schedule=[Asset("s3://acme-ml/churn/train/")],
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/churn", type="string", title="Folder with train/ and validation/"),
        "max_candidates": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=750,
            title="Most candidates",
            description="Leave it empty for the service's default.",
        ),
        "max_runtime": Param(7200, type="integer", minimum=30, title="Longest run of the job, in seconds"),
        "min_gain": Param(0.002, type="number", title="By how much AUC must grow"),
    },
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:
    challenger = SageMakerAutoMLJobOperator(
        task_id="challenger",
        config=tabular(
            "{{ params.data }}/train/",
            validation="{{ params.data }}/validation/",
            target="churn",
            problem_type="BinaryClassification",
            objective="AUC",
            mode="ENSEMBLING",
            max_candidates="{{ params.max_candidates }}",
            max_runtime="{{ params.max_runtime }}",
        ),
        wait_for_slot=timedelta(hours=12),
        deferrable=True,
        poll_interval=5,
    )
    gate = SageMakerAutoMLGateOperator(
        task_id="beats_the_champion",
        candidate=challenger.best_candidate,
        job=challenger.job,
        champion="churn-champion",
        champion_data="{{ params.data }}/validation/",
        min_gain="{{ params.min_gain }}",
    )
    deploy = SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=challenger.best_candidate,
        job=challenger.job,
        endpoint_name="churn-champion",
        # What the next challenger's gate needs to compute an AUC.
        response=["predicted_label", "probabilities", "labels"],
        deferrable=True,
        poll_interval=5,
    )
    report = SageMakerAutoMLReportOperator(
        task_id="report", job=challenger.job, path="{{ params.data }}/reports/{{ run_id }}/"
    )
    challenger >> gate >> deploy >> report.as_teardown()
