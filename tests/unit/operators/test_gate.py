"""The gate's decisions, and their effect on the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup
from airflow.sdk.bases.operator import BaseOperator
from airflow.utils.dag_cycle_tester import check_cycle

from airflow_automl.exceptions import AutoMLValidationError, CandidateRejected, NoBestCandidate
from airflow_automl.operators import SageMakerAutoMLDeployOperator, SageMakerAutoMLGateOperator
from tests.airflows import DownstreamTasksSkipped
from tests.hosting import HostingStandIn
from tests.unit.operators.conftest import make_candidate


def decide(context: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Run a gate that fails what it rejects, and return its decision either way."""
    gate = SageMakerAutoMLGateOperator(
        task_id="gate", **{"candidate": make_candidate(), "on_reject": "fail", **settings}
    )
    try:
        return dict(gate.execute(context))
    except CandidateRejected:
        return dict(context["ti"].xcoms["return_value"])


@pytest.mark.parametrize(
    ("require", "passed"),
    [
        ({"AUC": 0.85}, True),
        ({"AUC": 0.86}, False),
        ({"auc": "0.8"}, True),
        ({"validation:f1": 0.64}, True),
        ({"LogLoss": 0.41}, True),
        ({"LogLoss": 0.4}, False),
        ({"log_loss": 0.5, "AUC": 0.9}, False),
        ({"AUC": {"min": 0.8, "max": 0.84}}, False),
        ({"AUC": {"max": 0.9}}, True),
        ({"objective": 0.85}, True),
        ({"objective": 0.851}, False),
        ({}, True),
        (None, True),
        ("{'AUC': 0.86}", False),
        ('{"AUC": {"min": 0.8}}', True),
    ],
)
def test_bounds(context: dict[str, Any], require: Any, passed: bool) -> None:
    assert decide(context, require=require)["passed"] is passed


def test_a_latency_is_compared_in_seconds_as_aws_measures_it_and_shown_in_milliseconds(context: dict[str, Any]) -> None:
    candidate = make_candidate()
    candidate["CandidateProperties"]["CandidateMetrics"].append({"MetricName": "InferenceLatency", "Value": 0.0123})
    rejected = decide(context, candidate=candidate, require={"InferenceLatency": 0.01})
    assert "InferenceLatency (ms) 12.3 is above the allowed 10" in rejected["reason"]
    assert (
        "InferenceLatency (ms) 12.3 is at most 20"
        in decide(context, candidate=candidate, require={"InferenceLatency": 0.02})["reason"]
    )


def test_a_rejection_can_fail_the_task_with_its_reason(context: dict[str, Any]) -> None:
    gate = SageMakerAutoMLGateOperator(
        task_id="gate", candidate=make_candidate(), require={"AUC": 0.9}, on_reject="fail"
    )
    with pytest.raises(CandidateRejected, match=r"AUC 0.85 is below the required 0.9\."):
        gate.execute(context)


def test_the_reason_is_one_sentence_and_the_decision_says_all(context: dict[str, Any]) -> None:
    decision = decide(context, require={"AUC": 0.9, "LogLoss": 0.5})
    assert decision == {
        "passed": False,
        "reason": "Candidate churn-WeightedEnsemble-L2 is rejected: AUC 0.85 is below the required 0.9.",
        "candidate_name": "churn-WeightedEnsemble-L2",
        "metrics": {"AUC": 0.85, "F1": 0.64, "LogLoss": 0.41},
        "require": {"AUC": {"min": 0.9, "max": None}, "LogLoss": {"min": None, "max": 0.5}},
        "champion": None,
    }
    passed = decide(context, require={"AUC": 0.8, "LogLoss": 0.5})
    assert passed["reason"] == (
        "Candidate churn-WeightedEnsemble-L2 passes: AUC 0.85 is at least 0.8, and LogLoss 0.41 is at most 0.5."
    )


@pytest.mark.parametrize(
    ("require", "message"),
    [
        ({"RMSE": 3}, "RMSE: the candidate has no such metric; it has: AUC, F1, LogLoss"),
        ({"AUC": "high"}, "AUC: is 'high'; expected a number"),
        ({"AUC": True}, "AUC: is True; expected a number"),
        ({"AUC": float("nan")}, "expected a number"),
        ({"AUC": {"minimum": 1}}, "AUC.minimum is unknown; did you mean min?"),
        ({"AUC": {"min": None}}, r"AUC: is {'min': None}; give min, max or both"),
        ("AUC > 0.8", "is not valid for require"),
        ("0.8", "require: expected a dict such as {'AUC': 0.8}, received 0.8"),
        (["AUC"], "require: expected a dict"),
    ],
)
def test_bounds_that_make_no_sense(context: dict[str, Any], require: Any, message: str) -> None:
    with pytest.raises(AutoMLValidationError, match=message):
        decide(context, require=require)


