"""AutoML jobs: create, describe, list, stop, and their candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_automl.local.api import describe
from airflow_automl.local.api.paging import list_query, make_token, sorting
from airflow_automl.local.errors import in_use, limit_exceeded, not_found
from airflow_automl.local.state import lists
from airflow_automl.local.state.database import load
from airflow_automl.local.state.jobs import partial_failure_reasons

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.state.jobs import Job

_SUMMARY = "name, arn, status, secondary, created, modified, ended, failure, partial"


def create_v1(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """CreateAutoMLJob."""
    return _create(backend, "V1", request)


def create_v2(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """CreateAutoMLJobV2."""
    return _create(backend, "V2", request)


def _create(backend: Backend, api: str, request: dict[str, Any]) -> Mapping[str, Any]:
    name = request["AutoMLJobName"]
    arn = backend.arn("automl-job", name)
    tags = request.get("Tags", [])
    kept = {key: value for key, value in request.items() if key != "Tags"}
    with backend.jobs.database.transaction():
        other = backend.jobs.find(name)
        if other is not None:
            raise in_use(
                f"an AutoML job named {other.name!r} exists already ({other.arn}); names are unique whatever their "
                "case, and can't be used again: choose another AutoMLJobName"
            )
        running, quota = backend.jobs.active(), backend.quota
        if quota is not None and running >= quota:
            raise limit_exceeded(
                "The account-level service limit 'Maximum number of concurrently running AutoML jobs' is "
                f"{quota}, with current utilization of {running} and a request delta of 1; "
                "wait for a job to end, or start the service with a higher --quota"
            )
        backend.jobs.add(name, arn, api, kept)
        backend.resources.add_tags(arn, tags)
    backend.jobs_changed()
    return {"AutoMLJobArn": arn}


def describe_v1(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeAutoMLJob (R5)."""
    job = _existing(backend, request)
    if job.api != "V1":
        raise not_found(
            f"the AutoML job {job.name!r} was made by CreateAutoMLJobV2; describe it with DescribeAutoMLJobV2"
        )
    return describe.v1(job, _best(backend, job))


def describe_v2(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """DescribeAutoMLJobV2 (R6)."""
    job = _existing(backend, request)
    return describe.v2(job, _best(backend, job))


def stop(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """StopAutoMLJob (R109)."""
    job = _existing(backend, request)
    if backend.jobs.stop(job.name):
        backend.jobs_changed()
    return {}


def list_jobs(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """ListAutoMLJobs (R107)."""
    query = list_query(request, "jobs", sort_by="Name")
    rows, more = lists.page(backend.jobs.database, query, _SUMMARY)
    token = make_token(rows[-1][query.order], rows[-1]["name"]) if more else None
    summaries = [
        {
            "AutoMLJobName": row["name"],
            "AutoMLJobArn": row["arn"],
            "AutoMLJobStatus": row["status"],
            "AutoMLJobSecondaryStatus": row["secondary"],
            "CreationTime": row["created"],
            "EndTime": row["ended"],
            "LastModifiedTime": row["modified"],
            "FailureReason": row["failure"] if row["status"] == "Failed" else None,
            "PartialFailureReasons": partial_failure_reasons(load(row["partial"])),
        }
        for row in rows
    ]
    return {"AutoMLJobSummaries": summaries, "NextToken": token}


def list_candidates(backend: Backend, request: dict[str, Any]) -> Mapping[str, Any]:
    """ListCandidatesForAutoMLJob (R108)."""
    job = _existing(backend, request)
    column, descending, after = sorting(request, "CreationTime", "Ascending")
    filters = {"StatusEquals": "status", "CandidateNameEquals": "name"}
    rows, more = lists.candidates(
        backend.jobs.database,
        job.name,
        column,
        descending=descending,
        size=request.get("MaxResults", 300),
        after=after,
        equal={filters[member]: request[member] for member in filters if member in request},
    )
    token = make_token(rows[-1][column], rows[-1]["name"]) if more else None
    return {"Candidates": [load(row["document"]) for row in rows], "NextToken": token}


def _existing(backend: Backend, request: Mapping[str, Any]) -> Job:
    job = backend.jobs.find(request["AutoMLJobName"])
    if job is None:
        raise not_found(f"no AutoML job is named {request['AutoMLJobName']!r}")
    return job


def _best(backend: Backend, job: Job) -> dict[str, Any] | None:
    return None if job.best is None else backend.jobs.candidate(job.name, job.best)


OPERATIONS = {
    "CreateAutoMLJob": create_v1,
    "CreateAutoMLJobV2": create_v2,
    "DescribeAutoMLJob": describe_v1,
    "DescribeAutoMLJobV2": describe_v2,
    "StopAutoMLJob": stop,
    "ListAutoMLJobs": list_jobs,
    "ListCandidatesForAutoMLJob": list_candidates,
}
