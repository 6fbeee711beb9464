"""The end of the logs of what failed, from CloudWatch Logs at the wire, in the task's log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_automl.exceptions import AutoMLDeploymentFailed, AutoMLJobFailed
from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook
from airflow_automl.hooks.sagemaker_logs import LogTail, job_log_tails, redacted, resource_log_tail
from airflow_automl.operators import SageMakerAutoMLDeployOperator, SageMakerAutoMLTransformOperator
from airflow_automl.sensors import SageMakerAutoMLJobSensor
from tests.hosting import HostingStandIn, Refused
from tests.unit.operators.conftest import make_candidate

TRAINING, PROCESSING = "/aws/sagemaker/TrainingJobs", "/aws/sagemaker/ProcessingJobs"
JOB = {
    "AutoMLJobName": "churn-5a8e-2026",
    "AutoMLJobArn": "arn:aws:sagemaker:us-east-1:123456789012:automl-job/churn-5a8e-2026",
    "AutoMLJobInputDataConfig": [],
    "OutputDataConfig": {"S3OutputPath": "s3://acme-ml/out/"},
    "RoleArn": "arn:aws:iam::123456789012:role/automl",
    "CreationTime": 1000.0,
    "EndTime": 2000.0,
    "LastModifiedTime": 2000.0,
    "AutoMLJobStatus": "Failed",
    "AutoMLJobSecondaryStatus": "Failed",
    "FailureReason": "it did not work",
    "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "churn"}},
}


class Logs:
    """CloudWatch Logs: group → stream → lines; a stream's last event is at ``at`` (epoch seconds)."""

    def __init__(self, hosting: HostingStandIn) -> None:
        self.groups: dict[str, dict[str, list[str]]] = {}
        self.at: dict[str, float] = {}
        self.denied = False
        hosting.DescribeLogStreams, hosting.GetLogEvents = self.describe, self.get  # type: ignore[attr-defined]

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.denied:
            raise Refused("AccessDeniedException", "not authorized to perform: logs:DescribeLogStreams")
        if request["logGroupName"] not in self.groups:
            raise Refused("ResourceNotFoundException", "The specified log group does not exist.")
        prefix = request.get("logStreamNamePrefix", "")
        names = [name for name in self.groups[request["logGroupName"]] if name.startswith(prefix)]
        if request.get("orderBy") == "LastEventTime":
            assert not prefix, "AWS refuses it together with a prefix"
            names.sort(key=lambda name: self.at.get(name, 1500.0), reverse=request["descending"])
        return {
            "logStreams": [
                {"logStreamName": name, "lastEventTimestamp": int(self.at.get(name, 1500.0) * 1000)}
                for name in names[: request["limit"]]
            ]
        }

    def get(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["startFromHead"] is False
        lines = self.groups[request["logGroupName"]][request["logStreamName"]]
        events = [{"timestamp": 1, "message": line, "ingestionTime": 1} for line in lines[-request["limit"] :]]
        return {"events": events, "nextForwardToken": "f/1", "nextBackwardToken": "b/0"}


@pytest.fixture
def logs(hosting: HostingStandIn) -> Logs:
    hosting.jobs["churn-5a8e-2026"] = JOB
    return Logs(hosting)


def failed(name: str, kind: str = "AWS::SageMaker::TrainingJob") -> dict[str, Any]:
    step = {"CandidateStepType": kind, "CandidateStepArn": f"arn:{name}", "CandidateStepName": name}
    return {
        "CandidateName": f"candidate-{name}",
        "CandidateStatus": "Failed",
        "ObjectiveStatus": "Failed",
        "CandidateSteps": [{**step, "CandidateStepName": "an-earlier-step"}, step],
        "CreationTime": 1.0,
        "LastModifiedTime": 1.0,
    }


def tails() -> list[LogTail]:
    return job_log_tails(SageMakerAutoMLHook(), JOB)


def test_the_failed_steps_of_failed_candidates(hosting: HostingStandIn, logs: Logs) -> None:
    hosting.candidates["churn-5a8e-2026"] = [
        failed("churn-5a8e-tune-1"),
        failed("churn-5a8e-dpp", "AWS::SageMaker::ProcessingJob"),
        {**failed("churn-5a8e-fine"), "CandidateStatus": "Completed"},
    ]
    logs.groups = {
        TRAINING: {
            "churn-5a8e-tune-1/algo-1-77": [f"line {number}" for number in range(100)],
            "churn-5a8e-tune-10/algo-1-78": ["another job's"],
            "churn-5a8e-fine/algo-1-1": ["all is well"],
        },
        PROCESSING: {"churn-5a8e-dpp/algo-1-79": ["ValueError: bad column"]},
    }
    first, second = tails()
    assert first == LogTail(TRAINING, "churn-5a8e-tune-1/algo-1-77", [f"line {number}" for number in range(75, 100)])
    assert second == LogTail(PROCESSING, "churn-5a8e-dpp/algo-1-79", ["ValueError: bad column"])


def test_a_job_that_failed_before_its_first_candidate(logs: Logs) -> None:
    logs.groups = {
        TRAINING: {"churn-5a8e-db-1/algo-1-1": ["early"], "other/algo-1-1": ["not ours"]},
        PROCESSING: {
            "churn-5a8e-pr-1/algo-1-2": ["late"],
            "churn-5a8e-pr-0/algo-1-2": ["of another year's job of the same beginning"],
            "churn-5a8e-pr-2/algo-1-2": [],
        },
    }
    logs.at = {"churn-5a8e-pr-1/algo-1-2": 1900.0, "churn-5a8e-pr-0/algo-1-2": 10.0}
    assert [tail.lines for tail in tails()] == [["late"], ["early"]]


def test_never_more_than_three_streams(hosting: HostingStandIn, logs: Logs) -> None:
    names = [f"churn-5a8e-tune-{letter}" for letter in "abcdef"]
    hosting.candidates["churn-5a8e-2026"] = [failed(name) for name in names]
    logs.groups = {TRAINING: {f"{name}/algo-{part}": ["x"] for name in names for part in (1, 2)}}
    assert len(tails()) == 3
    assert len(hosting.made("GetLogEvents")) == 3


def test_the_newest_streams_of_an_endpoint_that_many_instances_have_served(logs: Logs) -> None:
    names = [f"AllTraffic/i-{number:02}" for number in range(60)]
    logs.groups = {"/aws/sagemaker/Endpoints/churn": {name: [name] for name in names}}
    logs.at = {name: 1000.0 + number for number, name in enumerate(names)}
    newest = [tail.stream for tail in resource_log_tail(SageMakerAutoMLHook(), "endpoint", "churn")]
    assert newest == ["AllTraffic/i-59", "AllTraffic/i-58", "AllTraffic/i-57"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("loss 0.3\r", "loss 0.3"),
        ("\x1b[31mred\x1b[0m\x07", "red"),
        ("x" * 600, "x" * 499 + "…"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key AKIAIOSF*** used"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_ACCESS_KEY=***"),
        ('{"password": "hunter2", "user": "me"}', '{"password": "***", "user": "me"}'),
        ("GET https://b.s3/x?X-Amz-Signature=abc&y=1", "GET https://b.s3/x?X-Amz-Signature=***&y=1"),
        ("postgres://me:hunter2@db/x", "postgres://me:***@db/x"),
        ("hf_token: abc", "hf_token: ***"),
        ("Authorization: Bearer hf_AbC-123.x", "Authorization: Bearer ***"),
        ("num_tokens: 12", "num_tokens: 12"),
        ('{"max_new_tokens": 512, "token": 512, "a": 1}', '{"max_new_tokens": 512, "token": ***, "a": 1}'),
        ("tokens=12secret", "tokens=***"),
        ('"eos_token_id": 2, "pad_token_id": 0', '"eos_token_id": 2, "pad_token_id": 0'),
        ("tokens_per_second=35.1 tokenizer: bert", "tokens_per_second=35.1 tokenizer: bert"),
        ('{"password": "my own secret", "user": "me"}', '{"password": "***", "user": "me"}'),
        ("passphrase='a b', private_key=c", "passphrase='***', private_key=***"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("Basic training has started", "Basic training has started"),
        ("--token hf_abc --epochs 3", "--token *** --epochs 3"),
        ("redis://:hunter2@host/0", "redis://:***@host/0"),
        ("postgres://me:p@ss@db/x", "postgres://me:***@db/x"),
        ("the tokenizer has 30522 words", "the tokenizer has 30522 words"),
    ],
)
def test_log_lines_are_shortened_and_secrets_masked(line: str, shown: str) -> None:
    assert redacted(line) == shown


def test_the_task_log_of_a_failed_job(
    hosting: HostingStandIn, logs: Logs, context: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.groups = {PROCESSING: {"churn-5a8e-pr/algo-1": ["Traceback", "KeyError: 'churn'"]}}
    with pytest.raises(AutoMLJobFailed, match="it did not work"):
        SageMakerAutoMLJobSensor(task_id="wait", job_name="churn-5a8e-2026", deferrable=True).execute(context)
    assert (
        "The end of churn-5a8e-pr/algo-1 in /aws/sagemaker/ProcessingJobs:\n  | Traceback\n  | KeyError"
        in capsys.readouterr().out
    )


def test_logs_that_may_not_be_read_change_nothing(
    logs: Logs, context: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.denied = True
    with pytest.raises(AutoMLJobFailed, match="it did not work"):
        SageMakerAutoMLJobSensor(task_id="wait", job_name="churn-5a8e-2026", deferrable=True).execute(context)
    assert (
        "can't be read: AccessDeniedException: not authorized to perform: logs:DescribeLogStreams"
        in capsys.readouterr().out
    )


def test_transform_jobs_and_endpoints_show_theirs(
    hosting: HostingStandIn,
    logs: Logs,
    job: dict[str, Any],
    run_task: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    hosting.deploys_fail = "the container did not start"
    logs.groups = {"/aws/sagemaker/Endpoints/churn": {"AllTraffic/i-0": ["MemoryError"]}}
    settings = {"candidate": make_candidate(), "job": job, "poll_interval": 0.01}
    with pytest.raises(AutoMLDeploymentFailed, match="did not start"):
        run_task(lambda: SageMakerAutoMLDeployOperator(task_id="deploy", endpoint_name="churn", **settings))
    assert "  | MemoryError" in capsys.readouterr().out

    class Group(dict):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return iter([f"{name}/i-1" for name in hosting.transforms])

        def __getitem__(self, name: str) -> list[str]:
            return ["bad row 7"]

    logs.groups["/aws/sagemaker/TransformJobs"] = Group()
    with pytest.raises(AutoMLJobFailed, match="did not start"):
        paths = {"input_path": "s3://acme-ml/in/", "output_path": "s3://acme-ml/scored/"}
        run_task(lambda: SageMakerAutoMLTransformOperator(task_id="score", **paths, **settings))
    assert "  | bad row 7" in capsys.readouterr().out
