"""What the pages ask Airflow's metadata database, apart from the jobs themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from airflow.models.dag import DagModel
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import func, select

from airflow_automl.plugin.account import Source
from airflow_automl.plugin.known_jobs import JobRecord, Owner
from airflow_automl.xcom import SUMMARY_KEY


def sources(of: Iterable[JobRecord]) -> dict[JobRecord, Source]:
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


def report_of(owner: Owner, name: str) -> Mapping[str, Any]:
    """Find the summary of the report that a task of the same run wrote about a job; empty if there is none."""
    if owner.run_id is None:
        return {}
    query = select(XComModel.value).where(
        XComModel.dag_id == owner.dag_id, XComModel.run_id == owner.run_id, XComModel.key == SUMMARY_KEY
    )
    with create_session(scoped=False) as session:
        values = session.scalars(query).all()
    found = (json.loads(value) if isinstance(value, str) else value for value in values)
    return next((each for each in found if isinstance(each, Mapping) and each.get("job_name") == name), {})


def dag_exists(dag_id: str) -> bool:
    """Tell whether Airflow has this DAG now."""
    with create_session(scoped=False) as session:
        return bool(
            session.scalar(
                select(func.count()).select_from(DagModel).where(DagModel.dag_id == dag_id, ~DagModel.is_stale)
            )
        )
