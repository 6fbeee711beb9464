"""The routes: each authenticates, asks what the user may see, and only then shows anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from airflow_automl.contract.states import is_terminal, queued
from airflow_automl.exceptions import AutoMLError
from airflow_automl.plugin import known_jobs, metadata
from airflow_automl.plugin.account import Account, Source
from airflow_automl.plugin.comparison import compare
from airflow_automl.plugin.job_view import job_view, place_in_line
from airflow_automl.plugin.known_jobs import KnownJobs, Owner
from airflow_automl.plugin.links import Links
from airflow_automl.plugin.rights import Denied, Rights
from airflow_automl.report.page import environment, pictured
from airflow_automl.times import moment

router = APIRouter(default_response_class=HTMLResponse)

#: PostgreSQL refuses text with NUL characters.
WITHOUT_NUL = r"^[^\x00]*$"
Text = Annotated[str, Query(max_length=250, pattern=WITHOUT_NUL)]
#: Own style sheet, script and images only; forms to Airflow only; frames of Airflow only.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
)
#: A report may come from anyone with write access to its bucket: it runs no script and has no origin.
_REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; "
    "frame-ancestors 'self'; base-uri 'none'"
)
_MOST_COMPARED = 8


@cache
def _environment() -> Environment:
    """Everything that is put into a page is escaped."""
    made = environment("airflow_automl.plugin")
    made.filters |= {"ago": _ago, "iso": _iso}
    return made


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def _iso(value: datetime | str | None) -> str:
    known = moment(value)
    return known.isoformat(timespec="seconds") if known else ""


def _ago(value: datetime | str | None) -> str:
    known = moment(value)
    if known is None:
        return "\N{EN DASH}"
    seconds = (datetime.now(UTC) - known).total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count:,} {unit}{'s' if count != 1 else ''} ago"
    return "just now"


async def html(request: Request, template: str, **values: Any) -> HTMLResponse:
    """Render a page in a thread, with what every page needs."""
    links = Links(request.scope.get("root_path", ""))
    return HTMLResponse(await asyncio.to_thread(_render, template, links=links, **values))


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


def account_of(request: Request) -> Account:
    account: Account = request.app.state.account
    return account


def known_of(request: Request) -> KnownJobs:
    jobs: KnownJobs = request.app.state.known
    return jobs


@dataclass(frozen=True, slots=True)
class ShownJob:
    describe: Mapping[str, Any]
    source: Source
    owner: Owner | None
    tags: Mapping[str, str]
    timeline: Sequence[Mapping[str, Any]]

    @property
    def proven_owner(self) -> Owner | None:
        """The task that the job's tags name; an XCom alone gives no right to stop a job."""
        return known_jobs.owner_of(self.tags, self.name)

    @property
    def name(self) -> str:
        return str(self.describe["AutoMLJobName"])

    @property
    def ended(self) -> bool:
        return is_terminal(self.describe.get("AutoMLJobStatus"))


async def shown_job(request: Request, rights: Rights, source: Source, name: str) -> ShownJob:
    """Describe a job, if the user may see it.

    :raises Denied: the user may not; nothing that the service answered is in the message.
    """
    account, jobs = account_of(request), known_of(request)

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
    # Tags name the job's owner. An XCom, which any task may write, counts only if they can't be read.
    owner = (
        known_jobs.owner_of(tags, str(describe["AutoMLJobName"]))
        if tags is not None or record is None
        else record.owner
    )
    if not await asyncio.to_thread(rights.may_see_job, owner, source.connection):
        raise Denied("You may not see this job: it belongs to a DAG or a connection that you may not see.")
    timeline = record.job.get("timeline") or () if record else ()
    return ShownJob(describe, source, owner, tags or {}, timeline)


async def _asked(
    request: Request, user: GetUserDep, name: Text, connection: Text = "aws_default", region: Text = ""
) -> ShownJob:
    return await shown_job(request, Rights(user), source_of(connection, region), name)


#: The job that a page's address names, if the user may see it.
Asked = Annotated[ShownJob, Depends(_asked)]


