"""Fine-tune a language model on your own questions and answers, and serve it as an assistant.

The data has two columns, ``input`` (the question) and ``output`` (the answer). The model is deployed if
its loss on held-out answers is low enough; the report shows answers before and after fine-tuning.

On the embedded Autopilot, ``airflow-automl local --model-dir DIR`` finds base models in ``DIR``; ``DIR/aliases.json``
replaces the model that is named here by a small one, so that the same file runs on AWS.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param

from airflow_automl.contract import text_generation
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLReportOperator,
)
from airflow_automl.retries import automl_retry_policy

with DAG(
    dag_id="fine_tuned_assistant",
    description="Fine-tune a language model and deploy it if it learned enough",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/assistant", type="string", title="Folder with train/"),
        "base_model": Param("Falcon7BInstruct", type="string", minLength=1, title="Base model"),
        "accept_eula": Param(
            False, type="boolean", title="I accept the base model's licence", description="Needed for gated models"
        ),
        "epochs": Param(3, type="integer", minimum=1, maximum=10, title="Passes over the data"),
        "learning_rate": Param(0.0005, type="number", minimum=0, maximum=1, title="Learning rate"),
        "max_loss": Param(2.5, type="number", minimum=0, title="Largest validation loss that is deployed"),
        "max_runtime": Param(14_400, type="integer", minimum=30, title="Longest run of the job, in seconds"),
    },
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:
    train = SageMakerAutoMLJobOperator(
        task_id="train",
        config=text_generation(
            "{{ params.data }}/train/",
            base_model="{{ params.base_model }}",
            accept_eula="{{ params.accept_eula }}",
            epoch_count="{{ params.epochs }}",
            learning_rate="{{ params.learning_rate }}",
            max_runtime="{{ params.max_runtime }}",
        ),
        wait_for_slot=timedelta(hours=12),
        deferrable=True,
        poll_interval=5,
    )
    gate = SageMakerAutoMLGateOperator(
        task_id="learned_enough",
        candidate=train.best_candidate,
        require={"ValidationLoss": "{{ params.max_loss }}"},
    )
    deploy = SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name="assistant",
        deferrable=True,
    )
    report = SageMakerAutoMLReportOperator(
        task_id="report",
        job=train.job,
        path="{{ params.data }}/reports/{{ run_id }}/",
    )
    # A teardown always runs, and does not decide whether the run succeeded: a failed training stays a failed run.
    train >> gate >> deploy >> report.as_teardown()
