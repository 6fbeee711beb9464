"""What the pages ask Airflow's metadata database about tasks: how they reached their jobs, and what they returned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from airflow.models.asset import AssetEvent
from airflow.models.dag import DagModel
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import Text, cast, func, select

from airflow_automl.plugin.account import Source
from airflow_automl.plugin.known_jobs import JobRecord, Owner, decoded, read_xcom
from airflow_automl.report import history
from airflow_automl.times import seconds_between
from airflow_automl.xcom import BEST_CANDIDATE_KEY, HISTORY_KEY, JOB_KEY, SUMMARY_KEY

#: Kind of result, as in the template → the keys that distinguish it from what other tasks return.
_KINDS: Mapping[str, set[str]] = {
    "decision": {"passed", "reason", "candidate_name"},
    "retraining": {"train", "reason", "endpoint_name"},
    "evaluation": {"confusion_matrix", "CandidateProperties"},
    "endpoint": {"endpoint_name", "endpoint_config"},
    "deleted": {"endpoint_name", "endpoint_configs"},
    "predictions": {"transform_job_name", "output"},
    "package": {"model_package_arn", "approval_status"},
    "report": {"html", "job_name"},
    "refused": {"violations", "reason"},
}
_SLOT_TRIGGER = "airflow_automl.triggers.slot."


class Result(NamedTuple):
    """What a task says.

    :param kind: ``decision``, ``retraining``, ``evaluation``, ``endpoint``, ``deleted``, ``predictions``, ``package``,
        ``report``, ``refused`` or ``waiting``; empty for none of these.
    :param document: the XCom.
    :param rejected: the decision of the gate that rejected the candidate in the same run, if one did.
    """

    kind: str
    document: Mapping[str, Any]
    rejected: Mapping[str, Any] | None = None


def sources(of: Iterable[JobRecord]) -> dict[JobRecord, Source]:
    """Return the connection of each task's job, from the task's rendered fields.

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


def report_of(owner: Owner, name: str) -> Mapping[str, Any]:
    """Find the summary of the report that a task of the same run wrote about a job; empty if there is none."""
    if owner.run_id is None:
        return {}
    query = select(XComModel.value).where(
        XComModel.dag_id == owner.dag_id, XComModel.run_id == owner.run_id, XComModel.key == SUMMARY_KEY
    )
    with create_session(scoped=False) as session:
        values = session.scalars(query).all()
    return next((each for each in map(read_xcom, values) if each.get("job_name") == name), {})


def result_of(task: Owner) -> Result | None:
    """Return what a task instance says of itself; ``None`` if it has nothing to say."""
    of_task = (XComModel.task_id == task.task_id, XComModel.map_index == task.map_index)
    keys = (JOB_KEY, SUMMARY_KEY, BEST_CANDIDATE_KEY)
    of_run = select(XComModel.value).where(XComModel.dag_id == task.dag_id, XComModel.run_id == task.run_id)
    # The gate of another map index does not concern this one.
    decisions = of_run.where(
        XComModel.map_index.in_((task.map_index, -1)), cast(XComModel.value, Text).like('%"passed"%"reason"%')
    )
    instance = (
        select(TaskInstance.state, Trigger.classpath)
        .outerjoin(Trigger, TaskInstance.trigger_id == Trigger.id)
        .where(
            TaskInstance.dag_id == task.dag_id,
            TaskInstance.run_id == task.run_id,
            TaskInstance.task_id == task.task_id,
            TaskInstance.map_index == task.map_index,
        )
    )
    with create_session(scoped=False) as session:
        said = session.scalars(of_run.where(*of_task, XComModel.key.in_(keys))).all()
        decided = session.scalars(decisions).all()
        state, trigger = session.execute(instance).one_or_none() or (None, None)
    made = [each for each in map(read_xcom, decided) if _kind(each) == "decision"]
    rejected = next((each for each in made if each["passed"] is False), None)
    for document in map(read_xcom, said):
        if kind := _kind(document):
            return Result(kind, document, rejected if kind != "decision" else None)
    if (trigger or "").startswith(_SLOT_TRIGGER):
        return Result("waiting", {})
    return Result("", {}, rejected) if rejected and state == "skipped" else None


def _kind(document: Mapping[str, Any]) -> str:
    return next((kind for kind, keys in _KINDS.items() if keys <= document.keys()), "")


def histories(dag_id: str, most: int = 10) -> list[list[dict[str, Any]]]:
    """Return the newest history of each task of a DAG that reports, mapped ones by themselves.

    For a DAG without one, its jobs by the events of its assets.
    """
    query = (
        select(XComModel.task_id, XComModel.map_index, XComModel.value)
        .where(XComModel.dag_id == dag_id, XComModel.key == HISTORY_KEY)
        .order_by(XComModel.timestamp.desc())
        .limit(20 * most)
    )
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with create_session(scoped=False) as session:
        for task_id, map_index, value in session.execute(query):
            listed = decoded(value)
            found.setdefault((task_id, map_index), listed if isinstance(listed, list) else [])
    return (list(found.values()) or _jobs_of_events(dag_id))[:most]


def _jobs_of_events(dag_id: str) -> list[list[dict[str, Any]]]:
    """Return the jobs in the events of the assets that a DAG's tasks update, oldest first, for each of these tasks."""
    columns = (AssetEvent.source_task_id, AssetEvent.source_map_index, AssetEvent.source_run_id)
    query = (
        select(*columns, AssetEvent.timestamp, AssetEvent.extra)
        .where(AssetEvent.source_dag_id == dag_id)
        .order_by(AssetEvent.timestamp.desc())
        .limit(history.MOST)
    )
    with create_session(scoped=False) as session:
        events = session.execute(query).all()
    found: dict[tuple[Any, Any], dict[str, dict[str, Any]]] = {}
    for task_id, map_index, run_id, at, extra in reversed(events):
        job = (extra or {}).get("job")
        if isinstance(job, Mapping) and job.get("name"):
            summary = {
                "job_name": job["name"],
                "objective": job.get("objective"),
                "value": job.get("score"),
                "runtime_seconds": seconds_between(job.get("created"), job.get("ended")),
                "cost": job.get("cost"),
            }
            run = history.entry({"run_id": run_id}, summary, at.isoformat(), None, None, None, None)
            # Nothing in an event says whether the model was deployed. A run may update several assets.
            found.setdefault((task_id, map_index), {})[run_id] = {**run, "end": "Trained"}
    return [list(each.values()) for each in found.values()]


def dag_exists(dag_id: str) -> bool:
    """Return whether Airflow has this DAG now."""
    with create_session(scoped=False) as session:
        return bool(
            session.scalar(
                select(func.count()).select_from(DagModel).where(DagModel.dag_id == dag_id, ~DagModel.is_stale)
            )
        )
