"""Train only if the deployed model has become worse or old, one operator for each step.

The tasks of ``airflow_automl.pipeline.automl_pipeline``, written out, for pipelines that need something else: this one
sends a message if the model is kept. The new model is scored on the same labelled rows as the deployed one, by a batch
transform.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Param, task

from airflow_automl.contract import tabular
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLEvaluateOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLRetrainOperator,
)
from airflow_automl.retries import automl_retry_policy

LABELLED = "{{ params.data }}/labelled/"

with DAG(
    dag_id="retrain_when_needed",
    description="Retrain a churn model if it has become worse or is 90 days old",
    schedule="@weekly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/churn", type="string", title="Folder with train/ and labelled/"),
        "endpoint_name": Param("churn", type="string", title="Endpoint"),
        "max_drop": Param(0.01, type="number", minimum=0, title="By how much AUC may fall"),
        "max_runtime": Param(7200, type="integer", minimum=30, title="Longest run of the job, in seconds"),
    },
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:
    evaluate = SageMakerAutoMLEvaluateOperator(
        task_id="evaluate", endpoint_name="{{ params.endpoint_name }}", data=LABELLED
    )
    decide = SageMakerAutoMLRetrainOperator(
        task_id="decide",
        endpoint_name="{{ params.endpoint_name }}",
        evaluation=evaluate.output,
        max_drop="{{ params.max_drop }}",
        max_age=timedelta(days=90),
        on_keep="tell",
    )
    train = SageMakerAutoMLJobOperator(
        task_id="train",
        config=tabular(
            "{{ params.data }}/train/",
            target="churn",
            problem_type="BinaryClassification",
            objective="AUC",
            mode="ENSEMBLING",
            max_runtime="{{ params.max_runtime }}",
        ),
        deferrable=True,
        poll_interval=5,
    )
    challenger = SageMakerAutoMLEvaluateOperator(
        task_id="challenger",
        candidate=train.best_candidate,
        job=train.job,
        data=LABELLED,
        deferrable=True,
        poll_interval=5,
    )
    better = SageMakerAutoMLGateOperator(
        task_id="better",
        candidate=train.best_candidate,
        evaluation=challenger.output,
        champion="{{ params.endpoint_name }}",
        champion_evaluation=evaluate.output,
    )
    deploy = SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name="{{ params.endpoint_name }}",
        response="all",
        deferrable=True,
        poll_interval=5,
    )

    @task
    def tell(decision: dict[str, Any]) -> str:
        """The message; pass it to your notifier."""
        return str(decision["reason"])

    evaluate >> decide >> train >> challenger >> better >> deploy
    tell(decide.output)
