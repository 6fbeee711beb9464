"""The one place that knows the XCom keys.

``return_value`` is the best candidate's document in AWS's own keys, or ``None``; ``job`` is the job's document
(:class:`airflow_automl.contract.documents.JobDocument`), there from the moment of submission and renewed at every end;
``summary`` is what a report task says in short of the job that it reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from airflow_automl.exceptions import AutoMLValidationError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.definitions.xcom_arg import XComArg

    from airflow_automl.contract.documents import BestCandidate, JobDocument

__all__ = [
    "BEST_CANDIDATE_KEY",
    "JOB_KEY",
    "SUMMARY_KEY",
    "job_name",
    "pull_best_candidate",
    "pull_job",
    "push_job",
    "xcom_arg",
]

BEST_CANDIDATE_KEY = "return_value"
JOB_KEY = "job"
SUMMARY_KEY = "summary"


def push_job(context: Context, job: Mapping[str, Any]) -> None:
    """Push the job's document from within a running task.

    :param context: the task's context.
    :param job: the document (:func:`airflow_automl.contract.documents.job`).
    """
    context["ti"].xcom_push(key=JOB_KEY, value=dict(job))


def pull_job(ti: Any, task_ids: str, **kwargs: Any) -> JobDocument | None:
    """Pull a job's document.

    :param ti: the running task instance, ``context["ti"]``.
    :param task_ids: the task that submitted the job or waited on it.
    :param kwargs: what ``ti.xcom_pull`` takes further, such as ``map_indexes`` or ``dag_id``.
    :return: the document, or ``None`` if that task submitted no job.
    """
    return cast("JobDocument | None", ti.xcom_pull(task_ids=task_ids, key=JOB_KEY, **kwargs))


def pull_best_candidate(ti: Any, task_ids: str, **kwargs: Any) -> BestCandidate | None:
    """Pull a best candidate's document; parameters as for :func:`pull_job`.

    :return: the document in AWS's own keys, or ``None`` if the job has no best candidate.
    """
    return cast("BestCandidate | None", ti.xcom_pull(task_ids=task_ids, key=BEST_CANDIDATE_KEY, **kwargs))


def xcom_arg(operator: BaseOperator, key: str) -> XComArg:
    """Return a reference to one of an operator's XComs, which also makes the reader run after it."""
    from airflow.sdk.definitions.xcom_arg import PlainXComArg

    return PlainXComArg(operator=operator, key=key)


def job_name(job: Any) -> str | None:
    """Return the name in a job's document, as a task gets it from ``train.job``.

    :param job: the document; ``None`` (or what a template makes of it) if no job was submitted.
    :raises AutoMLValidationError: it is something else.
    """
    if job in (None, "", "None"):
        return None
    if isinstance(job, Mapping) and isinstance(job.get("name"), str) and job["name"]:
        return str(job["name"])
    raise AutoMLValidationError("job", [f"job: is no job's document with a name: {job!r:.80}; pass train.job"])
