"""The routes: each authenticates, asks what the user may see, and only then shows anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from airflow_automl.contract.states import is_terminal
from airflow_automl.exceptions import AutoMLError, AutoMLTransientError
from airflow_automl.plugin import known_jobs, metadata, rows
from airflow_automl.plugin.account import MOST_JOBS, Account, Jobs, Source
from airflow_automl.plugin.job_view import REFRESH, job_view
from airflow_automl.plugin.known_jobs import JobRecord, KnownJobs, Owner
from airflow_automl.plugin.links import Links
from airflow_automl.plugin.render import render
from airflow_automl.plugin.rights import Denied, Rights

router = APIRouter(default_response_class=HTMLResponse)

Text = Annotated[str, Query(max_length=250)]
#: Airflow leaves the placeholder in the address of a task that is not mapped.
MapIndex = Annotated[str, Query(pattern=r"^(-?[0-9]{1,9}|\{MAP_INDEX\}|)$")]
_LIVE = 10


async def html(request: Request, template: str, **values: Any) -> HTMLResponse:
    """Render a page in a thread, with what every page needs."""
    links = Links(request.scope.get("root_path", ""))
    return HTMLResponse(await asyncio.to_thread(render, template, links=links, **values))


@cache
def _regions() -> frozenset[str]:
    from botocore.loaders import Loader

    partitions = Loader().load_data("partitions")["partitions"]
    return frozenset(region for partition in partitions for region in partition["regions"])


def source_of(connection: str, region: str) -> Source:
    """Read the source of a job from a page's address; ``-`` is boto3's own credentials chain.

    :raises HTTPException: botocore knows no such region.
    """
    if region and region not in _regions():
        raise HTTPException(400, f"{region!r:.80} is not valid for region: it is not an AWS region.")
    return Source(None if connection == "-" else connection or "aws_default", region or None)


def _account(request: Request) -> Account:
    account: Account = request.app.state.account
    return account


def _known(request: Request) -> KnownJobs:
    jobs: KnownJobs = request.app.state.known
    return jobs


# One job


class Looked:
    """A job that the user may see."""

    def __init__(
        self, describe: Mapping[str, Any], source: Source, owner: Owner | None, tags: Mapping[str, str] | None
    ) -> None:
        self.describe, self.source, self.owner, self.tags = describe, source, owner, tags or {}

    @property
    def proven_owner(self) -> Owner | None:
        """The task that the job's tags name; an XCom alone gives no right to stop a job."""
        return known_jobs.owner_of(self.tags)

    @property
    def name(self) -> str:
        """The job's name."""
        return str(self.describe["AutoMLJobName"])

    @property
    def ended(self) -> bool:
        """Whether the job will not change any more."""
        return is_terminal(self.describe.get("AutoMLJobStatus"))


async def look(request: Request, rights: Rights, source: Source, name: str) -> Looked:
    """Describe a job, if the user may see it.

    :raises Denied: the user may not; nothing that the service answered is in the message.
    """
    account, jobs = _account(request), _known(request)

    def allowed_to_ask() -> bool:
        seen = [each for each in jobs.by_arn().values() if each.name == name]
        return rights.may_ask(source.connection, seen)

    if not await asyncio.to_thread(allowed_to_ask):
        raise Denied("You may see neither this connection nor a DAG that used it for this job.")
    describe = await account.describe(source, name)
    arn = str(describe.get("AutoMLJobArn") or "")
    record = (await asyncio.to_thread(jobs.by_arn)).get(arn)
    try:
        tags = await account.tags(source, arn)
    except AutoMLError:
        if record is None:
            raise
        tags = None
    # Tags say whose job it is. Only if they can't be read, an XCom may show it, which anybody may have written.
    owner = known_jobs.owner_of(tags) if tags is not None or record is None else record.owner
    if not await asyncio.to_thread(rights.may_see_job, owner, source.connection):
        raise Denied("You may not see this job: it belongs to a DAG or a connection that you may not see.")
    return Looked(describe, source, owner, tags)


async def _view(request: Request, rights: Rights, looked: Looked) -> dict[str, Any]:
    account, notes = _account(request), []
    try:
        candidates = await account.candidates(looked.source, looked.name, looked.ended)
    except AutoMLError as error:
        candidates = []
        notes.append(f"The candidates can't be listed: {error}")
    try:
        on_aws = await account.is_aws(looked.source)
    except AutoMLError:
        on_aws = False

    def gather() -> dict[str, Any]:
        report = metadata.report_of(looked.owner, looked.name) if looked.owner else {}
        view = job_view(
            looked.describe,
            candidates,
            source=looked.source,
            owner=looked.owner,
            tags=looked.tags,
            report=report,
            on_aws=on_aws,
            notes=notes,
        )
        stoppable = view["running"] and looked.describe.get("AutoMLJobStatus") != "Stopping"
        manual_dag = request.app.state.manual_dag
        return view | {
            "may_stop": stoppable and rights.may_stop(looked.proven_owner, looked.source),
            "may_start": metadata.dag_exists(manual_dag) and rights.may_start(manual_dag),
            "manual_dag": manual_dag,
        }

    return await asyncio.to_thread(gather)


@router.get("/job")
async def job(
    request: Request,
    user: GetUserDep,
    name: Text,
    connection: Text = "aws_default",
    region: Text = "",
) -> HTMLResponse:
    """Show one job."""
    rights = Rights(user)
    looked = await look(request, rights, source_of(connection, region), name)
    return await html(request, "job.html.j2", earlier=None, **await _view(request, rights, looked))


# Lists


