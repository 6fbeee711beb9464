"""Forecast demand every week: train, judge, forecast all items in one batch, deploy, report.

The data is in long form: one row per item and day, with a promotion flag that is known in advance. Rows of the future
have an empty target. The gate compares the weighted quantile loss (lower is better). The forecasts of all items
come from batch transform, which scores whole files of whole series; the endpoint forecasts one item per request.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, Param

from airflow_automl.contract import time_series
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLReportOperator,
    SageMakerAutoMLTransformOperator,
)
from airflow_automl.retries import automl_retry_policy

with DAG(
    dag_id="demand_forecasting",
    description="Forecast every item's demand for the next two weeks",
    schedule="@weekly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/demand", type="string", title="Folder with history/"),
        "target": Param("demand", type="string", minLength=1, title="Column to forecast"),
        "timestamp": Param("date", type="string", minLength=1, title="Column of times"),
        "item": Param("item", type="string", minLength=1, title="Column that tells items apart"),
        "frequency": Param("1D", type="string", title="Time step", examples=["15min", "1H", "1D", "1W", "1M"]),
        "horizon": Param(14, type="integer", minimum=1, maximum=500, title="Steps to forecast"),
        "country": Param("US", type="string", minLength=2, maxLength=2, title="Whose holidays matter"),
        "algorithms": Param(
            ["arima", "cnn-qr", "deepar", "ets", "npts", "prophet"], type="array", minItems=1, title="Algorithms"
        ),
        "max_loss": Param(0.25, type="number", minimum=0, title="Largest weighted quantile loss that is accepted"),
        "max_runtime": Param(7200, type="integer", minimum=30, title="Longest run of the job, in seconds"),
    },
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:
    train = SageMakerAutoMLJobOperator(
        task_id="train",
        config=time_series(
            "{{ params.data }}/history/",
            target="{{ params.target }}",
            timestamp="{{ params.timestamp }}",
            item_id="{{ params.item }}",
            frequency="{{ params.frequency }}",
            horizon="{{ params.horizon }}",
            quantiles=["p10", "p50", "p90"],
            holidays="{{ params.country }}",
            algorithms="{{ params.algorithms }}",
            max_runtime="{{ params.max_runtime }}",
        ),
        wait_for_slot=timedelta(hours=12),
        deferrable=True,
        poll_interval=5,
    )
    gate = SageMakerAutoMLGateOperator(
        task_id="good_enough",
        candidate=train.best_candidate,
        require={"AverageWeightedQuantileLoss": "{{ params.max_loss }}"},
    )
    forecast = SageMakerAutoMLTransformOperator(
        task_id="forecast",
        candidate=train.best_candidate,
        job=train.job,
        input_path="{{ params.data }}/history/",
        output_path="{{ params.data }}/forecasts/{{ run_id }}/",
        deferrable=True,
    )
    deploy = SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name="demand",
        deferrable=True,
    )
    report = SageMakerAutoMLReportOperator(
        task_id="report",
        job=train.job,
        path="{{ params.data }}/reports/{{ run_id }}/",
    )
    # A teardown always runs, and does not decide whether the run succeeded: a failed training stays a failed run.
    train >> gate >> [forecast, deploy] >> report.as_teardown()
