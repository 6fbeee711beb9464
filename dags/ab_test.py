"""Try a challenger on real traffic: a second variant with a tenth of the requests, promoted or removed after a day.

The challenger is deployed beside the current model. After a day, both variants are evaluated through the endpoint on
the rows that were labelled since, and the better one gets all of the traffic.
"""

from __future__ import annotations

import pendulum
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import DAG, Param, get_current_context, task

from airflow_automl.compat import AirflowSkipException
from airflow_automl.contract import tabular
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLEvaluateOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLRollbackOperator,
)
from airflow_automl.retries import automl_retry_policy

ENDPOINT = "{{ params.endpoint_name }}"

with DAG(
    dag_id="ab_test",
    description="Give a challenger a tenth of the traffic for a day, then promote or remove it",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    max_active_runs=1,
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/churn", type="string", title="Folder with train/, validation/ and labelled/"),
        "endpoint_name": Param("churn", type="string", title="Endpoint that serves the champion"),
        "hours": Param(24, type="number", minimum=0, title="How long the challenger gets traffic, in hours"),
        "share": Param(0.1, type="number", minimum=0.01, maximum=0.99, title="Its share of the traffic"),
        "max_runtime": Param(7200, type="integer", minimum=30, title="Longest run of the job, in seconds"),
    },
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def champion() -> str:
        """The model that serves now."""
        from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

        hook, name = SageMakerAutoMLDeploymentHook(), get_current_context()["params"]["endpoint_name"]
        endpoint = hook.describe_endpoint(name)
        if endpoint is None:
            raise AirflowSkipException(f"Endpoint {name} does not exist, so there is no champion to challenge")
        config = hook.describe_endpoint_config(endpoint["EndpointConfigName"]) or {}
        return str(config["ProductionVariants"][0]["ModelName"])

    serving = champion()
    train = SageMakerAutoMLJobOperator(
        task_id="train",
        config=tabular(
            "{{ params.data }}/train/",
            validation="{{ params.data }}/validation/",
            target="churn",
            problem_type="BinaryClassification",
            objective="AUC",
            mode="ENSEMBLING",
            max_runtime="{{ params.max_runtime }}",
        ),
        deferrable=True,
        poll_interval=5,
    )
    share = SageMakerAutoMLDeployOperator(
        task_id="share_the_traffic",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name=ENDPOINT,
        variants=[
            {
                "VariantName": "champion",
                "ModelName": "{{ ti.xcom_pull('champion') }}",
                "InitialVariantWeight": "{{ 1 - params.share }}",
            },
            {"VariantName": "challenger", "InitialVariantWeight": "{{ params.share }}"},
        ],
        response="all",
        deferrable=True,
        poll_interval=5,
    )
    a_day = DateTimeSensorAsync(
        task_id="a_day", target_time="{{ (ti.start_date + macros.timedelta(hours=params.hours)).isoformat() }}"
    )
    champion_score, challenger_score = (
        SageMakerAutoMLEvaluateOperator(
            task_id=f"evaluate_{variant}",
            endpoint_name=ENDPOINT,
            variant=variant,
            data="{{ params.data }}/labelled/",
        )
        for variant in ("champion", "challenger")
    )
    better = SageMakerAutoMLGateOperator(
        task_id="better",
        candidate=train.best_candidate,
        evaluation=challenger_score.output,
        champion=ENDPOINT,
        champion_evaluation=champion_score.output,
        on_reject="remove",
    )
    promote = SageMakerAutoMLDeployOperator(
        task_id="promote",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name=ENDPOINT,
        response="all",
        deferrable=True,
        poll_interval=5,
    )
    remove = SageMakerAutoMLRollbackOperator(task_id="remove", endpoint_name=ENDPOINT, deferrable=True, poll_interval=5)
    serving >> train >> share >> a_day >> [champion_score, challenger_score] >> better >> [promote, remove]
