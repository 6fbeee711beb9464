"""The XCom keys, and how they are written and read.

``return_value`` is the best candidate's document in AWS's own keys, or ``None``; ``job`` is the job's document
(:class:`airflow_automl.contract.documents.JobDocument`), pushed at the submission and again at the end; ``summary`` is
a report task's summary of its job, ``history`` the history of the runs of its DAG, and ``run`` what it notes of one run
for the histories of later ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from airflow_automl.exceptions import AutoMLValidationError

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.definitions.xcom_arg import XComArg

    from airflow_automl.contract.documents import BestCandidate, JobDocument


BEST_CANDIDATE_KEY = "return_value"
JOB_KEY = "job"
SUMMARY_KEY = "summary"
HISTORY_KEY = "history"
RUN_KEY = "run"


def push_job(context: Context, job: Mapping[str, Any]) -> None:
    """Push the job's document from within a running task.

    :param context: the task's context.
    :param job: the document (:func:`airflow_automl.contract.documents.job`).
    """
    context["ti"].xcom_push(key=JOB_KEY, value=dict(job))


def push_refusal(context: Context, error: Exception) -> None:
    """Push why there is no job, in the place of the job's document.

    :param context: the task's context.
    :param error: why the request was refused.
    """
    violations = [str(violation) for violation in getattr(error, "violations", ())]
    document = {"schema_version": 1, "name": None, "reason": str(error), "violations": violations}
    context["ti"].xcom_push(key=JOB_KEY, value=document)


def pull_refusal(ti: Any, task_ids: str, **kwargs: Any) -> dict[str, Any] | None:
    """Pull why a task submitted no job; parameters as for :func:`pull_job`.

    :return: ``{"schema_version", "name": None, "reason", "violations"}``, or ``None`` if it submitted a job or ended
        before it had a request.
    """
    found = ti.xcom_pull(task_ids=task_ids, key=JOB_KEY, **kwargs)
    return found if isinstance(found, dict) and not found.get("name") else None


def pull_job(ti: Any, task_ids: str, **kwargs: Any) -> JobDocument | None:
    """Pull a job's document.

    :param ti: the running task instance, ``context["ti"]``.
    :param task_ids: the task that submitted the job or waited on it.
    :param kwargs: what ``ti.xcom_pull`` takes further, such as ``map_indexes`` or ``dag_id``.
    :return: the document, or ``None`` if that task submitted no job.
    """
    found = ti.xcom_pull(task_ids=task_ids, key=JOB_KEY, **kwargs)
    return cast("JobDocument", found) if isinstance(found, dict) and found.get("name") else None


def pull_best_candidate(ti: Any, task_ids: str, **kwargs: Any) -> BestCandidate | None:
    """Pull a best candidate's document; parameters as for :func:`pull_job`.

    :return: the document in AWS's own keys, or ``None`` if the job has no best candidate.
    """
    return cast("BestCandidate | None", ti.xcom_pull(task_ids=task_ids, key=BEST_CANDIDATE_KEY, **kwargs))


def documents_of(event: Any) -> dict[str, Any]:
    """Return the documents in an asset's event, of a task or of the event trigger.

    A task's outlets carry the documents in ``extra`` itself; Airflow puts those of
    :class:`~airflow_automl.triggers.SageMakerAutoMLEventTrigger` into ``extra["payload"]``.

    :param event: one of ``triggering_asset_events`` or ``inlet_events``.
    :return: ``{"best_candidate", "job"}``; each is ``None`` if the event has none.
    """
    extra = event.extra or {}
    payload = extra.get("payload")
    found = payload if isinstance(payload, Mapping) else extra
    return {key: found.get(key) for key in ("best_candidate", "job")}


def xcom_arg(operator: BaseOperator, key: str) -> XComArg:
    """Return a reference to one of an operator's XComs, which also makes the reader run after it.

    It is ``None`` if the operator has pushed no such XCom: a task that ended early has submitted no job.
    """
    return cast("XComArg", _optional_arg()(operator=operator, key=key))


@cache
def _optional_arg() -> type:
    from airflow.sdk.definitions.xcom_arg import PlainXComArg

    from airflow_automl.compat import XComNotFound

    class OptionalXComArg(PlainXComArg):
        def resolve(self, context: Any) -> Any:
            try:
                return super().resolve(context)
            except XComNotFound:
                return None

    return OptionalXComArg


def job_name(job: Any) -> str | None:
    """Return the name in a job's document, as a task gets it from ``train.job``.

    :param job: the document; ``None`` (or what a template makes of it) if no job was submitted.
    :raises AutoMLValidationError: it is something else.
    """
    if job in (None, "", "None") or (isinstance(job, Mapping) and "name" in job and job["name"] is None):
        return None
    if isinstance(job, Mapping) and isinstance(job.get("name"), str) and job["name"]:
        return str(job["name"])
    raise AutoMLValidationError("job", [f"job: is not the document of a job with a name: {job!r:.80}; pass train.job"])
