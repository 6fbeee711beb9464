"""The job operator, the sensor and the stop operator in a real Airflow, against a stand-in at the wire.

One DAG run holds many independent tasks: each is one way for a job to end, or one way for a task to be told so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, timezone

from airflow_automl.operators import (
    SageMakerAutoMLJobOperator,
    SageMakerAutoMLJobV1Operator,
    SageMakerAutoMLJobV2Operator,
    SageMakerAutoMLStopOperator,
)
from airflow_automl.sensors import SageMakerAutoMLJobSensor
from tests.standin import COMPLETED, StandIn, connection, ends, running, serve

ROLE = "arn:aws:iam::123456789012:role/automl"
DATA = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"}}
V1: dict[str, Any] = {
    "InputDataConfig": [{"DataSource": DATA, "TargetAttributeName": "y"}],
    "OutputDataConfig": {"S3OutputPath": "s3://out/"},
    "AutoMLJobConfig": {"CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": "3600"}},
    "RoleArn": ROLE,
}
V2: dict[str, Any] = {
    "AutoMLJobInputDataConfig": [
        {"ChannelType": "training", "ContentType": "text/csv;header=present", "DataSource": DATA}
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://out/"},
    "AutoMLProblemTypeConfig": {
        "TabularJobConfig": {
            "TargetAttributeName": "{{ 'y' }}",
            "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": "{{ 3600 }}"},
        }
    },
    "RoleArn": ROLE,
}
DEPLOYING = {**V2, "ModelDeployConfig": {"AutoGenerateEndpointName": True}}

#: name → (config, script of the job, what describe answers besides, arguments of the operator, state of the task)
ENDS: dict[str, tuple[dict[str, Any], Any, dict[str, Any], dict[str, Any], str]] = {
    "completed": (V2, COMPLETED, {}, {}, "success"),
    "completed_v1": (V1, COMPLETED, {}, {}, "success"),
    "max_candidates": (V2, ends("Completed", "MaxCandidatesReached"), {}, {}, "success"),
    "definitions_only": (V2, ends("Completed", "CandidateDefinitionsGenerated"), {}, {}, "success"),
    "limit_with_candidate": (V2, ends("Completed", "MaxAutoMLJobRuntimeReached"), {}, {}, "success"),
    "limit_without": (V2, ends("Completed", "MaxAutoMLJobRuntimeReached"), {"BestCandidate": None}, {}, "failed"),
    "limit_accepted": (
        V2,
        ends("Completed", "MaxAutoMLJobRuntimeReached"),
        {"BestCandidate": None},
        {"accept_no_candidate": True},
        "success",
    ),
    "report_failed": (
        V2,
        ends("Completed", "ExplainabilityError"),
        {"PartialFailureReasons": [{"PartialFailureMessage": "no report"}]},
        {},
        "success",
    ),
    "not_deployed": (DEPLOYING, ends("Completed", "ModelDeploymentError"), {}, {}, "failed"),
    "not_deployed_accepted": (
        DEPLOYING,
        ends("Completed", "ModelDeploymentError"),
        {},
        {"accept_failed_deployment": True},
        "success",
    ),
    "failed": (V2, ends("Failed", "Failed"), {"FailureReason": "column y is missing"}, {}, "failed"),
    "failed_report": (V2, ends("Failed", "ModelInsightsError"), {"FailureReason": "boom"}, {}, "failed"),
    "stopped": (V2, ends("Stopped", "Stopped"), {}, {}, "failed"),
    "stopped_accepted": (V2, ends("Stopped", "Stopped"), {}, {"accept_stopped": True}, "success"),
    "stopped_at_limit": (V2, ends("Stopped", "MaxAutoMLJobRuntimeReached"), {}, {}, "failed"),
    "unknown_secondary": (V2, ends("Completed", "SomethingNew"), {}, {}, "success"),
}


class Ran:
    """A DAG run that has ended, and what each of its tasks handed on."""

    def __init__(self, run: Any, stand_in: StandIn) -> None:
        from airflow.models.xcom import XComModel
        from airflow.settings import Session

        self.states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
        self.stand_in = stand_in
        self.calls = dict(stand_in.calls)
        with Session() as session:
            rows = session.query(XComModel).filter(XComModel.run_id == run.run_id, XComModel.dag_id == run.dag_id)
            self.xcoms = {(row.task_id, row.key): XComModel.deserialize_value(row) for row in rows}


@pytest.fixture(scope="module")
def run_tasks(airflow_home: Path, run_dag: Callable[..., Any]) -> Iterator[Callable[..., Ran]]:
    with pytest.MonkeyPatch.context() as patch, serve() as stand_in:
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(stand_in.url))

        def run(dag: DAG) -> Ran:
            return Ran(run_dag(dag), stand_in)

        run.stand_in = stand_in  # type: ignore[attr-defined]
        yield run


def new_dag(dag_id: str, folder: str | None = None) -> DAG:
    return DAG(
        dag_id,
        schedule=None,
        start_date=timezone.datetime(2026, 1, 1),
        template_searchpath=[folder] if folder else None,
    )


def plan_by_task(scripts: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    def plan(request: dict[str, Any]) -> Any:
        tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", ())}
        return scripts[tags["airflow:task_id"]]

    return plan


@pytest.fixture(scope="module", params=["waiting", "deferred"])
def ran_ends(run_tasks: Callable[..., Ran], request: pytest.FixtureRequest) -> Ran:
    """One run of a DAG whose tasks meet every end of a job."""
    stand_in: StandIn = run_tasks.stand_in  # type: ignore[attr-defined]
    stand_in.reset()
    stand_in.plan = plan_by_task({name: script for name, (_, script, *_) in ENDS.items()})
    stand_in.extra_by_task = {name: extra for name, (_, _, extra, *_) in ENDS.items()}
    with new_dag(f"ends_{request.param}") as dag:
        for name, (config, _, _, arguments, _) in ENDS.items():
            SageMakerAutoMLJobOperator(
                task_id=name,
                config=config,
                poll_interval=0.05,
                deferrable=request.param == "deferred",
                outlets=[Asset(f"{name}_model")],
                **arguments,
            )
    return run_tasks(dag)


@pytest.mark.parametrize("name", ENDS)
def test_end_of_a_job(ran_ends: Ran, name: str) -> None:
    config, script, extra, _, state = ENDS[name]
    assert ran_ends.states[name] == state
    job = ran_ends.xcoms[name, "job"]
    assert (job["status"], job["secondary_status"]) == script[-1][1:]
    assert job["tags"]["airflow:task_id"] == name
    assert job["api_version"] == ("V1" if config is V1 else "V2")
    assert json.loads(json.dumps(job)) == job
    candidate = ran_ends.xcoms.get((name, "return_value"))
    expected = state == "success" and script[-1][1] == "Completed" and "BestCandidate" not in extra
    if expected and name != "definitions_only":
        assert candidate["CandidateName"] == f"{job['name']}-best"
        assert candidate["CreationTime"].startswith("2023-11-14T")
    else:
        assert candidate is None


def test_nothing_is_submitted_twice(ran_ends: Ran) -> None:
    created = [body["AutoMLJobName"] for op, body in ran_ends.stand_in.requests if op.startswith("CreateAutoML")]
    assert len(created) == len(set(created)) == len(ENDS)
    assert all(len(name) <= 32 for name in created)
    assert len({name[:10] for name in created}) == len(created)
