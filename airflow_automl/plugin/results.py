"""What the tasks around a job tell of themselves: a refused request, a gate's decision, an endpoint, a report, …"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import Text, cast, select

from airflow_automl.plugin.known_jobs import Owner
from airflow_automl.xcom import BEST_CANDIDATE_KEY, JOB_KEY, SUMMARY_KEY

#: What only the result of one kind of task has → the kind, as the template names it.
_KINDS = {
    "passed": "decision",
    "endpoint_name": "endpoint",
    "transform_job_name": "predictions",
    "model_package_arn": "package",
    "html": "report",
    "violations": "refused",
}
_SLOT_TRIGGER = "airflow_automl.triggers.slot."


class Result(NamedTuple):
    """What a task says.

    :param kind: ``decision``, ``endpoint``, ``predictions``, ``package``, ``report``, ``refused`` or ``waiting``; empty
        for none of these.
    :param document: the XCom.
    :param rejected: the decision of the gate that rejected the candidate in the same run, if one did.
    """

    kind: str
    document: Mapping[str, Any]
    rejected: Mapping[str, Any] | None = None


def result_of(task: Owner) -> Result | None:
    """Return what a task instance says of itself; ``None`` if it has nothing to say."""
    of_task = (XComModel.task_id == task.task_id, XComModel.map_index == task.map_index)
    keys = (JOB_KEY, SUMMARY_KEY, BEST_CANDIDATE_KEY)
    of_run = select(XComModel.value).where(XComModel.dag_id == task.dag_id, XComModel.run_id == task.run_id)
    # The gate of another map index says nothing of this one.
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
    rejected = next((each for each in map(_mapping, decided) if each.get("passed") is False), None)
    for document in map(_mapping, said):
        kind = next((kind for key, kind in _KINDS.items() if key in document), "")
        if kind:
            return Result(kind, document, rejected if kind != "decision" else None)
    if (trigger or "").startswith(_SLOT_TRIGGER):
        return Result("waiting", {})
    return Result("", {}, rejected) if rejected and state == "skipped" else None


def _mapping(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}
