"""Train a model on any table from Airflow's trigger form.

Fill in where the data lies and which column to predict; everything else has a default. Leave the endpoint's name
empty to train and report only.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Param, get_current_context, task

from airflow_automl.contract import job_v1, tabular
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLReportOperator,
)
from airflow_automl.retries import automl_retry_policy

PROBLEM_TYPES = ["BinaryClassification", "MulticlassClassification", "Regression"]
OBJECTIVES = [
    *("Accuracy", "AUC", "BalancedAccuracy", "F1", "F1macro", "Precision", "PrecisionMacro", "Recall", "RecallMacro"),
    *("MAE", "MSE", "R2", "RMSE"),
]

with DAG(
    dag_id="manual_automl",
    description="Train, judge, deploy and report a model from a form",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "api_version": Param(
            "V2", type="string", enum=["V1", "V2"], title="API version", description="CreateAutoMLJob or …V2"
        ),
        "data": Param(
            "s3://acme-ml/churn/train/",
            type="string",
            pattern="^s3://.+",
            title="Training data",
            description="An S3 folder or file: CSV with a header, or Parquet",
        ),
        "target": Param("churn", type="string", minLength=1, title="Target", description="The column to predict"),
        "problem_type": Param(
            None,
            type=["null", "string"],
            enum=[None, *PROBLEM_TYPES],
            title="Problem type",
            description="Empty: Autopilot infers it from the target. Set it together with the objective.",
        ),
        "objective": Param(
            None,
            type=["null", "string"],
            enum=[None, *OBJECTIVES],
            title="Objective",
            description="The metric to optimise. Empty: the problem type's default.",
        ),
        "mode": Param("ENSEMBLING", type="string", enum=["AUTO", "ENSEMBLING", "HYPERPARAMETER_TUNING"], title="Mode"),
        "max_candidates": Param(
            None, type=["null", "integer"], minimum=1, maximum=750, title="Most candidates", description="Empty: AWS's"
        ),
        "max_runtime_minutes": Param(60, type="integer", minimum=1, title="Longest run of the job, in minutes"),
        "min_score": Param(
            None,
            type=["null", "number"],
            title="Worst acceptable score",
            description="Of the objective; a smaller error or a higher score passes. Empty: anything passes.",
        ),
        "endpoint_name": Param(
            None,
            type=["null", "string"],
            pattern="^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$",
            title="Endpoint",
            description="Deploy the best candidate here. Empty: do not deploy.",
        ),
        "report_path": Param("s3://acme-ml/reports/", type="string", title="Folder for the report"),
        "request": Param(
            None,
            type=["null", "object"],
            title="Whole request",
            description="CreateAutoMLJobV2 in AWS's own keys, for any problem type, instead of all fields that "
            "describe the training. Empty: the fields.",
        ),
    },
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def configure() -> dict[str, Any]:
        """The request for AWS, from the form's answers."""
        params = get_current_context()["params"]
        if params["request"]:
            return params["request"]
        build = job_v1 if params["api_version"] == "V1" else tabular
        return build(
            params["data"],
            target=params["target"],
            problem_type=params["problem_type"],
            objective=params["objective"],
            mode=params["mode"],
            max_candidates=params["max_candidates"],
            max_runtime=timedelta(minutes=params["max_runtime_minutes"]),
        )

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def deployment_wanted() -> bool:
        """Whether the form names an endpoint."""
        return bool(get_current_context()["params"]["endpoint_name"])

    train = SageMakerAutoMLJobOperator(task_id="train", config=configure(), deferrable=True, poll_interval=5)
    gate = SageMakerAutoMLGateOperator(
        task_id="good_enough",
        candidate=train.best_candidate,
        require="{{ {'objective': params.min_score} if params.min_score is not none else {} }}",
    )
    deploy = SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name="{{ params.endpoint_name }}",
        deferrable=True,
    )
    report = SageMakerAutoMLReportOperator(
        task_id="report",
        job=train.job,
        path="{{ params.report_path }}{{ run_id }}/",
    )
    # A teardown always runs, and does not decide whether the run succeeded: a failed training stays a failed run.
    train >> gate >> deployment_wanted() >> deploy >> report.as_teardown()
