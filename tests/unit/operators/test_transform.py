"""Batch transform, against the wire."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_automl.compat import AirflowException, TaskDeferred
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobFailed,
    AutoMLJobStopped,
    AutoMLJobTimeout,
    AutoMLTransientError,
    AutoMLValidationError,
)
from airflow_automl.operators import SageMakerAutoMLTransformOperator
from airflow_automl.waiting import Target
from tests.hosting import HostingStandIn, Refused
from tests.unit.operators.conftest import Killed, make_candidate

Run = Callable[[Callable[[], Any]], Any]


def transform(**settings: Any) -> Callable[[], SageMakerAutoMLTransformOperator]:
    arguments = {
        "task_id": "score",
        "input_path": "s3://acme-ml/new/",
        "output_path": "s3://acme-ml/scored/",
        "poll_interval": 0.01,
        **settings,
    }
    return lambda: SageMakerAutoMLTransformOperator(**copy.deepcopy(arguments))


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_prefix_is_scored_and_the_model_removed(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any], deferrable: bool
) -> None:
    job["security"] = {"VolumeKmsKeyId": "key-1"}
    job["output"] = {"S3OutputPath": "s3://acme-ml/out/", "KmsKeyId": "key-2"}
    result = run_task(
        transform(candidate=candidate, job=job, join=True, response=["probability"], deferrable=deferrable)
    )

    (request,) = hosting.made("CreateTransformJob")
    assert request["TransformInput"] == {
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://acme-ml/new/"}},
        "ContentType": "text/csv",
        "SplitType": "Line",
    }
    assert request["TransformOutput"] == {
        "S3OutputPath": "s3://acme-ml/scored/",
        "AssembleWith": "Line",
        "Accept": "text/csv",
        "KmsKeyId": "key-2",
    }
    assert request["TransformResources"] == {
        "InstanceType": "ml.m5.2xlarge",
        "InstanceCount": 1,
        "VolumeKmsKeyId": "key-1",
    }
    assert request["DataProcessing"] == {"JoinSource": "Input"}
    assert {"Key": "team", "Value": "growth"} in request["Tags"]
    (model,) = hosting.made("CreateModel")
    assert model["PrimaryContainer"]["Environment"]["SAGEMAKER_INFERENCE_OUTPUT"] == "probability"
    assert not hosting.models
    assert result["status"] == "Completed"
    assert result["output"] == "s3://acme-ml/scored/"
    assert result["transform_job_name"] == request["TransformJobName"]


@pytest.mark.parametrize("died_after", range(8))
def test_a_retry_after_a_crash_at_any_call_scores_once(
    hosting: HostingStandIn,
    run_task: Run,
    kill_after: Callable[[int], None],
    candidate: dict[str, Any],
    job: dict[str, Any],
    died_after: int,
) -> None:
    make = transform(candidate=candidate, job=job)
    kill_after(died_after)
    try:
        run_task(make)
    except Killed:
        kill_after(1000)
        assert run_task(make)["status"] == "Completed"
    else:
        pytest.skip(f"scoring needs no more than {died_after} calls")
    assert len(hosting.transforms) == 1
    assert not hosting.models


def test_a_retry_after_a_failure_and_a_clear_score_again(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    context["ti"].max_tries = 1
    hosting.deploys_fail = "ClientError: unable to parse the input"
    with pytest.raises(AutoMLJobFailed, match="ClientError: unable to parse the input"):
        run_task(transform(candidate=candidate, job=job))
    assert not hosting.models

    hosting.deploys_fail = None
    second = run_task(transform(candidate=candidate, job=job))
    assert second == run_task(transform(candidate=candidate, job=job))
    context["ti"].max_tries = 2
    third = run_task(transform(candidate=candidate, job=job))
    assert len({*hosting.transforms}) == 3
    assert third["transform_job_name"] != second["transform_job_name"]


def test_series_are_never_split(hosting: HostingStandIn, run_task: Run, job: dict[str, Any]) -> None:
    job["problem_type"] = "TimeSeriesForecasting"
    run_task(transform(candidate=make_candidate(), job=job))
    (request,) = hosting.made("CreateTransformJob")
    assert request["TransformInput"]["SplitType"] == request["TransformOutput"]["AssembleWith"] == "None"
    assert request["MaxPayloadInMB"] == 0
    assert request["ModelClientConfig"] == {"InvocationsTimeoutInSeconds": 3600}
    assert request["TransformInput"]["ContentType"] == "text/csv;header=present"
    with pytest.raises(AutoMLValidationError, match="join: TimeSeriesForecasting is not scored line by line"):
        run_task(transform(candidate=make_candidate(), job=job, join=True))


def test_every_option_of_aws_can_be_set(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    extra = {
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": 50,
        "TransformInput": {"CompressionType": "Gzip"},
        "DataProcessing": {"InputFilter": "$[1:]", "OutputFilter": "$[0,-1]"},
    }
    run_task(transform(candidate=candidate, job=job, join=True, transform=extra, instance_count="3"))
    (request,) = hosting.made("CreateTransformJob")
    assert request["BatchStrategy"] == "MultiRecord"
    assert request["MaxPayloadInMB"] == 50
    assert request["TransformInput"]["CompressionType"] == "Gzip"
    assert request["TransformInput"]["SplitType"] == "Line"
    assert request["DataProcessing"] == {"JoinSource": "Input", "InputFilter": "$[1:]", "OutputFilter": "$[0,-1]"}
    assert request["TransformResources"]["InstanceCount"] == 3


def test_a_request_that_aws_would_refuse_makes_nothing(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    with pytest.raises(AutoMLValidationError, match="BatchStrategy"):
        run_task(transform(candidate=candidate, job=job, transform={"BatchStrategy": "Many"}))
    assert hosting.calls == []


def test_a_job_that_a_user_stopped(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    begun = run_task(transform(candidate=candidate, job=job, wait_for_completion=False))
    hosting.looks = 0
    operator = transform(candidate=candidate, job=job)()
    hosting.StopTransformJob({"TransformJobName": begun["transform_job_name"]})
    event = {
        "status": "settled",
        "kind": "transform job",
        "name": begun["transform_job_name"],
        "state": {"model": begun["model"]},
    }
    hosting.transforms[begun["transform_job_name"]]["looks"] = 0
    with pytest.raises(AutoMLJobStopped, match="was stopped"):
        operator.execute_complete(context, event)


def test_the_deadline_stops_the_job(
    hosting: HostingStandIn, run_task: Run, candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    hosting.looks = 10_000
    with pytest.raises(AutoMLJobTimeout, match="was still InProgress at the deadline"):
        run_task(transform(candidate=candidate, job=job, timeout=timedelta(seconds=0.1), deferrable=True))
    (found,) = hosting.transforms.values()
    assert found["TransformJobStatus"] == "Stopping"
    assert not hosting.models


@pytest.mark.parametrize("limits", [{"timeout": None}, {"timeout": timedelta(hours=5)}])
def test_the_execution_timeout_ends_the_deferred_wait_too(
    hosting: HostingStandIn, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any], limits: Any
) -> None:
    context["ti"].start_date -= timedelta(minutes=10)
    operator = transform(
        candidate=candidate, job=job, deferrable=True, execution_timeout=timedelta(hours=2), **limits
    )()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    until = (context["ti"].start_date + timedelta(hours=2)).timestamp()
    assert deferred.value.trigger.deadline == until


@pytest.mark.parametrize("deferrable", [False, True])
def test_throttling_and_empty_answers_end_no_wait(
    hosting: HostingStandIn,
    run_task: Run,
    monkeypatch: pytest.MonkeyPatch,
    candidate: dict[str, Any],
    job: dict[str, Any],
    deferrable: bool,
) -> None:
    describe = hosting.DescribeTransformJob
    looks = iter(range(2))

    def troubled(request: dict[str, Any]) -> dict[str, Any]:
        match next(looks, None) if hosting.transforms else None:
            case 0:
                raise Refused("ThrottlingException", "slow down")
            case 1:
                return {}
        return describe(request)

    monkeypatch.setattr(hosting, "DescribeTransformJob", troubled)
    once = {"retries": {"total_max_attempts": 1}}
    result = run_task(transform(candidate=candidate, job=job, deferrable=deferrable, botocore_config=once))
    assert result["status"] == "Completed"


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("stoppable", [False, True])
def test_a_job_that_may_not_be_described_is_stopped_or_keeps_its_model(
    hosting: HostingStandIn,
    run_task: Run,
    monkeypatch: pytest.MonkeyPatch,
    candidate: dict[str, Any],
    job: dict[str, Any],
    deferrable: bool,
    stoppable: bool,
) -> None:
    describe = hosting.DescribeTransformJob

    def denied(request: dict[str, Any]) -> dict[str, Any]:
        if hosting.transforms:
            raise Refused("AccessDeniedException", "not authorized to perform: sagemaker:DescribeTransformJob")
        return describe(request)

    monkeypatch.setattr(hosting, "DescribeTransformJob", denied)
    if not stoppable:
        hosting.refuse["StopTransformJob"] = "AccessDeniedException"
    said = "it was stopped" if stoppable else "it continues, because it could not be stopped"
    with pytest.raises(AutoMLAccessDenied, match=f"not authorized to perform: sagemaker:DescribeTransformJob; {said}"):
        run_task(transform(candidate=candidate, job=job, deferrable=deferrable))
    (found,) = hosting.transforms.values()
    assert found["TransformJobStatus"] == ("Stopping" if stoppable else "InProgress")
    assert bool(hosting.models) is not stoppable


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_that_fails_unexpectedly_stops_its_job(
    hosting: HostingStandIn,
    run_task: Run,
    monkeypatch: pytest.MonkeyPatch,
    candidate: dict[str, Any],
    job: dict[str, Any],
    deferrable: bool,
) -> None:
    status, broken = Target.status, iter([True])

    def broken_once(target: Target, answer: Any) -> str | None:
        if next(broken, False):
            (running,) = hosting.transforms.values()
            running["looks"] = 1000
            raise KeyError("TransformJobStatus")
        return status(target, answer)

    monkeypatch.setattr(Target, "status", broken_once)
    with pytest.raises(AutoMLError, match="KeyError: 'TransformJobStatus'; it was stopped"):
        run_task(transform(candidate=candidate, job=job, deferrable=deferrable))
    (found,) = hosting.transforms.values()
    assert found["TransformJobStatus"] == "Stopping"


@pytest.mark.parametrize("tries_left", [0, 1])
def test_a_job_whose_create_call_lost_its_answer_is_stopped_by_the_last_try(
    hosting: HostingStandIn,
    run_task: Run,
    monkeypatch: pytest.MonkeyPatch,
    context: dict[str, Any],
    candidate: dict[str, Any],
    job: dict[str, Any],
    tries_left: int,
) -> None:
    create = hosting.CreateTransformJob

    def lost(request: dict[str, Any]) -> dict[str, Any]:
        create(request)
        raise Refused("InternalFailure", "the answer was lost")

    monkeypatch.setattr(hosting, "CreateTransformJob", lost)
    context["ti"].max_tries = context["ti"].try_number - 1 + tries_left
    once = {"retries": {"total_max_attempts": 1}}
    with pytest.raises(AutoMLTransientError, match="the answer was lost"):
        run_task(transform(candidate=candidate, job=job, botocore_config=once))
    (found,) = hosting.transforms.values()
    assert found["TransformJobStatus"] == ("InProgress" if tries_left else "Stopping")
    assert bool(hosting.models) is bool(tries_left)


def killed_while_waiting(
    make: Callable[[], SageMakerAutoMLTransformOperator], context: dict[str, Any]
) -> SageMakerAutoMLTransformOperator:
    """Return the operator of a try whose worker was killed while it waited."""
    operator = make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_automl.waiting.time.sleep", lambda _: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            operator.execute(context)
    return operator


def test_an_older_try_does_not_stop_what_a_newer_one_adopted(
    hosting: HostingStandIn, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    hosting.looks = 10_000
    make = transform(candidate=candidate, job=job)
    older = killed_while_waiting(make, context)
    context["ti"].try_number = 2
    newer = killed_while_waiting(make, context)
    (found,) = hosting.transforms.values()
    older.on_kill()
    assert found["TransformJobStatus"] == "InProgress"
    newer.on_kill()
    assert found["TransformJobStatus"] == "Stopping"


def test_a_job_that_accepts_no_more_tags_is_still_adopted(
    hosting: HostingStandIn, run_task: Run, context: dict[str, Any], candidate: dict[str, Any], job: dict[str, Any]
) -> None:
    make = transform(candidate=candidate, job=job)
    killed_while_waiting(make, context)
    hosting.refuse["AddTags"] = "ResourceLimitExceeded"
    assert run_task(make)["status"] == "Completed"
    assert len(hosting.transforms) == 1


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("arrived", [False, True])
def test_a_job_that_is_created_while_its_task_is_killed_is_stopped(
    hosting: HostingStandIn,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    candidate: dict[str, Any],
    job: dict[str, Any],
    deferrable: bool,
    arrived: bool,
) -> None:
    operator = transform(candidate=candidate, job=job, deferrable=deferrable)()
    create = operator.hook.ensure_transform_job

    def interrupted(request: Any) -> bool:
        if arrived:
            create(request)
        operator.on_kill()
        return create(request)

    monkeypatch.setattr(operator.hook, "ensure_transform_job", interrupted)
    monkeypatch.setattr("airflow_automl.waiting.time.sleep", lambda _: None)
    with pytest.raises(AirflowException, match="Task terminated"):
        operator.execute(context)
    (found,) = hosting.transforms.values()
    assert found["TransformJobStatus"] in {"Stopping", "Stopped"}


def test_a_job_that_ends_by_the_tasks_own_kill_may_be_tried_again(
    hosting: HostingStandIn,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    candidate: dict[str, Any],
    job: dict[str, Any],
) -> None:
    operator = transform(candidate=candidate, job=job)()
    monkeypatch.setattr("airflow_automl.waiting.time.sleep", lambda _: operator.on_kill())
    with pytest.raises(AirflowException, match="Task terminated"):
        operator.execute(context)
    assert not hosting.models


def test_a_killed_task_stops_its_job(
    hosting: HostingStandIn,
    run_task: Run,
    candidate: dict[str, Any],
    job: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operators = []

    def killed(self: Any, *_: Any) -> Any:
        operators.append(self)
        raise Killed

    monkeypatch.setattr(SageMakerAutoMLTransformOperator, "wait_for", killed)
    with pytest.raises(Killed):
        run_task(transform(candidate=candidate, job=job))
    operators[0].on_kill()
    (found,) = hosting.transforms.values()
    assert found["TransformJobStatus"] == "Stopping"
