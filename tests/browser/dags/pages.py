"""DAGs whose jobs follow the script in the configuration of the run; see ``tests/service/scripted_trainer.py``."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from airflow_automl.contract import tabular
from airflow_automl.operators import SageMakerAutoMLJobOperator


def request(script: str) -> dict[str, Any]:
    return tabular(f"s3://automl/script/{script}", target="y", mode="ENSEMBLING", max_runtime=3600)


TRAINING = "phases,candidate-71,candidate-78,candidate-76,candidate-83,begin,wait,candidate-91,completed"

with DAG("churn_models", schedule=None, params={"script": Param(TRAINING, type="string")}):
    SageMakerAutoMLJobOperator(task_id="train", config=request("{{ params.script }}"), deferrable=True, poll_interval=1)

with DAG("models_by_country", schedule=None):
    SageMakerAutoMLJobOperator.partial(task_id="train", deferrable=True, poll_interval=1).expand(
        config=[
            request("phases,candidate-64,completed"),
            request("phases,candidate-81,partial-ExplainabilityError,completed"),
        ]
    )