async def view_of(request: Request, rights: Rights, shown: ShownJob) -> dict[str, Any]:
    account, source, notes = account_of(request), shown.source, []
    candidates: Sequence[Mapping[str, Any]] | None = None
    try:
        candidates = await account.candidates(source, shown.name, shown.ended)
    except AutoMLError as error:
        notes.append(f"The candidates can't be listed: {error}")
    on_aws, insights, place, prices = False, None, None, None
    if candidates is not None:
        try:
            prices = await account.prices(source)
        except AutoMLError as error:
            notes.append(f"The cost is unknown: {error}")
    with suppress(AutoMLError):
        on_aws = await account.is_aws(source)
        if queued(shown.describe):
            place = place_in_line(shown.describe, (await account.jobs(source)).rows)
        insights = await account.insights(source, shown.describe) if shown.ended else {}

    def gather() -> dict[str, Any]:
        view = job_view(
            shown.describe,
            candidates,
            source=source,
            owner=shown.owner,
            tags=shown.tags,
            written=metadata.report_of(shown.owner, shown.name) if shown.owner else {},
            on_aws=on_aws,
            prices=prices,
            notes=notes,
            insights=insights,
            timeline=max(shown.timeline, account.seen()[shown.describe["AutoMLJobArn"]]["timeline"], key=len),
            place=place,
        )
        stoppable = view["running"] and shown.describe.get("AutoMLJobStatus") != "Stopping"
        manual_dag = request.app.state.manual_dag
        return view | {
            "may_stop": stoppable and rights.may_stop(shown.proven_owner, source),
            "may_start": metadata.dag_exists(manual_dag) and rights.may_start(manual_dag),
            "manual_dag": manual_dag,
        }

    return await asyncio.to_thread(gather)


async def job_page(request: Request, **view: Any) -> HTMLResponse:
    page = await html(request, "job.html.j2", **view)
    if pictures := pictured(view["cards"]):
        page.headers["Content-Security-Policy"] = POLICY.replace("img-src 'self'", f"img-src 'self' {pictures}")
    return page


@router.get("/job")
async def job(request: Request, user: GetUserDep, shown: Asked) -> HTMLResponse:
    return await job_page(request, earlier=None, **await view_of(request, Rights(user), shown))


@router.get("/report")
async def report(request: Request, shown: Asked) -> HTMLResponse:
    """Open the report that a task wrote about a job, for users who may see the job."""
    written = await asyncio.to_thread(metadata.report_of, shown.owner, shown.name) if shown.owner else {}
    address = str(written.get("html") or "")
    if not address.startswith("s3://"):
        raise HTTPException(404, f"Airflow knows of no report on {shown.name} in S3.")
    content = await account_of(request).read(shown.source, address)
    # The address is from an XCom, which gives no right to read anything else in S3.
    if f"<title>{shown.name} · ".encode() not in content[:4096]:
        raise HTTPException(404, f"What Airflow knows of as the report on {shown.name} is not one.")
    return HTMLResponse(content, headers={"Content-Security-Policy": _REPORT_POLICY})


@router.get("/candidates")
async def candidates(
    request: Request,
    shown: Asked,
    candidate: Annotated[list[str], Query(max_length=_MOST_COMPARED)] = [],  # noqa: B006  # FastAPI copies it
) -> HTMLResponse:
    """Show candidates beside one another: metrics, hyperparameters, steps, times, places."""
    listed = await account_of(request).candidates(shown.source, shown.name, shown.ended)
    chosen = [each for each in listed if each["CandidateName"] in candidate]
    if not chosen:
        raise HTTPException(404, "No candidate of this job is chosen. Go back and choose some.")
    parameters = await asyncio.gather(*(_hyperparameters(request, shown.source, each) for each in chosen))
    compared = await asyncio.to_thread(compare, shown.describe, chosen, parameters)
    return await html(request, "candidates.html.j2", shown=shown, refresh=None, **compared)


async def _hyperparameters(request: Request, source: Source, candidate: Mapping[str, Any]) -> dict[str, str]:
    """Return the hyperparameters of the candidate's training jobs; empty if they are not known."""
    found: dict[str, str] = {}
    for step in candidate.get("CandidateSteps") or ():
        if step.get("CandidateStepType") == "AWS::SageMaker::TrainingJob":
            with suppress(AutoMLError):
                name = str(step.get("CandidateStepName"))
                answer = await account_of(request).call(source, "describe_training_job", TrainingJobName=name)
                found |= answer.get("HyperParameters") or {}
    return found
