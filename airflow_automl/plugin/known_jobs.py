"""The jobs that this Airflow knows: what its tasks pushed as XCom ``job``. Asks the metadata database, never AWS."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_automl import settings
from airflow_automl.contract.states import End
from airflow_automl.naming import TaskGeneration, submitter
from airflow_automl.report.sections import finite
from airflow_automl.xcom import JOB_KEY

#: How many XComs the index of all jobs reads, newest first; the accounts' lists hold a thousand jobs.
_MOST = 2000
_LIFETIME = 5.0


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A task that pushed a job's document: it submitted the job, or waited for it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    job: Mapping[str, Any] = field(compare=False)
    at: datetime | None = None

    @property
    def name(self) -> str:
        return str(self.job["name"])

    @property
    def arn(self) -> str:
        """The job's ARN, empty if unknown."""
        return str(self.job.get("arn") or "")

    @property
    def owner(self) -> Owner:
        """The task that submitted the job according to the document, else this one; neither is proven."""
        return owner_of(self.job.get("tags"), self.name) or self.task

    @property
    def task(self) -> Owner:
        return Owner(self.dag_id, self.run_id, self.task_id, self.map_index)

    @property
    def submitted(self) -> bool:
        """Whether this task submitted the job: its name is derived from the task instance.

        Everything else in an XCom can be forged by anyone who may write one.
        """
        return self.task.task_digest in self.name.split("-")


@dataclass(frozen=True, slots=True)
class Owner:
    """The task whose job it is."""

    dag_id: str
    run_id: str | None = None
    task_id: str | None = None
    map_index: int = -1

    @property
    def task_digest(self) -> str:
        """What the derived names of all jobs of this task instance contain."""
        ids = (self.dag_id, str(self.run_id), str(self.task_id))
        return TaskGeneration(settings.deployment(), *ids, self.map_index).task_digest


def owner_of(tags: Mapping[str, str] | None, name: str) -> Owner | None:
    """Read from a job's tags who submitted it; ``None`` if it was not a task of this Airflow.

    :param name: the job's.
    """
    task = submitter(tags or {}, name)
    return Owner(task.dag_id, task.run_id, task.task_id, task.map_index) if task else None


def _are_texts(value: Any, keys: Iterable[str] = ()) -> bool:
    return isinstance(value, Mapping) and {*keys} <= {*value} and all(isinstance(each, str) for each in value.values())


def _is_transition(value: Any) -> bool:
    if not isinstance(value, Mapping) or "secondary_status" not in value:
        return False
    return _are_texts({**value, "secondary_status": value["secondary_status"] or ""}, ("at", "status"))


#: Member of a job's document that the pages use → whether a value can be one; the others are texts.
_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "schema_version": lambda value: isinstance(value, int),
    "tags": _are_texts,
    "end": lambda value: _are_texts(value, End._fields) and len(value) == len(End._fields),
    "score": finite,
    "cost": lambda value: isinstance(value, Mapping),
    "timeline": lambda value: isinstance(value, list) and all(map(_is_transition, value)),
    "partial_failures": lambda value: isinstance(value, list),
}


def _sound(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without what the pages can't show: anyone who may write an XCom may write anything."""
    known = ((key, value, _CHECKS.get(key, lambda value: isinstance(value, str))) for key, value in job.items())
    return {key: value for key, value, is_sound in known if is_sound(value)}


def job_records(
    dag_id: str | None = None,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
    limit: int = _MOST,
) -> list[JobRecord]:
    """List the jobs of a DAG, a run, a task, or a task instance, newest first.

    :param map_index: ``None`` for all instances of a mapped task.
    """
    query = select(
        XComModel.dag_id, XComModel.run_id, XComModel.task_id, XComModel.map_index, XComModel.value, XComModel.timestamp
    ).where(XComModel.key == JOB_KEY)
    wanted = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    for column, value in wanted.items():
        if value is not None:
            query = query.where(getattr(XComModel, column) == value)
    with create_session(scoped=False) as session:
        rows = session.execute(query.order_by(XComModel.timestamp.desc()).limit(limit)).all()
    found = [
        JobRecord(row.dag_id, row.run_id, row.task_id, row.map_index, _sound(read_xcom(row.value)), row.timestamp)
        for row in rows
    ]
    # Other tasks may push something else under the same key.
    return [each for each in found if isinstance(each.job.get("name"), str) and "schema_version" in each.job]


def decoded(value: Any) -> Any:
    """Return an object or a list that an XCom holds; of text that is neither, ``None``."""
    while isinstance(value, str):  # Airflow's API before 3.2 encodes twice what a user edits
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value


def read_xcom(value: Any) -> Mapping[str, Any]:
    """Read the value of an XCom; empty if it is not a JSON object."""
    found = decoded(value)
    return found if isinstance(found, Mapping) else {}


class KnownJobs:
    """All jobs that tasks of this Airflow saw, by ARN; read again every few seconds at most."""

    def __init__(self) -> None:
        self._by_arn: dict[str, JobRecord] = {}
        self._expires = 0.0
        self._lock = threading.Lock()

    def by_arn(self) -> Mapping[str, JobRecord]:
        """Return each job's record: that of the task that submitted it, if there are several."""
        with self._lock:
            if self._expires <= time.monotonic():
                found: dict[str, JobRecord] = {}
                for each in job_records():
                    if each.arn and (each.arn not in found or each.submitted):
                        found[each.arn] = each
                self._by_arn, self._expires = found, time.monotonic() + _LIFETIME
            return self._by_arn
