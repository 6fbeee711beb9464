"""What a trainer is told about its job: plain data, so that it can be sent anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_automl.contract.migration import to_v2
from airflow_automl.local.state.jobs import Job
from airflow_automl.local.storage.client import parse_uri

#: Seconds, thirty years: the API has no upper bound for a limit, and clocks can't count to every number.
_FOREVER = 10**9


@dataclass(frozen=True)
class TrainerSettings:
    """What all trainers have in common.

    :param account: the AWS account in all ARNs.
    :param region: the AWS region.
    :param threads: cores for one job.
    :param memory_limit: bytes for one job, ``None`` for no limit.
    """

    account: str
    region: str
    threads: int
    memory_limit: int | None


def specification(settings: TrainerSettings, job: Job) -> dict[str, Any]:
    """Return the specification of a job's current attempt.

    :raises JobFailure: the request's output address has no bucket.
    """
    return {
        "schema_version": 2,
        "name": job.name,
        "arn": job.arn,
        "account": settings.account,
        "region": settings.region,
        "api_version": job.api,
        "request": job.request if job.api == "V2" else to_v2(job.request),
        "threads": settings.threads,
        "memory_limit_bytes": settings.memory_limit,
        "max_runtime": max_runtime(job),
        "attempt": job.attempt,
        "output": output_of(job),
    }


def output_of(job: Job) -> str:
    """Return the address under which all objects of a job are; always ``s3://``, though requests may say ``https://``.

    :raises JobFailure: the request's address has no bucket.
    """
    return f"{parse_uri(job.request['OutputDataConfig']['S3OutputPath']).uri.rstrip('/')}/{job.name}/"


def max_runtime(job: Job) -> int | None:
    """Return MaxAutoMLJobRuntimeInSeconds, counted from the start of the trainer (R52); ``None`` without a limit."""
    if job.api == "V1":
        config = job.request.get("AutoMLJobConfig", {})
    else:
        config = next(iter(job.request["AutoMLProblemTypeConfig"].values()))
    limit = config.get("CompletionCriteria", {}).get("MaxAutoMLJobRuntimeInSeconds")
    return None if limit is None else min(limit, _FOREVER)
