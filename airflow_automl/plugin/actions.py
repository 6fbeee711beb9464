"""What a user can do from the pages: stop a job, start the manual DAG. A token in each form proves its page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from airflow_automl.exceptions import AutoMLValidationError
from airflow_automl.plugin import manual, metadata
from airflow_automl.plugin.links import Links
from airflow_automl.plugin.pages import WITHOUT_NUL, Asked, ShownJob, html, shown_job, source_of
from airflow_automl.plugin.rights import Denied, Rights

log = logging.getLogger(__name__)

router = APIRouter(default_response_class=HTMLResponse)

_FORM_LIFETIME = 12 * 3600

FormText = Annotated[str, Form(max_length=4000, pattern=WITHOUT_NUL)]


def _same_origin(request: Request) -> None:
    """Raise Denied if the browser says that another site sent the request."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        # Set by the browser. Behind a proxy, the host of the request may differ from the browser's.
        ours = site in ("same-origin", "none")
    else:
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not ours:
        raise Denied("Another site sent this form.")


def _sign(user: BaseUser, *subject: str) -> str:
    """Return the token that a form carries.

    :param subject: what the form is about.
    """
    return str(_serializer().dumps([user.get_id(), *subject]))


def _check(user: BaseUser, token: str, *subject: str) -> None:
    """Refuse a form that another site, or a page for another user or subject, sent.

    :raises Denied: the token is missing, wrong or too old.
    """
    try:
        signed = _serializer().loads(token, max_age=_FORM_LIFETIME)
    except BadSignature as error:
        raise Denied("This form is too old or was not sent from this page. Go back, reload, try again.") from error
    if signed != [user.get_id(), *subject]:
        raise Denied("This form was made for another user or another job. Go back, reload, try again.")


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt="airflow-automl-pages")


def _subject(action: str, shown: ShownJob) -> tuple[str, ...]:
    return action, str(shown.describe.get("AutoMLJobArn")), shown.source.connection or "-"


async def _demand_stop(rights: Rights, shown: ShownJob) -> None:
    if not await asyncio.to_thread(rights.may_stop, shown.proven_owner, shown.source):
        raise Denied("You may see this job, but not stop it.")


@router.get("/stop")
async def ask_to_stop(request: Request, user: GetUserDep, shown: Asked) -> HTMLResponse:
    """Ask whether the job is really to be stopped."""
    rights = Rights(user)
    await _demand_stop(rights, shown)
    return await html(
        request, "stop.html.j2", shown=shown, token=_sign(rights.user, *_subject("stop", shown)), refresh=None
    )


@router.post("/stop")
async def stop(
    request: Request,
    user: GetUserDep,
    name: FormText,
    connection: FormText,
    token: FormText,
    region: FormText = "",
) -> Response:
    _same_origin(request)
    rights = Rights(user)
    shown = await shown_job(request, rights, source_of(connection, region), name)
    await _demand_stop(rights, shown)
    _check(rights.user, token, *_subject("stop", shown))
    if not shown.ended:
        await request.app.state.account.stop(shown.source, shown.name)
        log.info("User %s stopped AutoML job %s", user.get_name(), shown.name)
    links = Links(request.scope.get("root_path", ""))
    return RedirectResponse(links.about("job", shown.source, shown.name), status_code=303)


@router.get("/start")
async def ask_to_start(request: Request, user: GetUserDep, shown: Asked) -> HTMLResponse:
    """Show the manual DAG's form with this job's configuration filled in."""
    rights, dag_id = Rights(user), request.app.state.manual_dag
    params = await asyncio.to_thread(_startable, rights, dag_id)
    form = manual.fields(params, manual.conf_of(shown.describe, shown.source))
    return await _start_form(request, rights, shown, dag_id, form)


@router.post("/start")
async def start(request: Request, user: GetUserDep) -> Response:
    """Start a run of the manual DAG."""
    _same_origin(request)
    rights, dag_id = Rights(user), request.app.state.manual_dag
    sent = {key: value for key, value in (await request.form()).items() if isinstance(value, str)}
    about = [sent.pop(f"about_{key}", "") for key in ("name", "connection", "region", "token")]
    shown = await shown_job(request, rights, source_of(about[1], about[2]), about[0])
    _check(rights.user, about[3], *_subject("start", shown))
    params = await asyncio.to_thread(_startable, rights, dag_id)
    try:
        run_id = await asyncio.to_thread(_trigger, dag_id, manual.read(params, sent), user.get_name())
    except AutoMLValidationError as error:
        page = await _start_form(
            request, rights, shown, dag_id, manual.fields(params, sent), sent, [str(each) for each in error.violations]
        )
        page.status_code = 400
        return page
    return await html(request, "started.html.j2", dag_id=dag_id, run_id=run_id, refresh=None)


async def _start_form(
    request: Request,
    rights: Rights,
    shown: ShownJob,
    dag_id: str,
    form: list[manual.Field],
    sent: Mapping[str, str] | None = None,
    problems: list[str] | None = None,
) -> HTMLResponse:
    token = _sign(rights.user, *_subject("start", shown))
    return await html(
        request,
        "start.html.j2",
        shown=shown,
        dag_id=dag_id,
        form=form,
        sent=sent,
        problems=problems or [],
        token=token,
        refresh=None,
    )


def _startable(rights: Rights, dag_id: str) -> dict[str, dict[str, Any]]:
    from airflow.models.dagbag import DBDagBag
    from airflow.utils.session import create_session

    if not metadata.dag_exists(dag_id) or not rights.may_start(dag_id):
        raise Denied(f"You may not start the DAG {dag_id!r}, or Airflow does not have it.")
    with create_session(scoped=False) as session:
        dag = DBDagBag().get_latest_version_of_dag(dag_id, session=session)
        if dag is None:
            raise Denied(f"Airflow has no DAG {dag_id!r}.")
        params = dag.params
        return {name: _schema(params.get_param(name)) for name in params}


def _schema(param: Any) -> dict[str, Any]:
    from airflow_automl.compat import is_arg_set

    default = param.value if is_arg_set(param.value) else None
    return {**param.schema, "default": default, "description": param.description}


def _trigger(dag_id: str, conf: Mapping[str, Any], user_name: str) -> str:
    """Create a run, as Airflow's own trigger form does; raise if the params refuse the configuration."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.exceptions import ParamValidationError
    from airflow.utils.types import DagRunTriggeredByType

    try:
        run = trigger_dag(
            dag_id, triggered_by=DagRunTriggeredByType.UI, triggering_user_name=user_name, conf=dict(conf)
        )
    except (ParamValidationError, ValueError) as error:
        raise AutoMLValidationError("The form", [str(error).splitlines()[0]]) from error
    if run is None:
        raise AutoMLValidationError("The form", ["Airflow started no run"])
    return str(run.run_id)
