"""The application that the API server mounts: routes, headers, and error pages that a person can read."""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from airflow_automl import settings
from airflow_automl.exceptions import DOCS, AutoMLError
from airflow_automl.plugin import actions, lists, pages
from airflow_automl.plugin.account import Account
from airflow_automl.plugin.errors import explained
from airflow_automl.plugin.known_jobs import KnownJobs
from airflow_automl.plugin.rights import Denied

log = logging.getLogger(__name__)

_HEADERS = {
    "Content-Security-Policy": pages.POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PAGES, _REPORT = resources.files("airflow_automl.plugin"), resources.files("airflow_automl.report")
_OURS = ("pages.css", "pages.js", "board.js", "icon.svg", "icon-dark.svg")
_STATIC = {name: _PAGES / "static" / name for name in _OURS} | {"report.css": _REPORT / "templates" / "report.css"}


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
    app.include_router(lists.router)
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
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(_STATIC[name].read_bytes(), media_type=kind, headers={"Cache-Control": "max-age=300"})


async def _failed(request: Request, error: Exception) -> HTMLResponse:
    status, title, text, refresh = explained(error)
    guide = f"{DOCS}/{error.guide}" if isinstance(error, AutoMLError) else None
    page = await pages.html(
        request, "error.html.j2", title=title, text=text, refresh=refresh, login=status == 401, guide=guide
    )
    page.status_code = status
    # Unexpected errors bypass the middleware that adds these headers.
    page.headers.update(_HEADERS)
    return page
