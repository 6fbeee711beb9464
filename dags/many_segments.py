"""Train one model for each of many segments, all at once (dynamic task mapping).

The first task makes one request for each segment; ``train`` is mapped over them. All mapped tasks wait in the triggerer
and share one watcher, so that ten jobs need about as many calls as one. An AWS account runs few AutoML jobs at a time:
tasks wait, deferred, for a free slot (``wait_for_slot``).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Param, get_current_context, task

from airflow_automl.contract import metrics, tabular
from airflow_automl.operators import SageMakerAutoMLJobOperator
from airflow_automl.retries import automl_retry_policy

SEGMENTS = ["north", "south", "east", "west", "online", "retail", "wholesale", "students", "families", "seniors"]

with DAG(
    dag_id="many_segments",
    description="One AutoML job for each segment of the customers",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/segments", type="string", title="Folder with one folder for each segment"),
        "segments": Param(SEGMENTS, type="array", minItems=1, title="Segments"),
        "max_candidates": Param(20, type="integer", minimum=1, maximum=750, title="Most candidates of each job"),
        "max_runtime": Param(3600, type="integer", minimum=30, title="Longest run of each job, in seconds"),
    },
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def configs() -> list[dict[str, Any]]:
        """One request for each segment; role and output path come from the AWS connection."""
        params = get_current_context()["params"]
        return [
            tabular(
                f"{params['data']}/{segment}/",
                target="churn",
                problem_type="BinaryClassification",
                objective="AUC",
                mode="HYPERPARAMETER_TUNING",
                max_candidates=params["max_candidates"],
                max_runtime=params["max_runtime"],
                tags={"segment": segment},
            )
            for segment in params["segments"]
        ]

    train = SageMakerAutoMLJobOperator.partial(
        task_id="train",
        wait_for_slot=timedelta(hours=24),
        deferrable=True,
        poll_interval=5,
        map_index_template="{{ task.config['Tags'][0]['Value'] }}",
    ).expand(config=configs())

    @task
    def scores(candidates: list[dict[str, Any]]) -> dict[str, float | None]:
        """The best score of each segment, the hardest to predict first."""
        segments = get_current_context()["params"]["segments"]
        found = {name: metrics.objective_value(best) for name, best in zip(segments, candidates, strict=True)}
        return dict(sorted(found.items(), key=lambda each: each[1] or 0.0))

    scores(train.output)
