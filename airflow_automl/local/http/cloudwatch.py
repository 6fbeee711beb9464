"""CloudWatch Logs, as far as what trains here logs something: DescribeLogStreams and GetLogEvents.

A job's trainer log is the one stream ``<job's name>/trainer`` of the group ``/aws/sagemaker/TrainingJobs``. The other
groups of SageMaker are there and empty; groups of users are not ours, and answered by moto.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_automl.local.errors import ServiceError
from airflow_automl.local.http.messages import JSON, Request, Response, parse
from airflow_automl.local.state.jobs import STAGES

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.state.jobs import Job

__all__ = ["GROUP", "answer"]

GROUP = "/aws/sagemaker/TrainingJobs"
_OURS = "/aws/sagemaker/"
_STREAM = "trainer"
_TARGET = "Logs_20140328."
_TOKEN = re.compile(r"([fb])/(\d+)")
#: What GetLogEvents answers at most, and how much of a long log's end can be read at all.
_EVENTS, _BYTES, _LOG = 10_000, 1_000_000, 4_000_000
_STREAMS = 50


def answer(backend: Backend, request: Request) -> Response | None:
    """Answer a call of CloudWatch Logs about our groups; ``None`` leaves it to moto.

    :raises ServiceError: the stream is not there, or the call makes no sense.
    """
    operation = request.headers.get("x-amz-target", "").removeprefix(_TARGET)
    if operation not in _OPERATIONS:
        return None
    members = parse(request.body)
    group = members.get("logGroupName") or str(members.get("logGroupIdentifier") or "").rpartition(":")[2]
    if not str(group).startswith(_OURS):
        return None
    body = json.dumps(_OPERATIONS[operation](backend, group, members), separators=(",", ":"))
    return Response(200, {"content-type": JSON}, body.encode())


def _describe_log_streams(backend: Backend, group: str, members: Mapping[str, Any]) -> dict[str, Any]:
    prefix, limit = members.get("logStreamNamePrefix") or "", members.get("limit") or _STREAMS
    by_time = members.get("orderBy") == "LastEventTime"
    if by_time and prefix:
        raise _invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    if not isinstance(limit, int) or not 1 <= limit <= _STREAMS:
        raise _invalid(f"limit is {limit!r}; valid are 1 to {_STREAMS}.")
    found = []
    if group == GROUP:
        for job in backend.jobs.in_stage(*STAGES):
            path = backend.folder.job(job.name) / "trainer.log"
            if f"{job.name}/{_STREAM}".startswith(prefix) and path.exists():
                found.append(_stream(backend, job, path))
    found.sort(
        key=lambda each: each["lastEventTimestamp"] if by_time else each["logStreamName"],
        reverse=bool(members.get("descending")),
    )
    names = [each["logStreamName"] for each in found]
    begin = names.index(members["nextToken"]) + 1 if members.get("nextToken") in names else 0
    page = found[begin : begin + limit]
    more = {"nextToken": page[-1]["logStreamName"]} if begin + limit < len(found) else {}
    return {"logStreams": page, **more}


def _stream(backend: Backend, job: Job, path: Path) -> dict[str, Any]:
    name, state = f"{job.name}/{_STREAM}", path.stat()
    created, written = int(job.created * 1000), int(state.st_mtime * 1000)
    group = f"arn:aws:logs:{backend.region}:{backend.account}:log-group:{GROUP}"
    return {
        "logStreamName": name,
        "creationTime": created,
        "firstEventTimestamp": created,
        "lastEventTimestamp": written,
        "lastIngestionTime": written,
        "arn": f"{group}:log-stream:{name}",
        "storedBytes": state.st_size,
    }


def _get_log_events(backend: Backend, group: str, members: Mapping[str, Any]) -> dict[str, Any]:
    stream, limit = str(members.get("logStreamName") or ""), members.get("limit") or _EVENTS
    if not isinstance(limit, int) or not 1 <= limit <= _EVENTS:
        raise _invalid(f"limit is {limit!r}; valid are 1 to {_EVENTS}.")
    name, _, kind = stream.rpartition("/")
    job = backend.jobs.find(name) if group == GROUP and kind == _STREAM else None
    path = backend.folder.job(job.name) / "trainer.log" if job else None
    if job is None or path is None or not path.exists():
        raise ServiceError("ResourceNotFoundException", "The specified log stream does not exist.")
    at = int(path.stat().st_mtime * 1000)
    lines = _lines(path)
    begin, end = _page(members, len(lines), limit)
    size = 0
    for last in range(end - 1, begin - 1, -1):
        size += len(lines[last]) + 26
        if size > _BYTES:
            begin = last + 1
            break
    return {
        "events": [{"timestamp": at, "message": line, "ingestionTime": at} for line in lines[begin:end]],
        "nextForwardToken": f"f/{end}",
        "nextBackwardToken": f"b/{begin}",
    }


def _page(members: Mapping[str, Any], count: int, limit: int) -> tuple[int, int]:
    token = members.get("nextToken")
    if token is None:
        return (0, min(limit, count)) if members.get("startFromHead") else (max(0, count - limit), count)
    match = _TOKEN.fullmatch(str(token))
    if match is None:
        raise _invalid("The specified nextToken is invalid.")
    place = min(int(match[2]), count)
    return (place, min(place + limit, count)) if match[1] == "f" else (max(0, place - limit), place)


def _lines(path: Path) -> list[str]:
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG))
        return log.read().decode(errors="replace").splitlines()


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameterException", message)


_OPERATIONS = {"DescribeLogStreams": _describe_log_streams, "GetLogEvents": _get_log_events}
