"""Every task after training, each failing once after each of its calls.

The job exists already (``params.job``). These tasks must not create any resource twice.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG

from airflow_automl.operators import (
    SageMakerAutoMLApproveOperator,
    SageMakerAutoMLCandidatesOperator,
    SageMakerAutoMLDeleteEndpointOperator,
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLRegisterOperator,
    SageMakerAutoMLReportOperator,
    SageMakerAutoMLRollbackOperator,
    SageMakerAutoMLTransformOperator,
)


def interrupted(operator: type) -> type:
    """Make an operator fail once right after each of the hosting operations that it calls was answered."""

    class Interrupted(operator):  # type: ignore[misc, valid-type]
        def execute(self, context: Any) -> Any:
            self.interrupt(Path(context["params"]["reports"]))
            return super().execute(context)

        def interrupt(self, folder: Path) -> None:
            call = self.hook.call

            def interrupting(operation: str, **request: Any) -> Any:
                answer = call(operation, **request)
                mark = folder / f"{self.task_id}.{operation}"
                if not mark.exists():
                    mark.touch()
                    raise ConnectionError(f"interrupted after {operation}")
                return answer

            self.hook.call = interrupting

    Interrupted.__name__ = operator.__name__
    return Interrupted


with DAG(
    dag_id="downstream",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    default_args={"retries": 25, "retry_delay": timedelta(0), "poll_interval": 0.5},
    params={
        "job": "job",
        "failed_job": "failed",
        "input": "s3://bucket/new/",
        "out": "s3://bucket/",
        "reports": "/tmp",
    },
) as dag:
    job: dict[str, Any] = {"job_name": "{{ params.job }}"}
    passes = SageMakerAutoMLGateOperator(task_id="passes", **job, require={"objective": 0.5}, champion="downstream")
    first = interrupted(SageMakerAutoMLDeployOperator)(
        task_id="first", **job, endpoint_name="downstream", response=["predicted_label", "probability"]
    )
    rejects = SageMakerAutoMLGateOperator(
        task_id="rejects", **job, champion="downstream", min_gain=0.001, on_reject="second", retries=0
    )
    never = SageMakerAutoMLReportOperator(task_id="never", **job, path="{{ params.reports }}/never/")
    second = interrupted(SageMakerAutoMLDeployOperator)(
        task_id="second", **job, endpoint_name="downstream", instance_type="ml.c5.large"
    )
    back = interrupted(SageMakerAutoMLRollbackOperator)(task_id="back", endpoint_name="downstream")
    delete = interrupted(SageMakerAutoMLDeleteEndpointOperator)(task_id="delete", endpoint_name="downstream")
    passes >> first >> rejects >> [never, second]
    second >> back >> delete

    board = SageMakerAutoMLCandidatesOperator(task_id="board", **job, limit=2)
    score = interrupted(SageMakerAutoMLTransformOperator)(
        task_id="score", **job, input_path="{{ params.input }}", output_path="{{ params.out }}scored/"
    )
    register = interrupted(SageMakerAutoMLRegisterOperator)(task_id="register", **job, group="downstream")
    SageMakerAutoMLApproveOperator(task_id="approve", model_package=register.output)
    SageMakerAutoMLReportOperator(task_id="report", **job, path="{{ params.out }}reports/{{ run_id }}/")
    SageMakerAutoMLReportOperator(
        task_id="report_failed", job_name="{{ params.failed_job }}", path="{{ params.reports }}/failed/"
    )
