"""The routes of lists of jobs, and of the tabs of DAGs, runs, tasks and task instances."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from airflow_automl.contract.states import is_terminal
from airflow_automl.exceptions import AutoMLError, AutoMLTransientError
from airflow_automl.plugin import known_jobs, metadata, rows
from airflow_automl.plugin.account import MOST_JOBS, Jobs, Source
from airflow_automl.plugin.errors import explained
from airflow_automl.plugin.job_view import REFRESH
from airflow_automl.plugin.known_jobs import JobRecord, Owner
from airflow_automl.plugin.links import Links
from airflow_automl.plugin.pages import Text, account_of, html, job_page, known_of, shown_job, source_of, view_of
from airflow_automl.plugin.rights import Denied, Rights
from airflow_automl.report.history import section

router = APIRouter(default_response_class=HTMLResponse)

#: Airflow leaves the placeholder in the address of a task that is not mapped.
MapIndex = Annotated[str, Query(pattern=r"^(-?[0-9]{1,9}|\{MAP_INDEX\}|)$")]
_LIVE = 10
_ENDED = 30


@router.get("/jobs")
async def jobs(
    request: Request,
    user: GetUserDep,
    connection: Text = "aws_default",
    region: Text = "",
    search: Text = "",
    status: Text = "",
    problem_type: Text = "",
    sort: Annotated[str, Query(pattern="^-?(job|status|score|type|owner|created|time)$")] = rows.NEWEST,
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> HTMLResponse:
    """Show the jobs of a connection: those of the DAGs that the user may see, and all others if they may see it."""
    rights, account, known = Rights(user), account_of(request), known_of(request)
    source = source_of(connection.strip(), region.strip())
    filters = rows.Filters(search.strip(), status, problem_type)
    error: Exception | None = None
    found = Jobs()
    if not await asyncio.to_thread(lambda: rights.may_ask(source.connection, known.by_arn().values())):
        raise Denied(f"You may see neither the connection {source.connection!r} nor a DAG that used it for a job.")
    try:
        found = await account.jobs(source)
        if found.more and filters.search:
            found = await account.jobs(source, filters.search)
    except AutoMLError as failure:
        error = failure

    def gather() -> dict[str, Any]:
        by_arn, seen = known.by_arn(), account.seen()
        all_rows = [
            rows.from_summary(
                each,
                source,
                by_arn.get(each["AutoMLJobArn"]),
                seen.get(each["AutoMLJobArn"]),
                found.waits(each),
            )
            for each in found.rows
        ]
        visible = _visible(rights, all_rows, source)
        return {
            "page": rows.Page.of(rows.ordered([row for row in visible if filters.takes(row)], sort), page),
            "problem_types": sorted({row.problem_type for row in visible if row.problem_type}),
            "unknown_types": any(row.problem_type is None for row in visible),
            "all": len(visible),
            "connections": rights.connections(),
        }

    return await html(
        request,
        "jobs.html.j2",
        source=source,
        filters=filters,
        sort=sort,
        statuses=rows.STATUSES,
        error=error and explained(error),
        found=found,
        most=MOST_JOBS,
        refresh=_LIVE,
        **await asyncio.to_thread(gather),
    )


def _visible(rights: Rights, found: Iterable[rows.Row], source: Source | None) -> list[rows.Row]:
    found = list(found)
    dags = rights.visible_dags({row.owner.dag_id for row in found if row.owner})
    ownerless = source is not None and rights.may_see_connection(source.connection)
    return [row for row in found if (row.owner.dag_id in dags if row.owner else ownerless)]


@router.get("/dag")
@router.get("/run")
@router.get("/task")
async def listed(
    request: Request,
    user: GetUserDep,
    dag_id: Text,
    run_id: Text = "",
    task_id: Text = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> HTMLResponse:
    """Show the jobs of a DAG, of a run, or of all runs of a task, newest first."""
    what = "this task" if task_id else "this run" if run_id else "this DAG"
    find = lambda: known_jobs.job_records(dag_id, run_id or None, task_id or None)  # noqa: E731
    rights = Rights(user)
    return await _listed(request, rights, dag_id, find, page, what, history=not run_id and not task_id)


@router.get("/task-instance")
async def task_instance(
    request: Request,
    user: GetUserDep,
    dag_id: Text,
    run_id: Text,
    task_id: Text,
    map_index: MapIndex = "-1",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> HTMLResponse:
    """Show the job of a task instance, or a list for a mapped task as a whole."""
    rights = Rights(user)
    index = int(map_index) if map_index.isdecimal() else None

    def find() -> list[JobRecord]:
        return known_jobs.job_records(dag_id, run_id, task_id, index)

    await _demand_dag(rights, dag_id)
    found = await asyncio.to_thread(find)
    if not found:
        task = Owner(dag_id, run_id, task_id, -1 if index is None else index)
        if await asyncio.to_thread(rights.may_see_xcoms, dag_id) and (
            result := await asyncio.to_thread(metadata.result_of, task)
        ):
            return await _result(request, rights, task, result)
    if len(found) != 1:
        return await _listed(request, rights, dag_id, lambda: found, page, "this task instance")
    record = found[0]
    source = (await asyncio.to_thread(metadata.sources, found))[record]
    try:
        shown = await shown_job(request, rights, source, record.name)
    except (AutoMLTransientError, Denied) as error:
        # The task's own XCom, which the user may read.
        return await _listed(request, rights, dag_id, lambda: found, page, "this task instance", error)
    view = await view_of(request, rights, shown)
    # A cleared task submits another job: its tab is never done.
    view["refresh"] = view["refresh"] or _ENDED
    return await job_page(request, earlier=await _earlier(request, source, record), **view)


async def _result(request: Request, rights: Rights, task: Owner, result: metadata.Result) -> HTMLResponse:
    noted = JobRecord(task.dag_id, str(task.run_id), str(task.task_id), task.map_index, {"name": ""})
    source = (await asyncio.to_thread(metadata.sources, [noted]))[noted]
    endpoint: Mapping[str, Any] = {}
    # An XCom may name any endpoint: the name gives no permission to see it.
    if result.kind == "endpoint" and await asyncio.to_thread(rights.may_see_connection, source.connection):
        with suppress(AutoMLError):
            name = str(result.document["endpoint_name"])
            endpoint = await account_of(request).call(source, "describe_endpoint", EndpointName=name)
    return await html(
        request,
        "result.html.j2",
        result=result,
        source=source,
        variants=endpoint.get("ProductionVariants") or (),
        endpoint_status=endpoint.get("EndpointStatus"),
        report=Links(request.scope.get("root_path", "")).report(result.document, source),
        refresh=_LIVE,
    )


async def _earlier(request: Request, source: Source, record: JobRecord) -> list[rows.Row]:
    if not record.submitted:
        return []
    digest = record.task.task_digest
    try:
        listed = await account_of(request).jobs(source)
    except AutoMLError:
        return []
    return [
        rows.from_summary(row, source, record)
        for row in listed.rows
        if digest in row["AutoMLJobName"] and row["AutoMLJobName"] != record.name
    ]


async def _demand_dag(rights: Rights, dag_id: str) -> None:
    if not await asyncio.to_thread(rights.may_see_dag, dag_id):
        raise Denied("You may not see this DAG.")


async def _listed(
    request: Request,
    rights: Rights,
    dag_id: str,
    find: Callable[[], list[JobRecord]],
    number: int,
    what: str,
    error: Exception | None = None,
    history: bool = False,
) -> HTMLResponse:
    await _demand_dag(rights, dag_id)

    def gather() -> tuple[list[JobRecord], dict[JobRecord, Source], list[Markup]]:
        found = find()
        shown = metadata.histories(dag_id) if history and rights.may_see_xcoms(dag_id) else []
        return found, metadata.sources(found), [section(each) for each in shown]

    found, of, over_time = await asyncio.to_thread(gather)
    unfinished = [each for each in found if not is_terminal(each.job.get("status"))]
    live: dict[str, Mapping[str, Any]] = {}
    waiting: set[str] = set()
    if error is None:
        answers = await asyncio.gather(
            *(account_of(request).jobs(source) for source in {of[each] for each in unfinished}), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, Jobs):
                live |= {row["AutoMLJobArn"]: row for row in answer.rows}
                waiting |= {row["AutoMLJobArn"] for row in answer.rows if answer.waits(row)}
            elif isinstance(answer, AutoMLError):
                error = answer
            else:
                raise answer

    def cut() -> rows.Page:
        # The document may be of another job than the task's own.
        seen = {source: rights.may_see_connection(source.connection) for source in {of[each] for each in unfinished}}
        shown = {each.arn for each in found if each.submitted or seen.get(of[each])}
        listed = [
            rows.from_record(each, of[each], live.get(each.arn), each.arn in waiting)
            if each.arn in shown
            else rows.from_record(each, of[each], None)
            for each in found
        ]
        return rows.Page.of(_visible(rights, listed, None), number)

    page = await asyncio.to_thread(cut)
    query = {key: value for key, value in request.query_params.items() if key != "page"}
    return await html(
        request,
        "listed.html.j2",
        history=over_time,
        page=page,
        what=what,
        error=error and explained(error),
        address=request.url.path.rpartition("/")[2],
        query=query,
        refresh=REFRESH if unfinished else _LIVE,
    )
