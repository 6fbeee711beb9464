"""The jobs that this Airflow knows: what its tasks pushed as XCom ``job``. Asks the metadata database, never AWS."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow.models.dag import DagModel
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import func, select

from airflow_automl import settings
from airflow_automl.links.sagemaker_automl import JOB_PAGE
from airflow_automl.naming import OWNER_TAG, TaskGeneration
from airflow_automl.plugin.account import Source
from airflow_automl.xcom import JOB_KEY, SUMMARY_KEY

#: How many XComs the index of all jobs reads, newest first; the accounts' lists hold a thousand jobs.
_MOST = 2000
_LIFETIME = 5.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A task that pushed a job's document: the one that submitted it, or one that waited for it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    job: Mapping[str, Any] = field(compare=False)
    at: datetime | None = None

    @property
    def name(self) -> str:
        """The job's name."""
        return str(self.job["name"])

    @property
    def arn(self) -> str:
        """The job's ARN, empty if the service did not tell."""
        return str(self.job.get("arn") or "")

    @property
    def owner(self) -> Owner:
        """The task that the document names as the one that submitted the job, else this one; no proof of either."""
        return owner_of(self.job.get("tags")) or self.task

    @property
    def task(self) -> Owner:
        """The task that pushed the document."""
        return Owner(self.dag_id, self.run_id, self.task_id, self.map_index)

    @property
    def submitted(self) -> bool:
        """Whether this task submitted the job: its name is derived from the task instance.

        Everything else in an XCom can be made up by whoever may write one.
        """
        about = TaskGeneration(settings.deployment(), self.dag_id, self.run_id, self.task_id, self.map_index)
        return about.task_digest in self.name.split("-")


@dataclass(frozen=True, slots=True)
class Owner:
    """The task whose job it is."""

    dag_id: str
    run_id: str | None = None
    task_id: str | None = None
    map_index: int = -1


def owner_of(tags: Mapping[str, str] | None) -> Owner | None:
    """Read from a job's tags who submitted it; ``None`` if it was no task of this package."""
    if not tags or OWNER_TAG not in tags or "airflow:dag_id" not in tags:
        return None
    index = tags.get("airflow:map_index", "-1")
    return Owner(
        tags["airflow:dag_id"],
        tags.get("airflow:run_id"),
        tags.get("airflow:task_id"),
        int(index) if index.isdecimal() else -1,
    )


def sightings(
    dag_id: str | None = None,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
    limit: int = _MOST,
) -> list[Sighting]:
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
    found = []
    for row in rows:
        job = _document(row.value)
        if job is not None:
            found.append(Sighting(row.dag_id, row.run_id, row.task_id, row.map_index, job, row.timestamp))
    return found


def _document(value: Any) -> Mapping[str, Any] | None:
    """Read an XCom's value; other tasks may push something else under the same key."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str) or "schema_version" not in value:
        return None
    return value


def sources(of: Iterable[Sighting]) -> dict[Sighting, Source]:
    """Tell through which connection each task reached its job, by the task's rendered fields.

    Airflow keeps those of the newest runs only; the others are taken to use ``aws_default`` in the job's region.
    """
    wanted = {(each.dag_id, each.run_id, each.task_id, each.map_index): each for each in of}
    fields: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    columns = RenderedTaskInstanceFields
    if wanted:
        query = select(
            columns.dag_id, columns.run_id, columns.task_id, columns.map_index, columns.rendered_fields
        ).where(
            columns.dag_id.in_({key[0] for key in wanted}),
            columns.run_id.in_({key[1] for key in wanted}),
            columns.task_id.in_({key[2] for key in wanted}),
        )
        with create_session(scoped=False) as session:
            for row in session.execute(query):
                fields[(row.dag_id, row.run_id, row.task_id, row.map_index)] = row.rendered_fields or {}
    return {each: _source(fields.get(key), each.arn) for key, each in wanted.items()}


def _source(rendered: Mapping[str, Any] | None, arn: str) -> Source:
    region = arn.split(":")[3] if arn.count(":") > 4 else None
    if rendered is None or "aws_conn_id" not in rendered:
        return Source(region=region)
    verify = rendered.get("verify")
    verify = {"True": True, "False": False}.get(verify, verify) if isinstance(verify, str) else verify
    connection = rendered["aws_conn_id"]
    return Source(
        None if connection in (None, "None", "") else str(connection),
        region,
        None if verify in (None, "None", "") else verify,
    )


def report_of(owner: Owner, name: str) -> dict[str, str]:
    """Find the report that a task of the same run wrote about a job.

    :return: ``address``, and ``link`` if a browser can open it; empty if there is none.
    """
    if owner.run_id is None:
        return {}
    query = select(XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value).where(
        XComModel.dag_id == owner.dag_id,
        XComModel.run_id == owner.run_id,
        XComModel.key.in_((SUMMARY_KEY, "_link_AutoMLReportLink")),
    )
    with create_session(scoped=False) as session:
        rows = session.execute(query).all()
    links = {(row.task_id, row.map_index): row.value for row in rows if row.key != SUMMARY_KEY}
    for row in rows:
        summary = json.loads(row.value) if isinstance(row.value, str) and row.key == SUMMARY_KEY else row.value
        if row.key == SUMMARY_KEY and isinstance(summary, Mapping) and summary.get("job_name") == name:
            link = links.get((row.task_id, row.map_index))
            # The link of a report that no browser can reach leads to the job's page, where we are.
            reachable = _is_web(link) and JOB_PAGE not in str(link)
            return {"address": str(summary.get("html") or ""), "link": str(link) if reachable else ""}
    return {}


def task_digest(sighting: Sighting) -> str:
    """Return what the derived names of all jobs of the same task instance contain."""
    identity = (sighting.dag_id, sighting.run_id, sighting.task_id, sighting.map_index)
    return TaskGeneration(settings.deployment(), *identity).task_digest


def _is_web(link: Any) -> bool:
    return isinstance(link, str) and link.startswith(("https://", "http://"))


def dag_exists(dag_id: str) -> bool:
    """Tell whether Airflow has this DAG now."""
    with create_session(scoped=False) as session:
        return bool(
            session.scalar(
                select(func.count()).select_from(DagModel).where(DagModel.dag_id == dag_id, ~DagModel.is_stale)
            )
        )


class KnownJobs:
    """All jobs that tasks of this Airflow saw, by ARN; read anew every few seconds at most."""

    def __init__(self) -> None:
        self._by_arn: dict[str, Sighting] = {}
        self._expires = 0.0
        self._lock = threading.Lock()

    def by_arn(self) -> Mapping[str, Sighting]:
        """Return each job's sighting: that of the task that submitted it, if there are several."""
        with self._lock:
            if self._expires <= time.monotonic():
                found: dict[str, Sighting] = {}
                for each in sightings():
                    if each.arn and (each.arn not in found or each.submitted):
                        found[each.arn] = each
                self._by_arn, self._expires = found, time.monotonic() + _LIFETIME
            return self._by_arn
