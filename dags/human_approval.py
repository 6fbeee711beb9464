"""Let a person decide: show the candidates as a table, and deploy the best one after approval.

The waiting task needs no worker. The question is in Airflow's UI, under *Required actions*. The answer sets the status
of the version in the model registry: Approved or Rejected.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param

from airflow_automl.contract import tabular
from airflow_automl.operators import (
    SageMakerAutoMLApproveOperator,
    SageMakerAutoMLCandidatesOperator,
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLRegisterOperator,
)
from airflow_automl.retries import automl_retry_policy

with DAG(
    dag_id="human_approval",
    description="Train, register, ask a person, deploy",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    default_args={"retries": 2, "retry_policy": automl_retry_policy()},
    params={
        "data": Param("s3://acme-ml/churn", type="string", title="Folder with train/ and validation/"),
        "max_candidates": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=750,
            title="Most candidates",
            description="Leave it empty for the service's default.",
        ),
        "max_runtime": Param(7200, type="integer", minimum=30, title="Longest run of the job, in seconds"),
    },
    render_template_as_native_obj=True,
    tags=["automl", "example"],
    doc_md=__doc__,
) as dag:
    train = SageMakerAutoMLJobOperator(
        task_id="train",
        config=tabular(
            "{{ params.data }}/train/",
            validation="{{ params.data }}/validation/",
            target="churn",
            problem_type="BinaryClassification",
            objective="AUC",
            mode="ENSEMBLING",
            max_candidates="{{ params.max_candidates }}",
            max_runtime="{{ params.max_runtime }}",
        ),
        wait_for_slot=timedelta(hours=12),
        deferrable=True,
        poll_interval=5,
    )
    candidates = SageMakerAutoMLCandidatesOperator(task_id="candidates", job=train.job, limit=10)
    register = SageMakerAutoMLRegisterOperator(
        task_id="register",
        candidate=train.best_candidate,
        job=train.job,
        group="churn",
        approval_status="PendingManualApproval",
    )
    ask = HITLOperator(
        task_id="ask",
        subject="Deploy {{ macros.automl.best_candidate_name(ti, 'train') }}?",
        body=(
            "Job `{{ macros.automl.job_name(ti, 'train') }}`, run `{{ run_id }}`. Its best candidates, the one to be "
            "deployed first:\n\n{{ macros.automl.leaderboard(ti, 'candidates') }}"
        ),
        options=["Approve", "Reject"],
        response_timeout=timedelta(days=7),
        retries=0,
    )
    decide = SageMakerAutoMLApproveOperator(
        task_id="decide",
        model_package=register.output,
        answer=ask.output,
        description="Decided in Airflow, run {{ run_id }}",
    )
    deploy = SageMakerAutoMLDeployOperator(
        task_id="deploy",
        candidate=train.best_candidate,
        job=train.job,
        endpoint_name="churn-approved",
        deferrable=True,
        poll_interval=5,
    )
    [candidates, register] >> ask >> decide >> deploy
