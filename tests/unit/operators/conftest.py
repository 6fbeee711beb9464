"""A stand-in for SageMaker's hosting at the wire, and a way to run one operator, try after try."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.api.datamodels._generated import DagRun
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_automl.compat import TaskDeferred
from tests.fakes import fake, stands_for
from tests.hosting import HostingStandIn, serve

ROLE = "arn:aws:iam::123456789012:role/automl"


class Killed(BaseException):
    """The worker process died."""


@stands_for(RuntimeTaskInstance)
class TaskInstance(SimpleNamespace):
    """The parts of a task instance that operators use."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))

    def xcom_pull(self, task_ids: str, key: str = "return_value", **_: Any) -> Any:
        return self.prior.get(key)

    def get_relevant_upstream_map_indexes(self, upstream: Any, ti_count: int | None, session: Any) -> None:
        return None


@pytest.fixture(scope="session", autouse=True)
def service_models_are_read_once() -> Iterator[None]:
    """botocore reads SageMaker's model, two megabytes, for each session; every try of a task has one."""
    from botocore.loaders import Loader

    with pytest.MonkeyPatch.context() as patch:
        read, kept = Loader.load_data_with_path, {}

        def load(self: Any, name: str) -> Any:
            if name not in kept:
                kept[name] = read(self, name)
            return kept[name]

        patch.setattr(Loader, "load_data_with_path", load)
        yield


@pytest.fixture
def hosting(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostingStandIn]:
    with serve() as stand_in:
        connection = {
            "conn_type": "aws",
            "login": "test",
            "password": "test",
            "extra": {"endpoint_url": stand_in.url, "region_name": "us-east-1"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        yield stand_in


@pytest.fixture
def context() -> dict[str, Any]:
    ti = TaskInstance(dag_id="churn", run_id="manual__1", task_id="deploy", map_index=-1, xcoms={}, prior={})
    ti.try_number, ti.start_date = 1, datetime.now(UTC)
    ti.task = BaseOperator(task_id="deploy", dag=DAG("churn"))
    dag_run = fake(DagRun, start_date=datetime(2026, 11, 21, tzinfo=UTC), clear_number=0)
    return {"ti": ti, "task_instance": ti, "dag_run": dag_run}


def put_live(hosting: HostingStandIn, job: str = "churn-5a8e", response: str = "") -> None:
    """Let the endpoint ``churn`` serve :func:`make_candidate`, as its deployment leaves it, without deploying."""
    from airflow_automl.version_tags import version_tags
    from tests.hosting import ARN

    name, candidate = "churn-1", make_candidate()
    environment = {"SAGEMAKER_INFERENCE_OUTPUT": response} if response else {}
    hosting.models[name] = {
        "ModelName": name,
        "PrimaryContainer": {**candidate["InferenceContainers"][0], "Environment": environment},
    }
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InitialVariantWeight": 1.0}
    arn = f"{ARN}:endpoint-config/{name}"
    now = datetime.now(UTC).timestamp()
    hosting.configs[name] = {
        "EndpointConfigName": name,
        "EndpointConfigArn": arn,
        "CreationTime": now,
        "ProductionVariants": [variant],
    }
    hosting.tags[arn] = version_tags(candidate, {"name": job}, {})
    hosting.endpoints["churn"] = {
        "EndpointName": "churn",
        "EndpointArn": f"{ARN}:endpoint/churn",
        "EndpointConfigName": name,
        "EndpointStatus": "InService",
        "CreationTime": now,
    }


@pytest.fixture
def candidate() -> dict[str, Any]:
    return make_candidate()


def make_candidate(name: str = "churn-WeightedEnsemble-L2", auc: float = 0.85, containers: int = 1) -> dict[str, Any]:
    """A binary classification candidate, of ENSEMBLING (one container) or HYPERPARAMETER_TUNING (three)."""
    supported = [
        "",
        "predicted_label,probability,probabilities,labels",
        "predicted_label,probability,probabilities,labels",
    ]
    if containers == 1:
        supported = ["predicted_label,probability,probabilities,labels"]
    return {
        "CandidateName": name,
        "CandidateStatus": "Completed",
        "ObjectiveStatus": "Succeeded",
        "CandidateSteps": [],
        "FinalAutoMLJobObjectiveMetric": {"Type": "Maximize", "MetricName": "AUC", "Value": auc},
        "CandidateProperties": {
            "CandidateMetrics": [
                {"MetricName": "AUC", "StandardMetricName": "AUC", "Value": auc, "Set": "Validation"},
                {"MetricName": "AUC", "StandardMetricName": "AUC", "Value": 0.99, "Set": "Train"},
                {"MetricName": "F1", "StandardMetricName": "F1", "Value": 0.64, "Set": "Validation"},
                {"StandardMetricName": "LogLoss", "Value": 0.41, "Set": "Validation"},
            ]
        },
        "InferenceContainers": [
            {
                "Image": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/step{index}:1",
                "ModelDataUrl": f"s3://acme-ml/out/churn/{name}/{index}/model.tar.gz",
                "Environment": {"SAGEMAKER_INFERENCE_SUPPORTED": each}
                if each
                else {"AUTOML_TRANSFORM_MODE": "feature"},
            }
            for index, each in enumerate(supported)
        ],
        "CreationTime": "2026-11-21T04:00:00+00:00",
        "EndTime": "2026-11-21T04:01:00+00:00",
        "LastModifiedTime": "2026-11-21T04:01:00+00:00",
    }


@pytest.fixture
def job() -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": "churn-5a8e",
        "arn": "arn:aws:sagemaker:us-east-1:123456789012:automl-job/churn-5a8e",
        "api_version": "V2",
        "problem_type": "BinaryClassification",
        "status": "Completed",
        "secondary_status": "Completed",
        "objective": "AUC",
        "created": "2026-11-21T04:00:00+00:00",
        "ended": "2026-11-21T04:01:37+00:00",
        "role_arn": ROLE,
        "security": {},
        "output": {"S3OutputPath": "s3://acme-ml/out/"},
        "tags": {"team": "growth"},
        "artifacts": {},
        "endpoint_name": None,
        "partial_failures": [],
        "timeline": [],
    }


@pytest.fixture
def run_task(context: dict[str, Any]) -> Callable[..., Any]:
    """Run an operator to its end, through its deferrals, in a fresh instance after each, as Airflow does."""

    async def fired(trigger: Any) -> dict[str, Any]:
        kwargs = json.loads(json.dumps(trigger.serialize()[1]))
        async for event in type(trigger)(**kwargs).run():
            return json.loads(json.dumps(event.payload))
        raise AssertionError("the trigger ended without an event")

    def run(make: Callable[[], Any]) -> Any:
        import asyncio

        method, arguments = "execute", {}
        while True:
            try:
                return getattr(make(), method)(context, **arguments)
            except TaskDeferred as deferred:
                event = asyncio.run(fired(deferred.trigger))
                method, arguments = deferred.method_name, {"event": event}

    return run


@pytest.fixture
def kill_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the process die right after its n-th call to SageMaker was answered (0: before the first)."""
    from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

    original = SageMakerAutoMLDeploymentHook.call

    def arrange(number: int) -> None:
        count = 0

        def call(self: Any, operation: str, **request: Any) -> Any:
            nonlocal count
            if count == number:
                raise Killed(operation)
            count += 1
            return original(self, operation, **request)

        monkeypatch.setattr(SageMakerAutoMLDeploymentHook, "call", call)

    return arrange
