"""Retrain a churn model every week if it is needed: evaluate, decide, train, judge, deploy, report.

The first run trains, because nothing is deployed yet. Later runs score the deployed model on the newest labelled
rows and train only if it has become worse. The role, the output path and other account settings come from
the AWS connection (its extra's ``automl`` key), so the same file runs on the embedded Autopilot and on AWS.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, Asset, Param

from airflow_automl.contract import tabular
from airflow_automl.pipeline import automl_pipeline
from airflow_automl.retries import automl_retry_policy

with DAG(
    dag_id="scheduled_retraining",
    description="Retrain the churn model if it has become worse, and deploy it if it is good enough",
    schedule="@weekly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/churn", type="string", title="Folder with train/, validation/ and labelled/"),
        "max_runtime": Param(7200, type="integer", minimum=30, title="Longest run of the job, in seconds"),
        "min_auc": Param(0.80, type="number", minimum=0, maximum=1, title="Smallest AUC that is deployed"),
    },
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:
    automl_pipeline(
        tabular(
            "{{ params.data }}/train/",
            validation="{{ params.data }}/validation/",
            target="churn",
            problem_type="BinaryClassification",
            objective="AUC",
            mode="ENSEMBLING",
            max_runtime="{{ params.max_runtime }}",
        ),
        endpoint_name="churn",
        evaluation_data="{{ params.data }}/labelled/",
        report_path="{{ params.data }}/reports/{{ run_id }}/",
        require={"AUC": "{{ params.min_auc }}"},
        options={"train": {"outlets": [Asset("churn_model")]}},
        poll_interval=5,
    )