def test_no_candidate(context: dict[str, Any]) -> None:
    with pytest.raises(NoBestCandidate):
        decide(context, candidate=None, require={"AUC": 0.8})


def test_without_a_champion_yet_the_first_candidate_passes(hosting: HostingStandIn, context: dict[str, Any]) -> None:
    decision = decide(context, champion="churn", min_gain=0.01)
    assert decision["passed"]
    assert decision["reason"].endswith("passes: there is no champion churn yet.")
    group = decide(context, champion={"ModelPackageGroupName": "churn"})
    assert group["passed"]


@pytest.mark.parametrize(
    ("auc", "min_gain", "passed"),
    [(0.85, 0.002, False), (0.852, 0.002, True), (0.853, "0.002", True), (0.85, 0, True), (0.84, 0, False)],
)
def test_a_challenger_must_beat_what_is_deployed(
    hosting: HostingStandIn,
    run_task: Callable[..., Any],
    context: dict[str, Any],
    job: dict[str, Any],
    auc: float,
    min_gain: Any,
    passed: bool,
) -> None:
    run_task(
        lambda: SageMakerAutoMLDeployOperator(
            task_id="deploy", endpoint_name="churn", candidate=make_candidate(), job=job, poll_interval=0.01
        )
    )
    decision = decide(context, candidate=make_candidate("churn-2", auc), champion="churn", min_gain=min_gain)
    assert decision["passed"] is passed
    assert decision["champion"] == {
        "name": "endpoint churn (churn-WeightedEnsemble-L2)",
        "metric": "AUC",
        "value": 0.85,
        "candidate_value": auc,
        "gain": pytest.approx(auc - 0.85),
    }


def test_of_a_metric_that_is_minimised_less_is_a_gain(
    hosting: HostingStandIn, run_task: Callable[..., Any], context: dict[str, Any], job: dict[str, Any]
) -> None:
    run_task(
        lambda: SageMakerAutoMLDeployOperator(
            task_id="deploy", endpoint_name="churn", candidate=make_candidate(), job=job, poll_interval=0.01
        )
    )
    better = make_candidate("churn-2")
    better["CandidateProperties"]["CandidateMetrics"][-1]["Value"] = 0.31
    decision = decide(context, candidate=better, champion="churn", metric="LogLoss", min_gain=0.05)
    assert decision["passed"]
    assert decision["champion"]["gain"] == pytest.approx(0.1)


def test_the_champion_can_be_the_newest_approved_version_in_the_registry(
    hosting: HostingStandIn, context: dict[str, Any]
) -> None:
    hosting.CreateModelPackageGroup({"ModelPackageGroupName": "churn"})
    for status, auc in (("Approved", "0.84"), ("Approved", "0.86"), ("PendingManualApproval", "0.99")):
        hosting.CreateModelPackage(
            {
                "ModelPackageGroupName": "churn",
                "ModelApprovalStatus": status,
                "CustomerMetadataProperties": {"airflow-automl:metric:AUC": auc},
            }
        )
    decision = decide(context, champion={"ModelPackageGroupName": "churn"})
    assert not decision["passed"]
    assert decision["champion"]["name"] == "churn version 2"
    assert decision["champion"]["value"] == 0.86


def test_a_champion_without_recorded_metrics(hosting: HostingStandIn, context: dict[str, Any]) -> None:
    hosting.models["m"] = {}
    hosting.CreateEndpointConfig(
        {"EndpointConfigName": "by-hand", "ProductionVariants": [{"VariantName": "a", "ModelName": "m"}]}
    )
    hosting.CreateEndpoint({"EndpointName": "churn", "EndpointConfigName": "by-hand"})
    hosting.endpoints["churn"]["EndpointStatus"] = "InService"
    with pytest.raises(AutoMLValidationError, match=r"does not name its AUC .* tag it airflow-automl:metric:AUC"):
        decide(context, champion="churn")

    hosting.tags[hosting.endpoints["churn"]["EndpointArn"]]["airflow-automl:metric:AUC"] = "0.8"
    assert decide(context, champion="churn")["passed"]


