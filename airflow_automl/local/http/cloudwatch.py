"""CloudWatch Logs, as far as what trains here logs something: DescribeLogStreams and GetLogEvents.

A job's trainer log is the one stream ``<job's name>/trainer`` of the group ``/aws/sagemaker/TrainingJobs``, and of
``/aws/sagemaker/AutoMLJobs``, which the SageMaker SDK reads (``fit(logs=True)``). The other groups of SageMaker are
there and empty; moto answers for groups that users create.
"""

from __future__ import annotations

import itertools
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
_TOKEN = re.compile(r"([fb])/(\d{1,18})")
#: Largest answer of GetLogEvents, and what each event counts beside its message.
_EVENTS, _BYTES, _OVERHEAD = 10_000, 1_000_000, 26
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
    lines, begin, end = _page(path, members, limit)
    return {
        "events": [{"timestamp": at, "message": line, "ingestionTime": at} for line in lines],
        "nextForwardToken": f"f/{end}",
        "nextBackwardToken": f"b/{begin}",
    }


def _page(path: Path, members: Mapping[str, Any], limit: int) -> tuple[list[str], int, int]:
    """Read a page of a log; return its lines, and where in the file it begins and ends, which tokens name."""
    token = members.get("nextToken")
    match = None if token is None else _TOKEN.fullmatch(token)
    if token is not None and match is None:
        raise _invalid("The specified nextToken is invalid.")
    forward = match[1] == "f" if match else bool(members.get("startFromHead"))
    with path.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        place = min(int(match[2]), size) if match else 0 if forward else size
        start = place if forward else max(0, place - _BYTES)
        log.seek(start)
        data = log.read(_BYTES if forward else place - start)
    lines = data.splitlines(keepends=True)
    if forward and len(lines) > 1 and not lines[-1].endswith(b"\n"):
        lines.pop()  # cut off, or not written to its end
    elif not forward and start and len(lines) > 1:
        del lines[0]
    lines = lines[:limit] if forward else lines[::-1][:limit]
    taken = itertools.accumulate(len(line) + _OVERHEAD for line in lines)
    kept = [line for line, total in zip(lines, taken, strict=True) if total <= _BYTES] or lines[:1]
    length = sum(map(len, kept))
    begin, end = (place, place + length) if forward else (place - length, place)
    return [line.decode(errors="replace").rstrip("\r\n") for line in (kept if forward else kept[::-1])], begin, end


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameterException", message)


_OPERATIONS = {"DescribeLogStreams": _describe_log_streams, "GetLogEvents": _get_log_events}
