"""What templates may do: the author's are rendered once, and what they render to is data of the model's types."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airflow.sdk import DAG, task

from airflow_automl.contract import tabular
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLRegisterOperator,
)
from airflow_automl.triggers import SageMakerAutoMLEventTrigger
from tests.standin import StandIn

RunDag = Callable[..., Any]


def config(**members: Any) -> dict[str, Any]:
    request = tabular(
        "s3://data/train/",
        target="y",
        output="s3://out/",
        role="arn:aws:iam::123456789012:role/automl",
        mode="ENSEMBLING",
        max_runtime=3600,
    )
    return {**request, **members}


def target(request: Any) -> Any:
    return request["AutoMLProblemTypeConfig"]["TabularJobConfig"]["TargetAttributeName"]


def test_what_a_template_rendered_to_is_not_rendered_again(run_dag: RunDag, standin: StandIn) -> None:
    given = config()
    given["AutoMLProblemTypeConfig"]["TabularJobConfig"]["TargetAttributeName"] = "{{ conn.aws_default.password }}"
    with DAG("once", params={"config": json.dumps(given)}):
        train = SageMakerAutoMLJobOperator(
            task_id="train", config="{{ params.config }}", poll_interval=0.01, deferrable=False
        )
    assert run_dag(train.dag).state == "success"
    (job,) = standin.jobs.values()
    assert target(job.request) == "{{ conn.aws_default.password }}"


def test_native_rendering_keeps_strings_and_takes_objects(run_dag: RunDag, standin: StandIn) -> None:
    given = config(SecurityConfig="{{ params.security }}", Tags=[{"Key": "cost", "Value": "{{ '410200' }}"}])
    given["AutoMLProblemTypeConfig"]["TabularJobConfig"]["TargetAttributeName"] = "{{ '7' }}"
    security = {"EnableInterContainerTrafficEncryption": True}
    for native in (False, True):
        with DAG(f"native_{native}", render_template_as_native_obj=native, params={"security": security}):
            train = SageMakerAutoMLJobOperator(task_id="train", config=given, poll_interval=0.01, deferrable=False)
        assert run_dag(train.dag).state == "success"
    assert len(standin.jobs) == 2
    for job in standin.jobs.values():
        assert target(job.request) == "7"
        assert job.request["SecurityConfig"] == security
        assert {"Key": "cost", "Value": "410200"} in job.request["Tags"]


def test_native_rendering_keeps_the_names_that_operators_take() -> None:
    with DAG("names", render_template_as_native_obj=True) as dag:
        operators = [
            SageMakerAutoMLDeployOperator(task_id="deploy", endpoint_name="{{ '2026' }}", job_name="{{ '7' }}"),
            SageMakerAutoMLRegisterOperator(task_id="register", group="{{ '2026' }}", job_name="{{ '7' }}"),
            SageMakerAutoMLGateOperator(
                task_id="gate", candidate={}, champion="{{ '2026' }}", target="{{ '7' }}", min_gain="{{ '0.5' }}"
            ),
        ]
    for operator in operators:
        operator.render_template_fields({}, dag.get_template_env())  # type: ignore[arg-type]
    deploy, register, gate = operators
    assert (deploy.endpoint_name, deploy.job_name, deploy.instance_count) == ("2026", "7", 1)  # type: ignore[attr-defined]
    assert (register.group, register.job_name) == ("2026", "7")  # type: ignore[attr-defined]
    assert (gate.champion, gate.target, gate.min_gain) == ("2026", "7", 0.5)  # type: ignore[attr-defined]


def test_a_mapped_job_task_has_its_documents(run_dag: RunDag, standin: StandIn) -> None:
    with DAG("mapped_train") as dag:

        @task
        def names(jobs: Any, candidates: Any) -> list[Any]:
            return [sorted(job["name"] for job in jobs), [each["CandidateName"] for each in candidates]]

        train = SageMakerAutoMLJobOperator.partial(task_id="train", poll_interval=0.01, deferrable=False).expand(
            config=[config(), config(Tags=[{"Key": "a", "Value": "b"}])]
        )
        told = names(train.job, train.best_candidate)
    run = run_dag(dag)
    assert run.state == "success"
    assert train.operator_class is SageMakerAutoMLJobOperator
    (ti,) = [each for each in run.get_task_instances() if each.task_id == told.operator.task_id]
    jobs, candidates = ti.xcom_pull(task_ids="names")
    assert jobs == sorted(standin.jobs)
    assert len(candidates) == 2


def test_the_event_trigger_is_exported() -> None:
    from airflow_automl import triggers

    assert "SageMakerAutoMLEventTrigger" in triggers.__all__
    assert SageMakerAutoMLEventTrigger.__name__ == "SageMakerAutoMLEventTrigger"
