"""A DAG with lineage."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.openlineage.utils.selective_enable import enable_lineage
from airflow.sdk import DAG

from airflow_automl.operators import SageMakerAutoMLJobOperator

with DAG("lineage", schedule=None, start_date=datetime(2026, 1, 1), is_paused_upon_creation=False) as dag:
    SageMakerAutoMLJobOperator(
        task_id="train",
        config={
            "AutoMLJobInputDataConfig": [
                {
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri": "s3://automl/script/phases,candidate-71,completed",
                        }
                    }
                }
            ],
            "OutputDataConfig": {"S3OutputPath": "s3://automl/out/"},
            "RoleArn": "arn:aws:iam::123456789012:role/AutoMLExecutionRole",
            "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "y"}},
        },
        deferrable=True,
        retries=30,
        retry_delay=timedelta(seconds=1),
        poll_interval=1.0,
    )
enable_lineage(dag)
