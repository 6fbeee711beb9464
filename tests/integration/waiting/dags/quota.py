"""Any number of mapped tasks against an account's quota."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_automl.operators import SageMakerAutoMLJobOperator

with DAG("quota", schedule=None, start_date=datetime(2026, 1, 1), is_paused_upon_creation=False, max_active_tasks=2000):

    @task
    def configs(*, dag_run: Any) -> list[dict[str, Any]]:
        return [
            {
                "AutoMLJobInputDataConfig": [
                    {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://data/{number}/"}}}
                ],
                "OutputDataConfig": {"S3OutputPath": "s3://out/"},
                "RoleArn": "arn:aws:iam::123456789012:role/automl",
                "AutoMLProblemTypeConfig": {
                    "TabularJobConfig": {
                        "TargetAttributeName": "y",
                        "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": 3600},
                    }
                },
            }
            for number in range(dag_run.conf["tasks"])
        ]

    SageMakerAutoMLJobOperator.partial(
        task_id="train",
        aws_conn_id="account",
        deferrable=True,
        poll_interval=1.0,
        wait_for_slot=timedelta(days=1),
        # A late scheduler fails a task that has already been resumed; the retry finds the completed job.
        retries=2,
        retry_delay=timedelta(seconds=1),
    ).expand(config=configs())
