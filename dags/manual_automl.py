"""Train a model on any table from Airflow's trigger form.

Fill in the address of the data and the column to predict; everything else has a default. Leave the name of the endpoint
empty to train and report only.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Param, get_current_context, task

from airflow_automl.compat import AirflowFailException
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
#: "Train again" on a job's page fills in the account that the job ran in.
ACCOUNT = {"aws_conn_id": "{{ params.connection or none }}", "region_name": "{{ params.region or none }}"}

with DAG(
    dag_id="manual_automl",
    description="Train, judge, deploy and report a model from a form",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
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
            values_display={"null": "Inferred from the target"},
            title="Problem type",
            description="Set it together with the objective.",
        ),
        "objective": Param(
            None,
            type=["null", "string"],
            enum=[None, *OBJECTIVES],
            values_display={"null": "The default of the problem type"},
            title="Objective",
            description="The metric to optimize",
        ),
        "max_runtime_minutes": Param(60, type="integer", minimum=1, title="Longest run of the job, in minutes"),
        "min_score": Param(
            None,
            type=["null", "number"],
            title="Worst acceptable score",
            description="In the objective's metric. Leave it empty to accept any score.",
        ),
        "endpoint_name": Param(
            None,
            type=["null", "string"],
            pattern="^([a-zA-Z0-9](-*[a-zA-Z0-9]){0,62})?$",
            title="Endpoint",
            description="Deploy the best candidate to this endpoint. Leave it empty to train and report only.",
        ),
        "report_path": Param("s3://acme-ml/reports/", type="string", pattern="^s3://.+", title="Folder for the report"),
        "mode": Param(
            "ENSEMBLING",
            type="string",
            enum=["ENSEMBLING", "HYPERPARAMETER_TUNING", "AUTO"],
            title="Mode",
            section="Advanced",
        ),
        "max_candidates": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=750,
            title="Most candidates",
            description="Leave it empty for the service's default.",
            section="Advanced",
        ),
        "request": Param(
            None,
            type=["null", "object"],
            title="Whole request",
            description="CreateAutoMLJobV2 in AWS's own keys, for any problem type. It replaces all fields that "
            "describe the training.",
            section="Advanced",
        ),
        "connection": Param(
            "aws_default",
            type=["null", "string"],
            title="AWS connection",
            description="Leave it empty for boto3's own credentials.",
            section="Advanced",
        ),
        "region": Param(
            None,
            type=["null", "string"],
            title="AWS region",
            description="Leave it empty for the connection's region.",
            section="Advanced",
        ),
        "api_version": Param(
            "V2",
            type="string",
            enum=["V2", "V1"],
            title="API version",
            description="V2 fits all jobs",
            section="Advanced",
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
        if bool(params["problem_type"]) != bool(params["objective"]):
            raise AirflowFailException("Set the problem type and the objective together, or leave both empty.")
        build = job_v1 if params["api_version"] == "V1" else tabular
        return build(
            params["data"],
            target=params["target"],
            problem_type=params["problem_type"] or None,
            objective=params["objective"] or None,
            mode=params["mode"],
            max_candidates=params["max_candidates"],
            max_runtime=timedelta(minutes=params["max_runtime_minutes"]),
        )

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def deployment_wanted() -> bool:
        """Whether the form names an endpoint."""
        return bool(get_current_context()["params"]["endpoint_name"])

    train = SageMakerAutoMLJobOperator(task_id="train", config=configure(), deferrable=True, poll_interval=5, **ACCOUNT)
    gate = SageMakerAutoMLGateOperator(
        task_id="good_enough",
        candidate=train.best_candidate,
        require="{{ {'objective': params.min_score} if params.min_score is not none else {} }}",
        **ACCOUNT,
    )
    deploy = SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name="{{ params.endpoint_name }}",
        deferrable=True,
        **ACCOUNT,
    )
    report = SageMakerAutoMLReportOperator(
        task_id="report",
        job=train.job,
        path="{{ params.report_path.rstrip('/') }}/{{ run_id }}/",
        **ACCOUNT,
    )
    # A teardown always runs, and does not decide whether the run succeeded: a failed training stays a failed run.
    train >> gate >> deployment_wanted() >> deploy >> report.as_teardown()