@router.get("/jobs")
async def jobs(
    request: Request,
    user: GetUserDep,
    connection: Text = "aws_default",
    region: Text = "",
    search: Text = "",
    status: Text = "",
    problem_type: Text = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> HTMLResponse:
    """Show the jobs of a connection: those of the DAGs that the user may see, and all others if they may see it."""
    rights, account, seen = Rights(user), _account(request), _known(request)
    source = source_of(connection.strip(), region.strip())
    filters = rows.Filters(search.strip(), status, problem_type)
    error: str | None = None
    found = Jobs((), whole=True, more=False)
    if not await asyncio.to_thread(lambda: rights.may_ask(source.connection, seen.by_arn().values())):
        raise Denied(f"You may see neither the connection {source.connection!r} nor a DAG that used it for a job.")
    try:
        found = await account.jobs(source)
        if found.more and filters.search:
            found = await account.jobs(source, filters.search)
    except AutoMLError as failure:
        error = str(failure)

    def gather() -> dict[str, Any]:
        by_arn = seen.by_arn()
        all_rows = [rows.from_summary(each, source, by_arn.get(each["AutoMLJobArn"])) for each in found.rows]
        visible = _visible(rights, all_rows, source)
        return {
            "page": rows.Page.of([row for row in visible if filters.takes(row)], page),
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
        statuses=rows.STATUSES,
        error=error,
        found=found,
        most=MOST_JOBS,
        refresh=_LIVE,
        **await asyncio.to_thread(gather),
    )


def _visible(rights: Rights, found: Iterable[rows.Row], source: Source | None) -> list[rows.Row]:
    """Keep the rows that the user may see; without a source, those without an owner are not shown."""
    found = list(found)
    dags = rights.visible_dags({row.owner.dag_id for row in found if row.owner})
    ownerless = source is not None and rights.may_see_connection(source.connection)
    return [row for row in found if (row.owner.dag_id in dags if row.owner else ownerless)]


@router.get("/dag")
async def dag(
    request: Request, user: GetUserDep, dag_id: Text, page: Annotated[int, Query(ge=1, le=100_000)] = 1
) -> HTMLResponse:
    """Show the jobs of a DAG, newest first."""
    return await _listed(request, Rights(user), dag_id, lambda: known_jobs.job_records(dag_id), page, "this DAG")


@router.get("/run")
async def run(
    request: Request, user: GetUserDep, dag_id: Text, run_id: Text, page: Annotated[int, Query(ge=1, le=100_000)] = 1
) -> HTMLResponse:
    """Show the jobs of a run."""
    return await _listed(
        request, Rights(user), dag_id, lambda: known_jobs.job_records(dag_id, run_id), page, "this run"
    )


@router.get("/task")
async def task(
    request: Request, user: GetUserDep, dag_id: Text, task_id: Text, page: Annotated[int, Query(ge=1, le=100_000)] = 1
) -> HTMLResponse:
    """Show the jobs of all runs of a task."""
    find = lambda: known_jobs.job_records(dag_id, None, task_id)  # noqa: E731
    return await _listed(request, Rights(user), dag_id, find, page, "this task")


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
    """Show the job of a task instance, or a list if a mapped task is meant as a whole."""
    rights = Rights(user)
    index = int(map_index) if map_index.isdecimal() else None

    def find() -> list[JobRecord]:
        return known_jobs.job_records(dag_id, run_id, task_id, index)

    await _demand_dag(rights, dag_id)
    found = await asyncio.to_thread(find)
    if len(found) != 1:
        return await _listed(request, rights, dag_id, lambda: found, page, "this task instance")
    record = found[0]
    source = (await asyncio.to_thread(metadata.sources, found))[record]
    try:
        looked = await look(request, rights, source, record.name)
    except (AutoMLTransientError, Denied) as error:
        # What the task noted is better than nothing, and the user may read it.
        return await _listed(request, rights, dag_id, lambda: found, page, "this task instance", str(error))
    view = await _view(request, rights, looked)
    return await html(request, "job.html.j2", earlier=await _earlier(request, source, record), **view)


async def _earlier(request: Request, source: Source, record: JobRecord) -> list[rows.Row]:
    """List the jobs that the same task instance submitted before, newest first."""
    if not record.submitted:
        return []
    digest = record.task_digest
    try:
        listed = await _account(request).jobs(source)
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
    error: str | None = None,
) -> HTMLResponse:
    await _demand_dag(rights, dag_id)

    def gather() -> tuple[list[JobRecord], dict[JobRecord, Source]]:
        found = find()
        return found, metadata.sources(found)

    found, of = await asyncio.to_thread(gather)
    unfinished = [each for each in found if not is_terminal(each.job.get("status"))]
    live: dict[str, Mapping[str, Any]] = {}
    if error is None:
        answers = await asyncio.gather(
            *(_account(request).jobs(source) for source in {of[each] for each in unfinished}), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, Jobs):
                live |= {row["AutoMLJobArn"]: row for row in answer.rows}
            elif isinstance(answer, AutoMLError):
                error = str(answer)
            else:
                raise answer

    def cut() -> rows.Page:
        # A document that a task did not get from its own job may name any job.
        seen = {source: rights.may_see_connection(source.connection) for source in {of[each] for each in unfinished}}
        listed = [
            rows.from_record(each, of[each], live.get(each.arn) if each.submitted or seen.get(of[each]) else None)
            for each in found
        ]
        return rows.Page.of(_visible(rights, listed, None), number)

    page = await asyncio.to_thread(cut)
    query = {key: value for key, value in request.query_params.items() if key != "page"}
    return await html(
        request,
        "listed.html.j2",
        page=page,
        what=what,
        error=error,
        address=request.url.path.rpartition("/")[2],
        query=query,
        refresh=REFRESH if unfinished else _LIVE,
        several_runs=what in ("this DAG", "this task"),
    )
