"""Deploy whenever another DAG has trained a model: scheduled on the asset that the training task updates.

A job operator or sensor with ``outlets=[Asset("churn_model")]`` attaches the best candidate and the job to the
asset's event, so that this DAG does not depend on the one that trained. The events of an ``AssetWatcher`` with
``SageMakerAutoMLEventTrigger`` can be read in the same way.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, Param, get_current_context, task

from airflow_automl.compat import AirflowSkipException
from airflow_automl.operators import SageMakerAutoMLDeployOperator
from airflow_automl.retries import automl_retry_policy
from airflow_automl.xcom import documents_of

MODEL = Asset("churn_model")

with DAG(
    dag_id="deploy_on_new_model",
    description="Deploy every new churn model",
    schedule=[MODEL],
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={"endpoint_name": Param("churn-newest", type="string", title="Endpoint")},
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:

    @task(multiple_outputs=True)
    def new_model() -> dict[str, Any]:
        """The newest of the events that this run was made for: several may have come together, in any order."""
        newest = max(get_current_context()["triggering_asset_events"][MODEL], key=lambda event: event.timestamp)
        model = documents_of(newest)
        if not model["best_candidate"]:
            raise AirflowSkipException(f"The event of {newest.timestamp} brings no candidate")
        return model

    model = new_model()
    SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=model["best_candidate"],
        job=model["job"],
        endpoint_name="{{ params.endpoint_name }}",
        deferrable=True,
        poll_interval=5,
    )