def branching(context: dict[str, Any], **settings: Any) -> list[str]:
    """Run a gate with three tasks after it; return the tasks that it skips."""
    with DAG("d"):
        gate = SageMakerAutoMLGateOperator(task_id="gate", candidate=make_candidate(), **settings)
        gate >> [BaseOperator(task_id=name) for name in ("deploy", "report", "retry")]
    context["ti"].task = gate
    context["ti"].task_id = "gate"
    try:
        gate.execute(context)
    except DownstreamTasksSkipped as skipped:
        return sorted(skipped.tasks)
    return []


@pytest.mark.parametrize(
    ("on_reject", "required", "skipped"),
    [
        ("skip", 0.8, []),
        ("skip", 0.9, ["deploy", "report", "retry"]),
        ("retry", 0.8, ["retry"]),
        ("retry", 0.9, ["deploy", "report"]),
        (["retry", "report"], 0.9, ["deploy"]),
    ],
)
def test_a_decision_skips_the_expected_tasks_downstream(
    context: dict[str, Any], on_reject: Any, required: float, skipped: list[str]
) -> None:
    assert branching(context, on_reject=on_reject, require={"AUC": required}) == skipped
    if isinstance(on_reject, list):  # as a template renders it
        assert branching(context, on_reject=str(on_reject), require={"AUC": required}) == skipped
    if skipped:
        assert context["ti"].xcoms["return_value"]["passed"] is (required == 0.8)


@pytest.mark.parametrize("on_reject", ["notify", ["group.deploy", "notify"], "group.far"])
def test_a_branch_that_is_not_directly_downstream_is_an_import_error(on_reject: Any) -> None:
    with DAG("d") as dag, TaskGroup("group"):
        gate = SageMakerAutoMLGateOperator(task_id="gate", candidate=make_candidate(), on_reject=on_reject)
        notify = BaseOperator(task_id="notify")
        gate >> [BaseOperator(task_id="deploy"), notify]
        notify >> BaseOperator(task_id="far")
    with pytest.raises(AutoMLValidationError, match=r"directly downstream are: group\.deploy, group\.notify"):
        check_cycle(dag)
    with pytest.raises(AutoMLValidationError, match="on_reject"):
        gate.execute({})  # type: ignore[arg-type]


@pytest.mark.parametrize("template", ["{{ params.end }}", "{% if params.strict %}fail{% else %}retry{% endif %}"])
def test_a_template_is_checked_once_it_is_rendered(context: dict[str, Any], template: str) -> None:
    with DAG("d", params={"end": "retry", "strict": False}) as dag:
        gate = SageMakerAutoMLGateOperator(
            task_id="gate", candidate=make_candidate(), require={"AUC": 0.9}, on_reject=template
        )
        gate >> [BaseOperator(task_id="deploy"), BaseOperator(task_id="retry")]
    check_cycle(dag)
    gate.render_template_fields({"params": dag.params.dump()})  # type: ignore[arg-type]
    with pytest.raises(DownstreamTasksSkipped) as raised:
        gate.execute(context)  # type: ignore[arg-type]
    assert list(raised.value.tasks) == ["deploy"]


def group_of_rejection(gate: Any) -> None:
    with TaskGroup("rejected", prefix_group_id=False) as group:
        BaseOperator(task_id="notify") >> BaseOperator(task_id="retrain")
    gate >> group


@pytest.mark.parametrize(("required", "skipped"), [(0.8, ["notify"]), (0.9, ["deploy"])])
def test_the_branch_can_be_a_task_group(context: dict[str, Any], required: float, skipped: list[str]) -> None:
    with DAG("d") as dag:
        gate = SageMakerAutoMLGateOperator(
            task_id="gate", candidate=make_candidate(), on_reject="rejected", require={"AUC": required}
        )
        gate >> BaseOperator(task_id="deploy")
        group_of_rejection(gate)
    check_cycle(dag)
    with pytest.raises(DownstreamTasksSkipped) as raised:
        gate.execute(context)  # type: ignore[arg-type]
    assert list(raised.value.tasks) == skipped


def test_a_missing_candidate_fails_with_a_hint_to_do_xcom_push(context: dict[str, Any]) -> None:
    with pytest.raises(NoBestCandidate, match="do_xcom_push=False"):
        decide(context, candidate=None)


def test_a_candidate_that_was_not_pushed_is_read_from_its_job(
    hosting: HostingStandIn, context: dict[str, Any], job: dict[str, Any]
) -> None:
    hosting.jobs[job["name"]] = {"AutoMLJobName": job["name"], "BestCandidate": make_candidate("asked-for")}
    assert decide(context, candidate=None, job=job)["candidate_name"] == "asked-for"
