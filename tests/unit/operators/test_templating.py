"""What templates may do: the author's are rendered once, and what they render to is data of the model's types."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_automl.contract import tabular
from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.operators import (
    SageMakerAutoMLDeployOperator,
    SageMakerAutoMLEvaluateOperator,
    SageMakerAutoMLGateOperator,
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLRegisterOperator,
)
from airflow_automl.operators._base import whole_number
from airflow_automl.operators._metric_bounds import number
from airflow_automl.triggers import SageMakerAutoMLEventTrigger
from tests.hosting import HostingStandIn
from tests.standin import StandIn
from tests.unit.operators.conftest import make_candidate

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


def test_a_rendered_template_is_not_rendered_again(run_dag: RunDag, standin: StandIn) -> None:
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


def test_text_that_native_rendering_makes_a_number_of_is_still_the_same_text() -> None:
    texts = ["2026", "1.10", "1e5", "1_000", "True", "7", "None", "1,2", "[3]", '"quoted"', "{4: 5}"]
    with DAG("same", render_template_as_native_obj=True) as dag:
        deploy = SageMakerAutoMLDeployOperator(
            task_id="deploy",
            endpoint_name="{{ '1.10' }}",
            job_name="{{ params.number }}",
            tags={text: f"{{{{ '{text}' }}}}" for text in texts},
            instance_count="{{ '2' }}",
            verify="{{ 'False' }}",
        )
    deploy.render_template_fields({"params": {"number": 7}}, dag.get_template_env())  # type: ignore[arg-type,typeddict-item]
    assert (deploy.endpoint_name, deploy.job_name) == ("1.10", "7")
    assert deploy.tags == {text: text for text in texts}
    assert (deploy.instance_count, deploy.verify) == (2, False)


def test_native_rendering_knows_the_macros_of_the_dag() -> None:
    with DAG("macros", render_template_as_native_obj=True, user_defined_macros={"endpoint": lambda: "churn"}) as dag:
        deploy = SageMakerAutoMLDeployOperator(
            task_id="deploy", endpoint_name="{{ endpoint() }}-{{ range(7) | length }}", job_name="{{ params.number }}"
        )
    deploy.render_template_fields({"params": {"number": 7}}, dag.get_template_env())  # type: ignore[arg-type,typeddict-item]
    assert (deploy.endpoint_name, deploy.job_name) == ("churn-7", "7")


@pytest.mark.parametrize("native", [False, True])
def test_nested_values_get_the_types_of_the_service_model(
    hosting: HostingStandIn, run_task: Callable[..., Any], job: dict[str, Any], native: bool
) -> None:
    with DAG("nested", render_template_as_native_obj=native) as dag:
        deploy = SageMakerAutoMLDeployOperator(
            task_id="deploy",
            endpoint_name="churn",
            candidate=make_candidate(),
            job=job,
            model={"VpcConfig": {"SecurityGroupIds": ["{{ '0123' }}"], "Subnets": ["{{ '77' }}"]}},
            variants=[{"VariantName": "{{ '2026' }}", "InitialVariantWeight": "{{ '0.5' }}"}],
            endpoint_config={"KmsKeyId": "{{ '42' }}", "DataCaptureConfig": "{{ params.capture }}"},
            autoscaling={"MinCapacity": "{{ '1' }}", "MaxCapacity": "{{ '4' }}"},
            tags={"cost": "{{ '410200' }}"},
            deferrable=False,
            poll_interval=0.01,
        )
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 50,
        "DestinationS3Uri": "s3://acme/7",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    deploy.render_template_fields({"params": {"capture": capture}}, dag.get_template_env())  # type: ignore[arg-type,typeddict-item]
    run_task(lambda: deploy)
    (model,), (config,) = hosting.models.values(), hosting.configs.values()
    assert model["VpcConfig"] == {"SecurityGroupIds": ["0123"], "Subnets": ["77"]}
    assert config["ProductionVariants"][0]["VariantName"] == "2026"
    assert config["ProductionVariants"][0]["InitialVariantWeight"] == 0.5
    assert (config["KmsKeyId"], config["DataCaptureConfig"]) == ("42", capture)
    assert hosting.tags[model["ModelArn"]]["cost"] == "410200"
    (target,) = hosting.scalable.values()
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)


@pytest.mark.parametrize("named", ["in the DAG file", "by a parameter", "by an XCom", "by a mapped XCom", "in expand"])
def test_a_file_that_is_named_at_run_time_is_not_a_template(
    run_dag: RunDag, standin: StandIn, tmp_path: Path, named: str
) -> None:
    given = config()
    given["AutoMLProblemTypeConfig"]["TabularJobConfig"]["TargetAttributeName"] = "{{ conn.aws_default.password }}"
    path = tmp_path / "request.json"
    path.write_text(json.dumps(given))
    with DAG(f"file_{named.replace(' ', '_')}", params={"path": str(path)}) as dag:

        @task
        def paths() -> list[str]:
            return [str(path)]

        @task
        def one() -> str:
            return str(path)

        options: dict[str, Any] = {"task_id": "train", "deferrable": False, "poll_interval": 0.01}
        if named == "in expand":
            SageMakerAutoMLJobOperator.partial(**options).expand(config=[str(path)])
        elif named == "by a mapped XCom":
            SageMakerAutoMLJobOperator.partial(**options).expand(config=paths())
        else:
            by = {"in the DAG file": str(path), "by a parameter": "{{ params.path }}", "by an XCom": one()}
            SageMakerAutoMLJobOperator(config=by[named], **options)
    assert run_dag(dag).state == "success"
    (job,) = standin.jobs.values()
    author = named in ("in the DAG file", "in expand")
    assert target(job.request) == ("test" if author else "{{ conn.aws_default.password }}")


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


def test_text_that_is_no_number_is_refused_with_the_name_of_its_argument() -> None:
    deploy = SageMakerAutoMLDeployOperator(task_id="a", endpoint_name="churn", candidate={}, instance_count="many")
    evaluate = SageMakerAutoMLEvaluateOperator(task_id="b", data="s3://a/b/", endpoint_name="churn", max_rows="many")
    for name, read in (
        ("instance_count", deploy.instances),
        ("max_rows", lambda: evaluate._most),
        *(("limit", lambda given=given: whole_number(given, "limit")) for given in ("many", -1, "0", 2.5)),
        ("min_new_data", lambda: number("min_new_data", "many")),
    ):
        with pytest.raises(AutoMLValidationError, match=name):
            read()  # type: ignore[operator]
    assert [whole_number(given, "limit") for given in ("7", 7, None, "None", "")] == [7, 7, None, None, None]
