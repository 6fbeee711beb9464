"""A task of the amazon provider's ``SageMakerAutoMLOperator``, migrated to this package with all its parameters.

The comment on each line names the old parameter. ``docs/migration.md`` compares the two.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, Asset, Param

from airflow_automl.contract import deployment, job_v1
from airflow_automl.operators import SageMakerAutoMLJobOperator
from airflow_automl.retries import automl_retry_policy

with DAG(
    dag_id="migrated_from_amazon_provider",
    description="The amazon provider's SageMakerAutoMLOperator, before and after",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/churn/train/", type="string", pattern="^s3://.+", title="Training data"),
        "output": Param("s3://acme-ml/automl/", type="string", pattern="^s3://.+", title="Where results go"),
        "role": Param("arn:aws:iam::123456789012:role/automl", type="string", title="The job's role"),
        "max_candidates": Param(20, type="integer", minimum=1, maximum=750, title="Most candidates"),
        "max_runtime": Param(7200, type="integer", minimum=30, title="Longest run of the job, in seconds"),
    },
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:
    SageMakerAutoMLJobOperator(
        task_id="train",
        config=job_v1(
            # job_name="churn-{{ ds_nodash }}": left out, so that a retry finds its job and a clear trains again
            "{{ params.data }}",  # s3_input
            target="churn",  # target_attribute
            output="{{ params.output }}",  # s3_output; better in the AWS connection's extra "automl"
            role="{{ params.role }}",  # role_arn; better there too
            # compressed_input=True: compression="Gzip"
            max_runtime="{{ params.max_runtime }}",  # time_limit
            # autodeploy_endpoint_name. This makes a new endpoint; SageMakerAutoMLDeployOperator also updates one.
            deployment=deployment("churn-migrated"),
            # extras: whatever else the request can say
            problem_type="BinaryClassification",
            objective="AUC",
            mode="HYPERPARAMETER_TUNING",
            max_candidates="{{ params.max_candidates }}",
        ),
        wait_for_completion=True,  # the same
        poll_interval=5,  # check_interval
        aws_conn_id="aws_default",  # the same, as are region_name, verify and botocore_config
        # New: the wait holds no worker, and the best candidate travels with the asset's event.
        deferrable=True,
        outlets=[Asset("churn_model")],
    )
