"""Sort images: train on folders of sorted images, deploy, and predict the class of unsorted ones.

The training data are PNG and JPEG files, with one folder per class. Each unsorted image gets a file ``<name>.out``
with its class.

In a shell with the variables of ``airflow-automl env``, ``python -m airflow_automl.demo.corpora digits`` uploads 1,797
handwritten digits.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Asset, Param

from airflow_automl.contract import image_classification
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLReportOperator,
    SageMakerAutoMLTransformOperator,
)
from airflow_automl.retries import automl_retry_policy

with DAG(
    dag_id="image_sorting",
    description="Train an image classification, deploy it if it is good enough, and sort the images that wait",
    schedule="@weekly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/digits", type="string", pattern="^s3://.+", title="Has train/ and unsorted/"),
        "max_runtime": Param(3600, type="integer", minimum=30, title="Longest run of the job, in seconds"),
        "min_accuracy": Param(0.9, type="number", minimum=0, maximum=1, title="Smallest accuracy that is deployed"),
    },
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:
    train = SageMakerAutoMLJobOperator(
        task_id="train",
        config=image_classification("{{ params.data }}/train/", max_runtime="{{ params.max_runtime }}"),
        wait_for_slot=timedelta(hours=12),
        deferrable=True,
        poll_interval=5,
        outlets=[Asset("digit_model")],
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
        endpoint_name="digits",
        response=["predicted_label", "probability"],
        deferrable=True,
        poll_interval=5,
    )
    sort = SageMakerAutoMLTransformOperator(
        task_id="sort",
        candidate=train.best_candidate,
        job=train.job,
        input_path="{{ params.data }}/unsorted/",
        output_path="{{ params.data }}/sorted/{{ run_id }}/",
        deferrable=True,
        poll_interval=5,
    )
    report = SageMakerAutoMLReportOperator(
        task_id="report",
        job=train.job,
        path="{{ params.data }}/reports/{{ run_id }}/",
    )
    # A teardown always runs, and does not decide whether the run succeeded: a failed training stays a failed run.
    train >> gate >> [deploy, sort] >> report.as_teardown()
