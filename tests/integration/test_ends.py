"""Every end of a job that the state table names, met by real tasks in a real Airflow.

The service is a stand-in at the wire, so that it can answer what AWS may answer and the embedded service never does:
unknown statuses, unknown and missing members, the answers of old jobs. Four DAG runs meet all ends: the operator and
the sensor, each waiting in its worker and deferred.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from airflow.sdk import DAG, task, timezone

from airflow_automl.contract import states, tabular
from airflow_automl.contract.metrics import candidate_metrics
from airflow_automl.exceptions import (
    AutoMLDeploymentFailed,
    AutoMLJobFailed,
    AutoMLJobStopped,
    AutoMLValidationError,
    NoBestCandidate,
)
from airflow_automl.operators import SageMakerAutoMLGateOperator, SageMakerAutoMLJobOperator
from airflow_automl.sensors import SageMakerAutoMLJobSensor
from tests.standin import StandIn, candidate, connection, serve

ROLE = "arn:aws:iam::123456789012:role/automl"
REQUEST = tabular("s3://data/train/", target="y", output="s3://out/", role=ROLE, max_runtime=3600)
DEPLOYING = {**REQUEST, "ModelDeployConfig": {"EndpointName": "churn"}}
V1 = {
    "InputDataConfig": [
        {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"}},
            "TargetAttributeName": "y",
        }
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://out/"},
    "RoleArn": ROLE,
}
REASONS = {"PartialFailureReasons": [{"PartialFailureMessage": "first part"}, {"PartialFailureMessage": "second part"}]}
NOTEBOOKS = {
    "CandidateDefinitionNotebookLocation": "s3://out/definition.ipynb",
    "DataExplorationNotebookLocation": "s3://out/exploration.ipynb",
}
NO_CANDIDATE: dict[str, Any] = {"BestCandidate": None}
BEST = {"BestCandidate": candidate("kept")}


class End(NamedTuple):
    """How a job ends, and the result for its task.

    :param extra: members of the describe answer that differ from the stand-in's own; ``None`` leaves one out.
    :param accept: what the task accepts.
    :param error: what an operator raises.
    :param says: text in the error's message.
    :param lenient: a sensor succeeds at this end by default.
    :param hands_on: a best candidate is passed downstream.
    """

    status: str
    secondary: str | None
    extra: dict[str, Any] = {}
    accept: dict[str, bool] = {}
    error: type[Exception] | None = None
    says: tuple[str, ...] = ()
    lenient: bool = False
    hands_on: bool = False
    config: dict[str, Any] = REQUEST
    api: str = "V2"


ENDS: dict[str, End] = {
    "completed": End("Completed", "Completed", hands_on=True),
    "max_candidates": End("Completed", "MaxCandidatesReached", hands_on=True),
    "definitions_only": End(
        "Completed",
        "CandidateDefinitionsGenerated",
        NO_CANDIDATE | {"AutoMLJobArtifacts": NOTEBOOKS},
        config=tabular(
            "s3://data/train/", target="y", output="s3://out/", role=ROLE, generate_candidate_definitions_only=True
        ),
    ),
    "limit_with_candidate": End("Completed", "MaxAutoMLJobRuntimeReached", hands_on=True),
    "limit_without": End(
        "Completed",
        "MaxAutoMLJobRuntimeReached",
        NO_CANDIDATE,
        error=NoBestCandidate,
        says=("runtime limit", "accept_no_candidate=True"),
        lenient=True,
    ),
    "limit_without_accepted": End(
        "Completed", "MaxAutoMLJobRuntimeReached", NO_CANDIDATE, accept={"accept_no_candidate": True}
    ),
    "limit_cut_deployment_off": End(
        "Completed",
        "MaxAutoMLJobRuntimeReached",
        error=AutoMLDeploymentFailed,
        says=("ModelDeployConfig",),
        lenient=True,
        hands_on=True,
        config=DEPLOYING,
    ),
    "explainability_error": End("Completed", "ExplainabilityError", REASONS, hands_on=True),
    "model_insights_error": End("Completed", "ModelInsightsError", REASONS, hands_on=True),
    "deployed": End(
        "Completed",
        "Completed",
        {"ModelDeployResult": {"EndpointName": "churn"}},
        hands_on=True,
        config=DEPLOYING,
    ),
    "deployment_error": End(
        "Completed",
        "ModelDeploymentError",
        REASONS,
        error=AutoMLDeploymentFailed,
        says=("accept_failed_deployment=True", "first part", "second part"),
        lenient=True,
        hands_on=True,
        config=DEPLOYING,
    ),
    "deployment_error_accepted": End(
        "Completed",
        "ModelDeploymentError",
        REASONS,
        accept={"accept_failed_deployment": True},
        hands_on=True,
        config=DEPLOYING,
    ),
    "failed": End(
        "Failed",
        "Failed",
        {"FailureReason": "column y is missing", **REASONS},
        error=AutoMLJobFailed,
        says=("column y is missing", "first part", "second part"),
    ),
    "failed_without_a_reason": End("Failed", "Failed", error=AutoMLJobFailed, says=("no reason",)),
    "failed_explainability": End("Failed", "ExplainabilityError", {"FailureReason": "boom"}, error=AutoMLJobFailed),
    "failed_insights": End("Failed", "ModelInsightsError", {"FailureReason": "boom"}, error=AutoMLJobFailed),
    "failed_deployment": End(
        "Failed", "ModelDeploymentError", {"FailureReason": "boom"}, error=AutoMLJobFailed, config=DEPLOYING
    ),
    "stopped": End("Stopped", "Stopped", error=AutoMLJobStopped, says=("accept_stopped=True",)),
    "stopped_accepted": End("Stopped", "Stopped", accept={"accept_stopped": True}),
    "stopped_accepted_with_candidate": End("Stopped", "Stopped", BEST, accept={"accept_stopped": True}, hands_on=True),
    "stopped_at_limit": End("Stopped", "MaxAutoMLJobRuntimeReached", error=AutoMLJobStopped, says=("runtime limit",)),
    "unknown_secondary": End("Completed", "QuantumLeapCompleted", hands_on=True),
    "unknown_secondary_of_a_failure": End(
        "Failed", "Meltdown", {"FailureReason": "too hot"}, error=AutoMLJobFailed, says=("too hot",)
    ),
    "old_v1": End(
        "Completed",
        "MaxCandidatesReached",
        {
            "BestCandidate": {
                **candidate("old"),
                "FinalAutoMLJobObjectiveMetric": {"MetricName": "validation:f1", "Value": 0.66},
                "CandidateProperties": None,
            },
            "GenerateCandidateDefinitionsOnly": None,
        },
        hands_on=True,
        config=V1,
        api="V1",
    ),
    "unknown_members": End(
        "Completed",
        "Completed",
        {
            "Novelty": {"Deep": [1, {"Deeper": None}]},
            "AutoMLProblemTypeConfig": {"QuantumJobConfig": {"Qubits": 3}},
            "AutoMLProblemTypeConfigName": "Quantum",
            "ResolvedAttributes": {"Novelty": 1, "AutoMLProblemTypeResolvedAttributes": {"QuantumAttributes": {}}},
            "BestCandidate": {
                **candidate("new"),
                "Novelty": 1,
                "CandidateStatus": "Superposed",
                "InferenceContainerDefinitions": {"QPU": [{"Image": "q", "ModelDataUrl": "s3://q", "Novelty": 1}]},
                "CandidateProperties": {
                    "CandidateMetrics": [{"MetricName": "Beauty", "Value": 1, "Set": "Mirror", "Novelty": 0}, {}]
                },
            },
        },
        hands_on=True,
    ),
    "missing_members": End(
        "Completed",
        None,
        {
            **dict.fromkeys(
                [
                    "AutoMLJobArn",
                    "AutoMLJobInputDataConfig",
                    "AutoMLProblemTypeConfig",
                    "CreationTime",
                    "EndTime",
                    "LastModifiedTime",
                    "OutputDataConfig",
                    "RoleArn",
                ]
            ),
            "BestCandidate": {"CandidateName": "alone"},
        },
        hands_on=True,
    ),
    "empty_structures": End(
        "Completed",
        "Completed",
        {
            "ResolvedAttributes": {},
            "PartialFailureReasons": [],
            "ModelDeployResult": {},
            "AutoMLJobArtifacts": {},
            "BestCandidate": {
                "CandidateName": "bare",
                "FinalAutoMLJobObjectiveMetric": {},
                "CandidateProperties": {"CandidateArtifactLocations": {}, "CandidateMetrics": []},
                "InferenceContainers": [],
            },
        },
        hands_on=True,
    ),
}

#: Every pair that a job may pass through before its end, unknown ones among them.
WAY = [pair for pair, known in states.PAIRS.items() if not known.terminal] + [("InProgress", "QuantumLeap")]
STEP = 0.02


def script(end: End) -> list[tuple[float, str, str]]:
    secondary: Any = end.secondary
    return [(0.0, "InProgress", "Starting"), (0.15, end.status, secondary)]


def whole_way() -> list[tuple[float, str, str]]:
    steps = [(number * STEP, str(status), str(secondary)) for number, (status, secondary) in enumerate(WAY)]
    return [*steps, (len(WAY) * STEP, "Completed", "Completed")]


def succeeds(end: End, kind: str) -> bool:
    return end.error is None or (kind == "sensor" and end.lenient)


class Run:
    """A DAG run that has ended: states, errors and XComs of its tasks, and the jobs that they submitted."""

    def __init__(self, run: Any, errors: dict[str, BaseException], stand_in: StandIn) -> None:
        from airflow.models.xcom import XComModel
        from airflow.settings import Session

        self.errors = errors
        self.submitted = [
            body["AutoMLJobName"] for operation, body in stand_in.requests if operation.startswith("CreateAutoML")
        ]
        self.states = {(ti.task_id, ti.map_index): str(ti.state) for ti in run.get_task_instances()}
        with Session() as session:
            rows = session.query(XComModel).filter(XComModel.run_id == run.run_id, XComModel.dag_id == run.dag_id)
            self.xcoms = {(row.task_id, row.map_index, row.key): XComModel.deserialize_value(row) for row in rows}

    def state(self, task_id: str, map_index: int = -1) -> str:
        return self.states[task_id, map_index]

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        return self.xcoms.get((task_id, map_index, key))


class Stage:
    """A stand-in, and DAGs that are run against it."""

    def __init__(self, stand_in: StandIn, run_dag: Callable[..., Any]) -> None:
        self.stand_in = stand_in
        self._run_dag = run_dag
        self._errors: dict[str, BaseException] = {}

    def dag(self, dag_id: str, **arguments: Any) -> DAG:
        self.stand_in.reset()
        self._errors = {}
        return DAG(
            dag_id,
            schedule=None,
            start_date=timezone.datetime(2026, 1, 1),
            default_args={"on_failure_callback": self._remember},
            **arguments,
        )

    def _remember(self, context: Any) -> None:
        ti = context["ti"]
        label = ti.task_id if ti.map_index in (None, -1) else f"{ti.task_id}[{ti.map_index}]"
        self._errors[label] = context["exception"]

    def run(self, dag: DAG, **arguments: Any) -> Run:
        return Run(self._run_dag(dag, **arguments), self._errors, self.stand_in)


@pytest.fixture(scope="module")
def stage(airflow_home: Any, run_dag: Callable[..., Any]) -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as patch, serve() as stand_in:
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection(stand_in.url))
        yield Stage(stand_in, run_dag)


def plan_by_task(request: dict[str, Any]) -> Any:
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    task_id = tags["airflow:task_id"]
    return whole_way() if task_id == "whole_way" else script(ENDS[task_id])


@pytest.fixture(
    scope="module",
    params=[("operator", False), ("operator", True), ("sensor", False), ("sensor", True)],
    ids=lambda param: f"{param[0]}-{'deferred' if param[1] else 'waiting'}",
)
def ran(stage: Stage, request: pytest.FixtureRequest) -> tuple[str, Run]:
    """One run of a DAG whose tasks meet every end."""
    kind, deferrable = request.param
    with stage.dag(f"every_end_{kind}_{deferrable}") as dag:
        stage.stand_in.plan = plan_by_task
        stage.stand_in.extra_by_task = {name: end.extra for name, end in ENDS.items()}
        for name in [*ENDS, "whole_way"]:
            end = ENDS.get(name, ENDS["completed"])
            if kind == "operator":
                SageMakerAutoMLJobOperator(
                    task_id=name, config=end.config, poll_interval=0.01, deferrable=deferrable, **end.accept
                )
            else:
                watching(stage, name, end, deferrable)
        if kind == "operator":
            SageMakerAutoMLGateOperator(
                task_id="gate",
                candidate=dag.get_task("old_v1").best_candidate,  # type: ignore[attr-defined]
                require={"F1": 0.6},
            )
    return kind, stage.run(dag)


def watching(stage: Stage, name: str, end: End, deferrable: bool) -> None:
    """A sensor on a job of another program that starts together with the sensor, so that it has to wait."""
    job_name = f"of-somebody-{name.replace('_', '-')}"[:32].rstrip("-")

    def start(_: Any) -> None:
        if job_name.lower() not in stage.stand_in.jobs:
            way = whole_way() if name == "whole_way" else script(end)
            job = stage.stand_in.add_job(job_name, way, api=end.api, **end.extra)
            if "ModelDeployConfig" in end.config:
                job.request["ModelDeployConfig"] = end.config["ModelDeployConfig"]

    SageMakerAutoMLJobSensor(
        task_id=name,
        job_name=job_name,
        poke_interval=0.01,
        timeout=60,
        deferrable=deferrable,
        pre_execute=start,
        **end.accept,
    )


@pytest.mark.parametrize("name", ENDS)
def test_every_end(ran: tuple[str, Run], name: str) -> None:
    kind, run = ran
    end = ENDS[name]
    if succeeds(end, kind):
        assert run.state(name) == "success", run.errors.get(name)
    else:
        assert run.state(name) == "failed"
        assert type(run.errors[name]) is end.error
        for words in end.says:
            assert words in str(run.errors[name])

    job = run.xcom(name, "job")
    assert json.loads(json.dumps(job)) == job
    assert (job["status"], job["secondary_status"]) == (end.status, end.secondary)
    assert job["partial_failures"] == [
        reason["PartialFailureMessage"] for reason in end.extra.get("PartialFailureReasons", [])
    ]
    if kind == "operator":
        assert job["timeline"][-1]["status"] == end.status
        assert [each["at"] for each in job["timeline"]] == sorted(each["at"] for each in job["timeline"])
    if name != "missing_members":
        assert kind != "operator" or job["tags"]["airflow:task_id"] == name
        assert job["arn"].startswith("arn:aws:sagemaker:")
        assert job["created"] <= job["ended"]

    best = run.xcom(name)
    if succeeds(end, kind) and end.hands_on:
        assert best["CandidateName"]
        assert json.loads(json.dumps(best)) == best
    else:
        assert best is None


def test_details_of_the_documents(ran: tuple[str, Run]) -> None:
    kind, run = ran
    assert run.xcom("definitions_only", "job")["artifacts"] == NOTEBOOKS
    assert run.xcom("deployed", "job")["endpoint_name"] == "churn"
    assert run.xcom("deployment_error_accepted", "job")["endpoint_name"] is None
    assert run.xcom("stopped_accepted_with_candidate")["CandidateName"] == "kept-best"
    assert run.xcom("missing_members") == {"CandidateName": "alone"}
    if kind == "operator":
        assert {run.xcom(name, "job")["api_version"] for name in ENDS} == {"V1", "V2"}


def test_nothing_is_submitted_twice(ran: tuple[str, Run]) -> None:
    kind, run = ran
    assert len(set(run.submitted)) == len(run.submitted) == (len(ENDS) + 1 if kind == "operator" else 0)
    assert all(len(name) <= 32 for name in run.submitted)
    assert len({name[:10] for name in run.submitted}) == len(run.submitted)


def test_a_metric_of_an_old_job_is_understood(ran: tuple[str, Run]) -> None:
    kind, run = ran
    best = run.xcom("old_v1")
    assert best["FinalAutoMLJobObjectiveMetric"] == {"MetricName": "validation:f1", "Value": 0.66}
    assert candidate_metrics(best) == {"F1": 0.66}
    assert run.xcom("old_v1", "job")["objective"] == "F1"
    if kind == "operator":
        assert run.state("gate") == "success"


def test_all_statuses_until_the_end_are_awaited(ran: tuple[str, Run]) -> None:
    _, run = ran
    assert run.state("whole_way") == "success"
    assert run.xcom("whole_way", "job")["secondary_status"] == "Completed"


def test_every_terminal_pair_of_the_table_is_met() -> None:
    met = {(end.status, end.secondary) for end in ENDS.values()}
    assert {(str(pair.status), str(pair.secondary)) for pair in states.PAIRS.values() if pair.terminal} <= met


def test_the_documents_reach_later_tasks_unharmed(stage: Stage) -> None:
    with stage.dag("handing_on") as dag:
        train = SageMakerAutoMLJobOperator(task_id="train", config=REQUEST, poll_interval=0.01)

        @task
        def read(best: Any, job: Any, best_text: str, job_text: str) -> list[Any]:
            return [best, job, json.loads(best_text), json.loads(job_text)]

        read(
            train.best_candidate,
            train.job,
            "{{ ti.xcom_pull(task_ids='train') | tojson }}",
            "{{ ti.xcom_pull(task_ids='train', key='job') | tojson }}",
        )

    run = stage.run(dag)

    assert run.state("read") == "success", run.errors
    best, job = run.xcom("train"), run.xcom("train", "job")
    assert run.xcom("read") == [best, job, best, job]


def test_answers_that_can_not_be_read_are_waited_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with stage.dag("unreadable") as dag:
        stage.stand_in.plan = lambda request: [(0.0, "InProgress", "Starting"), (0.3, "Completed", "Completed")]
        for deferrable in (False, True):
            SageMakerAutoMLJobOperator(
                task_id=f"train_{deferrable}", config=REQUEST, poll_interval=0.05, deferrable=deferrable
            )
    described, seen = stage.stand_in._described, []

    def unreadable(job: Any) -> dict[str, Any]:
        seen.append(job.name)
        # botocore refuses a union without a member, regardless of the rest of the answer.
        return described(job) | ({"AutoMLProblemTypeConfig": {}} if 2 <= seen.count(job.name) <= 4 else {})

    monkeypatch.setattr(stage.stand_in, "_described", unreadable)

    run = stage.run(dag)

    assert run.states == {("train_False", -1): "success", ("train_True", -1): "success"}, run.errors
    assert all(seen.count(name) > 4 for name in seen)


def test_mapped_tasks_make_one_job_each(stage: Stage) -> None:
    targets = ["y", "churn", "a" * 300, "z"]
    configs = [{**REQUEST, "AutoMLProblemTypeConfig": tabular(target=target)} for target in targets]
    configs[2]["RoleArn"] = "arn:nobody"
    with stage.dag("mapped") as dag:
        train = SageMakerAutoMLJobOperator.partial(task_id="train", poll_interval=0.01, deferrable=True).expand(
            config=configs
        )

        @task(trigger_rule="all_done")
        def names(candidates: Any) -> list[str]:
            return [candidate["CandidateName"] for candidate in candidates]

        names(train.output)

    run = stage.run(dag)

    assert [run.state("train", index) for index in range(4)] == ["success", "success", "failed", "success"]
    assert isinstance(run.errors["train[2]"], AutoMLValidationError)
    created = [body for operation, body in stage.stand_in.requests if operation == "CreateAutoMLJobV2"]
    job_names = [body["AutoMLJobName"] for body in created]
    assert len(set(job_names)) == len({name[:10] for name in job_names}) == 3
    for body in created:
        tags = {tag["Key"]: tag["Value"] for tag in body["Tags"]}
        target = body["AutoMLProblemTypeConfig"]["TabularJobConfig"]["TargetAttributeName"]
        assert targets[int(tags["airflow:map_index"])] == target
    jobs = [run.xcom("train", "job", index)["name"] for index in (0, 1, 3)]
    assert sorted(jobs) == sorted(job_names)
    assert run.xcom("names") == [f"{name}-best" for name in jobs]


TEMPLATED = {
    "AutoMLJobInputDataConfig": [
        {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/{{ params.day }}/x.json"}}}
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://out/{{ dag.dag_id }}/"},
    "RoleArn": "{{ params.role }}",
    "AutoMLProblemTypeConfig": {
        "TabularJobConfig": {
            "TargetAttributeName": "{{ params.target }}",
            "GenerateCandidateDefinitionsOnly": "{{ params.only }}",
            "CompletionCriteria": {
                "MaxCandidates": "{{ params.candidates }}",
                "MaxAutoMLJobRuntimeInSeconds": "{{ params.candidates * 60 }}",
            },
        }
    },
    "DataSplitConfig": {"ValidationFraction": "{{ params.fraction }}"},
    "SecurityConfig": {"EnableInterContainerTrafficEncryption": "{{ not params.only }}"},
    "Tags": [{"Key": "number", "Value": "{{ params.candidates }}"}],
}
PARAMS = {"day": "2026-11-21", "role": ROLE, "target": "7", "only": False, "candidates": 5, "fraction": 0.25}


@pytest.mark.parametrize("form", ["dict", "json", "yaml"])
def test_numbers_and_booleans_are_put_back_after_templating(stage: Stage, form: str, tmp_path: Any) -> None:
    config: Any = TEMPLATED
    if form != "dict":
        # JSON is YAML, too.
        (tmp_path / f"request.{form}").write_text(json.dumps(TEMPLATED))
        config = f"request.{form}"
    with stage.dag(f"templated_{form}", params=PARAMS, template_searchpath=[str(tmp_path)]) as dag:
        SageMakerAutoMLJobOperator(task_id="train", config=config, poll_interval=0.01)

    run = stage.run(dag)

    assert run.state("train") == "success", run.errors
    request = next(body for operation, body in stage.stand_in.requests if operation == "CreateAutoMLJobV2")
    assert request["AutoMLProblemTypeConfig"]["TabularJobConfig"] == {
        "TargetAttributeName": "7",
        "GenerateCandidateDefinitionsOnly": False,
        "CompletionCriteria": {"MaxCandidates": 5, "MaxAutoMLJobRuntimeInSeconds": 300},
    }
    assert request["DataSplitConfig"] == {"ValidationFraction": 0.25}
    assert request["SecurityConfig"] == {"EnableInterContainerTrafficEncryption": True}
    source = request["AutoMLJobInputDataConfig"][0]["DataSource"]["S3DataSource"]
    assert source["S3Uri"] == "s3://data/2026-11-21/x.json"
    assert request["OutputDataConfig"] == {"S3OutputPath": f"s3://out/templated_{form}/"}
    assert {"Key": "number", "Value": "5"} in request["Tags"]


def test_all_violations_are_shown_at_once_and_nothing_is_called(stage: Stage) -> None:
    wrong = {
        **REQUEST,
        "RoleArn": "nobody",
        "DataSplitConfig": {"ValidationFraction": 1},
        "AutoMLJobObjective": {"MetricName": "AUC"},
        "Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}],
        "ModelDeployConfig": {},
        "Extra": 1,
    }
    with stage.dag("violations") as dag:
        SageMakerAutoMLJobOperator(task_id="train", config=wrong, poll_interval=0.01)

    run = stage.run(dag)

    error = run.errors["train"]
    assert isinstance(error, AutoMLValidationError)
    paths = {
        "RoleArn",
        "DataSplitConfig.ValidationFraction",
        "AutoMLProblemTypeConfig.TabularJobConfig.ProblemType",
        "Tags[1].Key",
        "ModelDeployConfig.EndpointName",
        "Extra",
    }
    assert {violation.path for violation in error.violations} == paths
    assert str(error).startswith("CreateAutoMLJobV2 request has 6 errors:")
    for path in paths:
        assert f"\n  - {path}: " in str(error)
    assert not stage.stand_in.calls
