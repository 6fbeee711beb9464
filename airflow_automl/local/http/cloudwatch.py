"""CloudWatch Logs, as far as what trains here logs something: DescribeLogStreams and GetLogEvents.

A job's trainer log is the one stream ``<job's name>/trainer`` of the group ``/aws/sagemaker/TrainingJobs``, and of
``/aws/sagemaker/AutoMLJobs``, which the SageMaker SDK reads (``fit(logs=True)``). The other groups of SageMaker are
there and empty; moto answers for groups that users create.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_automl.contract.shapes import check_shape
from airflow_automl.local.api.paging import make_token, read_token
from airflow_automl.local.errors import ServiceError
from airflow_automl.local.http.messages import JSON, Request, Response, parse
from airflow_automl.local.service_model import shapes
from airflow_automl.local.state import lists

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend

GROUP = "/aws/sagemaker/TrainingJobs"
_GROUPS = (GROUP, "/aws/sagemaker/AutoMLJobs")
_OURS = "/aws/sagemaker/"
_STREAM = "trainer"
_TARGET = "Logs_20140328."
_TOKEN = re.compile(r"([fb])/(\d+)")
#: Largest answer of GetLogEvents, and how much of a long log's end can be read.
_EVENTS, _BYTES, _LOG = 10_000, 1_000_000, 4_000_000
_STREAMS = 50
#: Jobs per page of DescribeLogStreams; pruned jobs have no logs.
_LOOKED_AT = 200


def answer(backend: Backend, request: Request) -> Response | None:
    """Answer a call of CloudWatch Logs about our groups; ``None`` leaves it to moto.

    :raises ServiceError: the stream is not there, or the call makes no sense.
    """
    operation = request.headers.get("x-amz-target", "").removeprefix(_TARGET)
    if operation not in _OPERATIONS:
        return None
    members = parse(request.body)
    if found := check_shape(shapes("logs"), f"{operation}Request", members):
        raise _invalid("; ".join(map(str, found)))
    group = members.get("logGroupName") or members.get("logGroupIdentifier", "").rpartition(":")[2]
    if not group.startswith(_OURS):
        return None
    body = json.dumps(_OPERATIONS[operation](backend, group, members), separators=(",", ":"))
    return Response(200, {"content-type": JSON}, body.encode())


def _describe_log_streams(backend: Backend, group: str, members: Mapping[str, Any]) -> dict[str, Any]:
    prefix, limit = members.get("logStreamNamePrefix", ""), members.get("limit", _STREAMS)
    by_time = members.get("orderBy") == "LastEventTime"
    if by_time and prefix:
        raise _invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    job, slash, kind = prefix.partition("/")
    if group not in _GROUPS or not _STREAM.startswith(kind):
        return {"logStreams": []}
    after = None
    if "nextToken" in members:
        try:
            after = read_token(members["nextToken"], "modified" if by_time else "name")
        except ServiceError as error:
            raise _invalid("The specified nextToken is invalid.") from error
    rows = lists.jobs_with_log(
        backend.jobs.database,
        descending=members.get("descending", False),
        size=_LOOKED_AT,
        after=after,
        by_time=by_time,
        prefix=job,
        whole=bool(slash),
    )
    streams: list[dict[str, Any]] = []
    # As with CloudWatch, a page with few streams, or none, may have a token.
    for row in rows:
        path = backend.folder.job(row["name"]) / "trainer.log"
        if path.exists():
            streams.append(_stream(backend, group, row["name"], row["created"], path))
        if len(streams) == limit or row is rows[-1]:
            last = row is rows[-1] and len(rows) < _LOOKED_AT
            more = {} if last else {"nextToken": make_token(row["modified"] if by_time else row["name"], row["name"])}
            return {"logStreams": streams, **more}
    return {"logStreams": streams}


def _stream(backend: Backend, group: str, job: str, since: float, path: Path) -> dict[str, Any]:
    name, state = f"{job}/{_STREAM}", path.stat()
    created, written = int(since * 1000), int(state.st_mtime * 1000)
    owner = f"arn:aws:logs:{backend.region}:{backend.account}:log-group:{group}"
    return {
        "logStreamName": name,
        "creationTime": created,
        "firstEventTimestamp": created,
        "lastEventTimestamp": written,
        "lastIngestionTime": written,
        "arn": f"{owner}:log-stream:{name}",
        "storedBytes": state.st_size,
    }


def _get_log_events(backend: Backend, group: str, members: Mapping[str, Any]) -> dict[str, Any]:
    limit = members.get("limit", _EVENTS)
    name, _, kind = members["logStreamName"].rpartition("/")
    job = backend.jobs.find(name) if group in _GROUPS and kind == _STREAM else None
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
    match = _TOKEN.fullmatch(token)
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
