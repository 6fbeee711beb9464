"""The application that the API server mounts: routes, headers, and error pages that a person can read."""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from airflow_automl import settings
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLTransientError,
)
from airflow_automl.plugin import actions, pages
from airflow_automl.plugin.account import Account
from airflow_automl.plugin.known_jobs import KnownJobs
from airflow_automl.plugin.rights import Denied

log = logging.getLogger(__name__)

#: Nothing but our own style sheet, script and images; no form to elsewhere; shown in Airflow's own frames only.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATIC = {
    "pages.css": ("airflow_automl.plugin", "static/pages.css"),
    "pages.js": ("airflow_automl.plugin", "static/pages.js"),
    "icon.svg": ("airflow_automl.plugin", "static/icon.svg"),
    "icon-dark.svg": ("airflow_automl.plugin", "static/icon-dark.svg"),
    "report.css": ("airflow_automl.report", "templates/report.css"),
}


def create_app(account: Account | None = None) -> FastAPI:
    """Build the application.

    :param account: how AWS is asked; one of its own by default.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.account.answers.close()

    app = FastAPI(title="AutoML", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.account = account or Account()
    app.state.known = KnownJobs()
    app.state.manual_dag = settings.manual_dag()
    app.include_router(pages.router)
    app.include_router(actions.router)
    app.add_api_route("/static/{name}", _static, methods=["GET"])
    app.middleware("http")(_with_headers)
    for kind in (AutoMLError, Denied, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _failed)
    return app


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _static(name: str) -> Response:
    if name not in _STATIC:
        raise HTTPException(404, "There is no such file.")
    package, path = _STATIC[name]
    content = resources.files(package).joinpath(path).read_bytes()
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(content, media_type=kind, headers={"Cache-Control": "max-age=300"})


async def _failed(request: Request, error: Exception) -> HTMLResponse:
    status, title, text, refresh = _explained(error)
    page = await pages.html(request, "error.html.j2", title=title, text=text, refresh=refresh, login=status == 401)
    page.status_code = status
    # An unforeseen error is answered outside of the middleware that gives all other answers their headers.
    page.headers.update(_HEADERS)
    return page


def _explained(error: Exception) -> tuple[int, str, str, int | None]:
    """Return status, title, text, and the seconds after which trying again may help."""
    if isinstance(error, Denied):
        return 403, "Not for you", str(error), None
    if isinstance(error, RequestValidationError):
        return 400, "This address is not complete", "; ".join(_where(each) for each in error.errors()), None
    if isinstance(error, HTTPException):
        if error.status_code == 401:
            return 401, "You are not logged in", "Log in to Airflow and open this page again.", None
        return error.status_code, "This did not work", str(error.detail), None
    if isinstance(error, AutoMLJobNotFound):
        return 404, "There is no such job", str(error), None
    if isinstance(error, AutoMLAccessDenied):
        return 502, "AWS refused the connection", str(error), None
    if isinstance(error, AutoMLTransientError):
        return 503, "SageMaker does not answer", f"{error}. This page tries again by itself.", 10
    if isinstance(error, AutoMLError):
        return 502, "SageMaker refused the request", str(error), None
    return 500, "Something went wrong here", "The log of Airflow's API server says what.", None


def _where(problem: Any) -> str:
    return f"{problem['loc'][-1]}: {problem['msg']}"
