"""Route tickets: train on tickets that people have routed, deploy, and route open ones.

The training data are CSV files with a column ``text`` and a column ``team``; open tickets are CSV files with the
text only and no header. Each file gets a file ``<name>.out`` with the team in each line.

In a shell with the variables of ``airflow-automl env``, ``python -m airflow_automl.demo.corpora tickets`` uploads 5,000
real reviews; the negative ones go to customer care.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Asset, Param

from airflow_automl.contract import text_classification
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLReportOperator,
    SageMakerAutoMLTransformOperator,
)
from airflow_automl.retries import automl_retry_policy

with DAG(
    dag_id="ticket_routing",
    description="Train a text classification, deploy it if it is good enough, and route the tickets that wait",
    schedule="@weekly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/tickets", type="string", pattern="^s3://.+", title="Has train/ and new/"),
        "max_runtime": Param(3600, type="integer", minimum=30, title="Longest run of the job, in seconds"),
        "min_accuracy": Param(0.75, type="number", minimum=0, maximum=1, title="Smallest accuracy that is deployed"),
    },
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:
    train = SageMakerAutoMLJobOperator(
        task_id="train",
        config=text_classification(
            "{{ params.data }}/train/",
            content="text",
            label="team",
            max_runtime="{{ params.max_runtime }}",
        ),
        wait_for_slot=timedelta(hours=12),
        deferrable=True,
        poll_interval=5,
        outlets=[Asset("ticket_model")],
    )
    gate = SageMakerAutoMLGateOperator(
        task_id="good_enough",
        candidate=train.best_candidate,
        require={"Accuracy": "{{ params.min_accuracy }}"},
    )
    deploy = SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name="ticket-routing",
        response=["predicted_label", "probability"],
        deferrable=True,
        poll_interval=5,
    )
    route = SageMakerAutoMLTransformOperator(
        task_id="route",
        candidate=train.best_candidate,
        job=train.job,
        input_path="{{ params.data }}/new/",
        output_path="{{ params.data }}/routed/{{ run_id }}/",
        deferrable=True,
        poll_interval=5,
    )
    report = SageMakerAutoMLReportOperator(
        task_id="report",
        job=train.job,
        path="{{ params.data }}/reports/{{ run_id }}/",
    )
    # A teardown always runs, and does not decide whether the run succeeded: a failed training stays a failed run.
    train >> gate >> [deploy, route] >> report.as_teardown()
