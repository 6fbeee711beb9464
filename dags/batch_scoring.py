"""Score new data when it arrives, with the newest model.

The DAG is scheduled on the asset of the data. The model comes from the last event of the model's asset. A producer that
writes to another folder each time names it in the extra of its event: ``{"path": "s3://…"}``.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, Param, get_current_context, task

from airflow_automl.compat import AirflowSkipException
from airflow_automl.operators import SageMakerAutoMLTransformOperator
from airflow_automl.retries import automl_retry_policy
from airflow_automl.xcom import documents_of

FOLDER = "s3://acme-ml/churn/new/"
NEW_DATA = Asset(FOLDER)
MODEL = Asset("churn_model")

with DAG(
    dag_id="batch_scoring",
    description="Score new customers with the newest churn model",
    schedule=[NEW_DATA],
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={"output": Param("s3://acme-ml/churn/scored", type="string", pattern="^s3://.+", title="Predictions")},
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def new_data() -> list[str]:
        """The addresses of the data, one for each event since the last run."""
        events = get_current_context()["triggering_asset_events"].get(NEW_DATA, [])
        return list(dict.fromkeys((event.extra or {}).get("path", FOLDER) for event in events)) or [FOLDER]

    @task(inlets=[MODEL], multiple_outputs=True)
    def newest_model() -> dict[str, Any]:
        """The model that was trained last, as its asset's event brought it."""
        events = get_current_context()["inlet_events"][MODEL]
        model = documents_of(events[-1]) if len(events) else {}
        if not model.get("best_candidate"):
            raise AirflowSkipException("No churn model has been trained yet")
        return model

    model = newest_model()
    SageMakerAutoMLTransformOperator.partial(
        task_id="score",
        candidate=model["best_candidate"],
        job=model["job"],
        output_path="{{ params.output }}/{{ run_id }}/{{ ti.map_index }}/",
        join=True,
        deferrable=True,
        poll_interval=5,
    ).expand(input_path=new_data())
