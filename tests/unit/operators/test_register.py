"""Registering a candidate and approving it, against the wire; and the leaderboard as XCom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_automl.compat import DownstreamTasksSkipped
from airflow_automl.exceptions import AutoMLJobNotFound, AutoMLValidationError
from airflow_automl.operators import (
    SageMakerAutoMLApproveOperator,
    SageMakerAutoMLCandidatesOperator,
    SageMakerAutoMLRegisterOperator,
)
from tests.hosting import ARN, HostingStandIn
from tests.unit.operators.conftest import Killed, make_candidate


def register(context: dict[str, Any], **settings: Any) -> dict[str, Any]:
    operator = SageMakerAutoMLRegisterOperator(task_id="register", group="churn", **settings)
    return dict(operator.execute(context))


def test_a_version_has_all_containers_metrics_and_its_origin(
    hosting: HostingStandIn, context: dict[str, Any], job: dict[str, Any]
) -> None:
    candidate = make_candidate(containers=3)
    result = register(context, candidate=candidate, job=job, response=["predicted_label"], metadata={"rows": 7032})

    (package,) = hosting.packages
    images = [container["Image"] for container in package["InferenceSpecification"]["Containers"]]
    assert images == [container["Image"] for container in candidate["InferenceContainers"]]
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["CustomerMetadataProperties"] == package["CustomerMetadataProperties"] | {
        "rows": "7032",
        "airflow-automl:job": "churn-5a8e",
        "airflow-automl:candidate": candidate["CandidateName"],
        "airflow-automl:metric:AUC": "0.85",
        "airflow-automl:dag": "churn",
        "airflow-automl:run": "manual__1",
    }
    assert result == {
        "model_package_arn": f"{ARN}:model-package/churn/1",
        "model_package_group": "churn",
        "version": 1,
        "approval_status": "PendingManualApproval",
        "candidate_name": candidate["CandidateName"],
        "job_name": "churn-5a8e",
    }


def test_all_response_keys_of_the_candidate_are_requested(hosting: HostingStandIn, context: dict[str, Any]) -> None:
    candidate = make_candidate(containers=3)
    supported = [each["Environment"].get("SAGEMAKER_INFERENCE_SUPPORTED") for each in candidate["InferenceContainers"]]
    register(context, candidate=candidate, response="all")

    (package,) = hosting.packages
    outputs = [
        each["Environment"].get("SAGEMAKER_INFERENCE_OUTPUT")
        for each in package["InferenceSpecification"]["Containers"]
    ]
    assert outputs[-1] == next(filter(None, reversed(supported)))


@pytest.mark.parametrize(
    ("problem_type", "requests", "responses"),
    [
        (None, "text/csv", "text/csv"),
        ("TextClassification", "text/csv", "text/csv"),
        ("TimeSeriesForecasting", "text/csv", "text/csv"),
        ("ImageClassification", "application/x-image", "text/csv"),
        ("TextGeneration", "application/json", "application/json"),
    ],
)
def test_content_types_are_those_of_the_problem_type(
    hosting: HostingStandIn,
    context: dict[str, Any],
    job: dict[str, Any],
    problem_type: str | None,
    requests: str,
    responses: str,
) -> None:
    register(context, candidate=make_candidate(), job={**job, "problem_type": problem_type})
    (made,) = (package["InferenceSpecification"] for package in hosting.packages)
    assert (made["SupportedContentTypes"], made["SupportedResponseMIMETypes"]) == ([requests], [responses])


def test_a_retry_finds_what_was_registered(
    hosting: HostingStandIn, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    first = register(context, candidate=candidate, job=job)
    assert register(context, candidate=candidate, job=job) == first
    # As with a service that does not honour client tokens.
    hosting.packages[0].pop("ClientToken")
    context["ti"].try_number = 2
    assert register(context, candidate=candidate, job=job) == first
    assert len(hosting.packages) == 1
    context["ti"].run_id = "manual__2"
    assert register(context, candidate=candidate, job=job)["version"] == 2
    assert len(hosting.groups) == 1


@pytest.mark.parametrize("died_after", range(3))
def test_a_retry_after_a_crash_at_any_call_registers_once(
    hosting: HostingStandIn,
    context: dict[str, Any],
    candidate: dict[str, Any],
    job: dict[str, Any],
    kill_after: Callable[[int], None],
    died_after: int,
) -> None:
    kill_after(died_after)
    try:
        register(context, candidate=candidate, job=job)
    except Killed:
        context["ti"].try_number = 2
        kill_after(1000)
        registered = register(context, candidate=candidate, job=job)
    else:
        pytest.skip(f"registering needs no more than {died_after} calls")
    assert [package["ModelPackageArn"] for package in hosting.packages] == [registered["model_package_arn"]]
    assert len(hosting.groups) == 1


@pytest.mark.parametrize("died_after", range(2))
def test_a_retry_after_a_crash_at_any_call_approves(
    hosting: HostingStandIn,
    context: dict[str, Any],
    candidate: dict[str, Any],
    job: dict[str, Any],
    kill_after: Callable[[int], None],
    died_after: int,
) -> None:
    registered = register(context, candidate=candidate, job=job)
    kill_after(died_after)
    try:
        approve(context, model_package=registered)
    except Killed:
        kill_after(1000)
        assert approve(context, model_package=registered)["version"] == 1
    else:
        pytest.skip(f"approving needs no more than {died_after} calls")
    assert [package["ModelApprovalStatus"] for package in hosting.packages] == ["Approved"]


def test_reports_beside_the_candidate_are_linked(
    hosting: HostingStandIn, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any], tmp_path: Any
) -> None:
    (tmp_path / "e" / "1").mkdir(parents=True)
    (tmp_path / "e" / "1" / "analysis.json").write_text("{}")
    candidate["CandidateProperties"]["CandidateArtifactLocations"] = {
        "Explainability": f"file://{tmp_path}/e",
        "ModelInsights": f"file://{tmp_path}/missing",
    }
    operator = SageMakerAutoMLRegisterOperator(task_id="register", group="churn", candidate=candidate, job=job)
    found = operator._model_metrics(candidate)
    assert found == {
        "Explainability": {
            "Report": {"ContentType": "application/json", "S3Uri": f"file://{tmp_path}/e/1/analysis.json"}
        }
    }


def test_a_request_that_aws_would_refuse_is_refused_before_a_group_is_created(
    hosting: HostingStandIn, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    with pytest.raises(AutoMLValidationError, match="ModelApprovalStatus"):
        register(context, candidate=candidate, job=job, approval_status="Fine")
    with pytest.raises(AutoMLValidationError, match="are more than AWS's 50"):
        register(context, candidate=candidate, job=job, metadata={str(number): number for number in range(50)})
    assert not hosting.groups


def approve(context: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return dict(SageMakerAutoMLApproveOperator(task_id="approve", **settings).execute(context))


def test_a_version_is_approved_or_rejected(
    hosting: HostingStandIn, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    registered = register(context, candidate=candidate, job=job)
    result = approve(context, model_package=registered, description="Looked at by\nJo")
    assert result == approve(context, model_package=registered["model_package_arn"])
    assert result == approve(context, model_package=str(registered))
    assert hosting.packages[0]["ModelApprovalStatus"] == result["approval_status"] == "Approved"
    assert hosting.packages[0]["ApprovalDescription"] == "Looked at by Jo"

    context["ti"].run_id = "manual__2"
    register(context, candidate=candidate, job=job)
    assert approve(context, group="churn", status="Rejected")["version"] == 2
    assert [package["ModelApprovalStatus"] for package in hosting.packages] == ["Approved", "Rejected"]


def test_a_persons_answer_approves_or_rejects_and_a_rejection_skips_what_follows(
    hosting: HostingStandIn, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    registered = register(context, candidate=candidate, job=job)
    with DAG("d"):
        decide, no = (
            SageMakerAutoMLApproveOperator(
                task_id=f"decide_{option}", model_package=registered, answer={"chosen_options": [option]}
            )
            for option in ("Approve", "Reject")
        )
        for each in (decide, no):
            each >> BaseOperator(task_id=f"deploy_{each.task_id}")
    assert decide.execute(context)["approval_status"] == "Approved"
    assert hosting.packages[0]["ModelApprovalStatus"] == "Approved"
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        no.execute(context)
    assert list(skipped.value.tasks) == ["deploy_decide_Reject"]
    assert hosting.packages[0]["ModelApprovalStatus"] == "Rejected"
    assert context["ti"].xcoms["return_value"]["approval_status"] == "Rejected"


@pytest.mark.parametrize("answer", [None, {}, {"chosen_options": ["Maybe"]}, {"chosen_options": ["Approve", "Reject"]}])
def test_an_answer_that_is_neither_changes_nothing(
    hosting: HostingStandIn, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any], answer: Any
) -> None:
    registered = register(context, candidate=candidate, job=job)
    with pytest.raises(AutoMLValidationError, match="chooses neither Approve nor Reject"):
        approve(context, model_package=registered, answer=answer)
    assert hosting.packages[0]["ModelApprovalStatus"] == "PendingManualApproval"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_package": "x", "status": "Yes"}, "status: is 'Yes'; valid are Approved, Rejected"),
        ({"model_package": {}}, "names no version"),
        ({"group": "empty"}, "empty has no version to approve"),
        ({}, "give exactly one"),
        ({"group": "a", "model_package": "b"}, "give exactly one"),
    ],
)
def test_invalid_approvals_are_refused(
    hosting: HostingStandIn, context: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(AutoMLValidationError, match=message):
        approve(context, **settings)


def test_the_leaderboard_is_sorted_json(hosting: HostingStandIn, context: dict[str, Any]) -> None:
    def wired(name: str, auc: float, status: str = "Completed") -> dict[str, Any]:
        times = dict.fromkeys(("CreationTime", "EndTime", "LastModifiedTime"), 1_790_000_000)
        return {**make_candidate(name, auc), "CandidateStatus": status, **times}

    hosting.jobs["churn-5a8e"] = {}
    hosting.candidates["churn-5a8e"] = [wired("a", 0.8), wired("b", 0.9), wired("c", 0.95, "Failed"), wired("d", 0.7)]
    found = SageMakerAutoMLCandidatesOperator(task_id="c", job_name="churn-5a8e", limit="2").execute(context)
    assert [candidate["CandidateName"] for candidate in found] == ["b", "a"]
    assert found[0]["CreationTime"].startswith("2026-09-21T")
    everything = SageMakerAutoMLCandidatesOperator(task_id="c", job_name="churn-5a8e", completed_only=False)
    assert [candidate["CandidateName"] for candidate in everything.execute(context)] == ["c", "b", "a", "d"]


def test_a_leaderboard_of_no_job(hosting: HostingStandIn, context: dict[str, Any]) -> None:
    with pytest.raises(AutoMLJobNotFound):
        SageMakerAutoMLCandidatesOperator(task_id="c", job_name="unknown").execute(context)
    with pytest.raises(AutoMLValidationError, match="none is given"):
        SageMakerAutoMLCandidatesOperator(task_id="c")
