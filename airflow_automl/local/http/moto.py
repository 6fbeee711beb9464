"""Requests for other AWS services: answered by moto, which is loaded when the first one comes."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

from airflow_automl.local.errors import ServiceError, unknown_operation
from airflow_automl.local.http.messages import Request, Response

log = logging.getLogger(__name__)

_SIGNED_FOR = re.compile(r"Credential=[^/,]*/[^/,]*/[^/,]*/([^/,]+)/aws4_request")
_PRESIGNED_FOR = re.compile(r"X-Amz-Credential=[^&]*(?:/|%2F)([^/&%]+)(?:/|%2F)aws4_request", re.IGNORECASE)


class OtherServices:
    """Answers requests for AWS services that the embedded service does not offer itself.

    :param s3_endpoint_url: returns the address that S3 calls belong to.
    """

    def __init__(self, s3_endpoint_url: Callable[[], str]) -> None:
        self._s3_endpoint_url = s3_endpoint_url
        # moto's backends are not made for threads.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="moto")

    async def answer(self, request: Request) -> Response:
        """Answer a request for another service.

        :raises ServiceError: UnknownOperationException if nobody offers it.
        """
        if _service_of(request) == "s3":
            return self._wrong_endpoint()
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._ask_moto, request)

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _wrong_endpoint(self) -> Response:
        message = (
            f"This endpoint serves SageMaker; the objects lie at {self._s3_endpoint_url()}. "
            "Set AWS_ENDPOINT_URL_S3, or service_config.s3.endpoint_url in the Airflow connection, to that."
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>IncorrectEndpoint</Code><Message>{escape(message)}</Message>"
            f"<Endpoint>{escape(self._s3_endpoint_url())}</Endpoint></Error>"
        )
        return Response(400, {"content-type": "application/xml"}, body.encode())

    @cached_property
    def _moto(self) -> Any:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        class Dispatcher(DomainDispatcherApplication):
            def infer_service_region_host(self, environ: dict[str, Any], path: str) -> str:
                # moto takes whatever it can't place for a call of S3, and answers with an empty bucket list.
                host: str | None = super().infer_service_region_host(environ, path)
                if host is not None:
                    return host
                if environ.get("HTTP_X_AMZ_TARGET", "").startswith("SageMaker."):
                    return "api.sagemaker.us-east-1.amazonaws.com"
                raise LookupError("the request names no service")

        return Dispatcher(create_backend_app)

    def _ask_moto(self, request: Request) -> Response:
        subject = request.headers.get("x-amz-target") or f"{request.method} {request.path}"
        try:
            status, headers, body = _call(self._moto, request)
        except ModuleNotFoundError as error:
            raise unknown_operation(
                f"{subject} needs the Python package {error.name}: pip install 'airflow-automl[local]'"
            ) from error
        except Exception as error:
            log.warning("moto can't answer %s: %r", subject, error)
            raise _not_offered(subject) from error
        if status >= 500 or (status == 404 and headers.get("content-type", "").startswith("text/html")):
            log.warning("moto answered %s with %d: %s", subject, status, body[:200])
            raise _not_offered(subject)
        return Response(status, headers, body)


def _not_offered(subject: str) -> ServiceError:
    return unknown_operation(
        f"{subject}: the embedded service does not offer this; it serves AutoML jobs and what deploys their models"
    )


def _service_of(request: Request) -> str:
    signed = _SIGNED_FOR.search(request.headers.get("authorization", "")) or _PRESIGNED_FOR.search(request.query)
    if signed:
        return signed[1]
    by_hand = "x-amz-target" not in request.headers and "action=" not in request.query.lower()
    form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return "s3" if by_hand and not form else ""


def _call(application: Any, request: Request) -> tuple[int, dict[str, str], bytes]:
    started: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Callable[[bytes], None]:
        started["status"] = int(status.split(" ", 1)[0])
        started["headers"] = {key.lower(): value for key, value in headers}
        return lambda _: None

    result: Iterable[bytes] = application(_environ(request), start_response)
    try:
        body = b"".join(result)
    finally:
        if callable(close := getattr(result, "close", None)):
            close()
    dropped = {"content-length", "transfer-encoding", "connection", "date", "server", "x-amzn-requestid"}
    return started["status"], {k: v for k, v in started["headers"].items() if k not in dropped}, body


def _environ(request: Request) -> dict[str, Any]:
    host = request.headers.get("host", "localhost")
    raw_uri = request.raw_path + (f"?{request.query}" if request.query else "")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.raw_path).decode("latin-1"),
        "QUERY_STRING": request.query,
        "RAW_URI": raw_uri,
        "REQUEST_URI": raw_uri,
        "SERVER_NAME": host.partition(":")[0],
        "SERVER_PORT": host.partition(":")[2] or "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(request.body)),
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        if name not in ("content-length", "content-type"):
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ
