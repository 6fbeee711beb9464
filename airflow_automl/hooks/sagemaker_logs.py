"""The end of what failed steps logged, from CloudWatch Logs.

An AutoML job has no log of its own: its candidates' steps are training, processing and transform jobs, which log under
their own names, and those begin with the first ten characters of the AutoML job's name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_automl.contract import documents
from airflow_automl.exceptions import AutoMLError
from airflow_automl.naming import CHILD_PREFIX

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

#: CandidateStepType → the log group of such jobs.
_GROUPS: Mapping[str, str] = {
    "AWS::SageMaker::TrainingJob": "/aws/sagemaker/TrainingJobs",
    "AWS::SageMaker::ProcessingJob": "/aws/sagemaker/ProcessingJobs",
    "AWS::SageMaker::TransformJob": "/aws/sagemaker/TransformJobs",
}
#: Kinds of resources that tasks wait for → the log group, and how streams begin.
_RESOURCES: Mapping[str, tuple[str, str]] = {
    "transform job": ("/aws/sagemaker/TransformJobs", "{name}/"),
    "endpoint": ("/aws/sagemaker/Endpoints/{name}", ""),
}
_STREAMS, _LINES, _WIDTH = 3, 25, 500
#: Clocks differ, and the last lines of a job arrive after its end.
_MARGIN = 300.0
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_SECRETS = (
    re.compile(r"\b((?:AKIA|ASIA)[A-Z0-9]{4})[A-Z0-9]{12,}"),
    re.compile(r"(?i)(\b(?:X-Amz-(?:Credential|Security-Token)|(?:X-Amz-)?Signature)=)[^&\s\"',]+"),
    re.compile(r"(?i)(\bBearer\s+|\bAuthorization[\"']?\s*[=:]\s*[\"']?Basic\s+)[\w.~+/=-]{4,}"),
    # The name of a secret and its value. No secret is a number like num_tokens: 12, nor what is said of a tokenizer.
    re.compile(
        r"(?i)(\b(?![\w-]*tokeniz|[\w-]*token[\w-]+[\"']?\s*[=:]\s*[\d.,]+(?:\W|$))"
        r"[\w-]*(?:secret|passw(?:or)?d|passphrase|token|(?:api|private)[_-]?key)[\w-]*[\"']?\s*[=:]\s*[\"']?)"
        r"(?:(?<=\")[^\"]+(?=\")|(?<=')[^']+(?=')|[^\s\"',;&]+)"
    ),
    re.compile(r"(--(?:password|passphrase|token|secret|api-key)\s+)[^\s-]\S*"),
    re.compile(r"(://[^/\s:@]*:)[^/\s]+(?=@)"),
)


class LogTail(NamedTuple):
    """The last lines of one log stream.

    :param group: the log group.
    :param stream: the log stream.
    :param lines: at most 25, each of at most 500 characters, oldest first.
    """

    group: str
    stream: str
    lines: list[str]


def redacted(line: str) -> str:
    """Return a line of a log without what looks like a secret, without control characters, and cut to 500."""
    text = _CONTROL.sub("", line.rstrip())
    for secret in _SECRETS:
        text = secret.sub(r"\1***", text)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def job_log_tails(hook: SageMakerAutoMLHook, describe: Mapping[str, Any]) -> list[LogTail]:
    """Read the ends of the logs of a failed job's failed steps, at most three.

    The steps of failed candidates are known. A job that failed before it had any is found by the beginning of its
    children's names, among what logged while it ran.

    Operations: ListCandidatesForAutoMLJob; DescribeLogStreams and GetLogEvents of CloudWatch Logs.

    :param describe: the answer of DescribeAutoMLJob or DescribeAutoMLJobV2.
    :raises AutoMLError: the logs can't be read.
    """
    name = str(describe["AutoMLJobName"])
    found: list[LogTail] = []
    for group, step in _failed_steps(hook.list_candidates(name)):
        found += _tails(hook, group, _streams(hook, group, f"{step}/"), _STREAMS - len(found))
        if len(found) == _STREAMS:
            return found
    if found:
        return found
    job = documents.job(describe)
    began, ended = _epoch(job["created"]), _epoch(job["ended"]) or time.time()
    streams = [
        (group, stream)
        for group in dict.fromkeys(_GROUPS.values())
        for stream in _streams(hook, group, name[:CHILD_PREFIX])
        if began - _MARGIN <= _written(stream) <= ended + _MARGIN
    ]
    # Names longer than the prefix belong to this job alone; newest streams first.
    streams.sort(key=lambda each: (each[1]["logStreamName"].startswith(name), _written(each[1])), reverse=True)
    return [tail for group, stream in streams[:_STREAMS] for tail in _tails(hook, group, [stream], 1)]


def resource_log_tail(hook: SageMakerAutoMLHook, kind: str, name: str) -> list[LogTail]:
    """Read the ends of the logs of a transform job or an endpoint.

    :param kind: one of :data:`airflow_automl.waiting.RESOURCES`.
    :raises AutoMLError: the logs can't be read.
    """
    group, prefix = (text.format(name=name) for text in _RESOURCES[kind])
    streams = sorted(_streams(hook, group, prefix), key=_written, reverse=True)
    return _tails(hook, group, streams, _STREAMS)


def show(log: Logger, read: Callable[[], list[LogTail]]) -> None:
    """Log the tails that ``read()`` returns; logs that can't be read are a remark, never an error.

    :param read: a function without parameters.
    """
    try:
        tails = read()
    except AutoMLError as error:
        log.info("CloudWatch's logs can't be read: %s", error)
        return
    for tail in tails:
        lines = "\n".join(f"  | {line}" for line in tail.lines)
        log.info("The end of %s in %s:\n%s", tail.stream, tail.group, lines)


def _failed_steps(candidates: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    steps = []
    for candidate in candidates:
        done = candidate.get("CandidateSteps") or ()
        if candidate.get("CandidateStatus") == "Failed" and done and done[-1].get("CandidateStepType") in _GROUPS:
            steps.append((_GROUPS[done[-1]["CandidateStepType"]], str(done[-1]["CandidateStepName"])))
    return list(dict.fromkeys(steps))[:_STREAMS]


def _streams(hook: SageMakerAutoMLHook, group: str, prefix: str) -> list[dict[str, Any]]:
    """Return a group's first streams of this name, or its newest ones; none if nothing has logged there yet."""
    # CloudWatch sorts by time only if no name is given.
    order = {"logStreamNamePrefix": prefix} if prefix else {"orderBy": "LastEventTime", "descending": True}
    request = {"logGroupName": group, "limit": 50, **order}
    with hook.reaching_aws("logs") as client:
        try:
            return list(client.describe_log_streams(**request).get("logStreams", ()))
        except client.exceptions.ResourceNotFoundException:
            return []


def _tails(hook: SageMakerAutoMLHook, group: str, streams: Iterable[Mapping[str, Any]], most: int) -> list[LogTail]:
    found = []
    for stream in list(streams)[:most]:
        name = stream["logStreamName"]
        with hook.reaching_aws("logs") as client:
            try:
                answer = client.get_log_events(
                    logGroupName=group, logStreamName=name, limit=_LINES, startFromHead=False
                )
            except client.exceptions.ResourceNotFoundException:
                continue
        lines = [redacted(line) for event in answer["events"] for line in event["message"].splitlines()]
        if lines:
            found.append(LogTail(group, name, lines[-_LINES:]))
    return found


def _written(stream: Mapping[str, Any]) -> float:
    return float(stream.get("lastEventTimestamp") or stream.get("creationTime") or 0) / 1000


def _epoch(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0
