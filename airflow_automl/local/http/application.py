"""The service on the wire: AWS JSON 1.1 for SageMaker, REST-JSON for its runtime; one raw ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from airflow_automl.contract.checking import check
from airflow_automl.contract.shapes import check_shape
from airflow_automl.contract.violations import errors
from airflow_automl.local import errors as answers
from airflow_automl.local.api import OPERATIONS
from airflow_automl.local.errors import ServiceError
from airflow_automl.local.http import cloudwatch
from airflow_automl.local.http.messages import JSON, Request, Response, parse
from airflow_automl.local.service_model import mistyped, operations, serialize, shapes

if TYPE_CHECKING:
    from airflow_automl.local.api.backend import Backend
    from airflow_automl.local.http.moto import OtherServices
    from airflow_automl.local.http.signatures import Signatures
    from airflow_automl.local.serving.invocations import Runtime
    from airflow_automl.local.state.database import Database

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_MEBI = 1024 * 1024
#: Largest request bodies. SageMaker's own limit for an invocation is 25 MB.
MAX_API_BODY = 4 * _MEBI
MAX_INVOCATION_BODY = 25 * _MEBI
MAX_OTHER_BODY = 64 * _MEBI
#: Bytes of all request bodies in memory, and copies of each: as received, and joined, parsed or sent to a model.
MAX_ALL_BODIES = 256 * _MEBI
_COPIES = 2
#: Seconds within which a body must arrive.
_BODY_TIMEOUT = 120.0
_NO_LIMIT = contextlib.nullcontext()
#: Seconds for which the body of a refused request is read and dropped.
_REFUSED_TIMEOUT = 5.0
#: Bytes of cached answers.
_CACHED = 16 * _MEBI

_INVOCATION = re.compile(r"^/endpoints/([^/]+)/invocations$")
_REGION = re.compile(r"Credential=[^/,]+/\d{8}/([a-z]{2}-[a-z-]+-\d)/")
_CHECKED = {"CreateAutoMLJob": "V1", "CreateAutoMLJobV2": "V2"}


class Application:
    """The ASGI application of a service.

    :param backend: state and background work behind the operations.
    :param runtime: answers invocations.
    :param others: answers requests for other AWS services.
    :param signatures: checks every request; ``None`` accepts unsigned ones.
    """

    def __init__(
        self, backend: Backend, runtime: Runtime, others: OtherServices, signatures: Signatures | None = None
    ) -> None:
        self._backend = backend
        self._runtime = runtime
        self._others = others
        self._signatures = signatures
        self._bodies = _Bodies()
        self._cache = _AnswerCache(backend.jobs.database)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        response = await self._answer(scope, receive)
        headers = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in response.headers.items()]
        headers.append((b"x-amzn-requestid", str(uuid.uuid4()).encode()))
        headers.append((b"content-length", str(len(response.body)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        target = headers.get("x-amz-target", "")
        if scope["method"] == "GET" and scope["path"] == "/health":
            return self._health()
        invocation = _INVOCATION.match(scope["path"]) if scope["method"] == "POST" else None
        own = target.startswith("SageMaker.")
        limit = MAX_INVOCATION_BODY if invocation else MAX_API_BODY if own else MAX_OTHER_BODY
        held = _Held(self._bodies)
        try:
            if self._signatures is not None:
                # Before the body is kept: a client without an access key takes no memory.
                await _admit(self._signatures, receive, headers, limit)
            body = await _read(receive, headers, limit, held)
            request = Request(
                scope["method"],
                scope["path"],
                scope.get("raw_path", scope["path"].encode()).decode("latin-1"),
                scope.get("query_string", b"").decode("latin-1"),
                headers,
                body,
            )
            if self._signatures is not None:
                self._signatures.check(request)
            if own:
                mine, theirs = self._regions(headers)
                try:
                    response = self._operation(target.partition(".")[2], body.replace(theirs, mine))
                except ServiceError as error:
                    response = _failure(error, headers)
                return response if mine == theirs else response._replace(body=response.body.replace(mine, theirs))
            if invocation:
                return Response(200, *await self._runtime.invoke(unquote(invocation[1]), headers, body))
            if (logs := cloudwatch.answer(self._backend, request)) is not None:
                return logs._replace(body=logs.body.replace(*self._regions(headers)))
            return await self._others.answer(request)
        except ServiceError as error:
            return _failure(error, headers)
        except asyncio.CancelledError:
            raise
        except sqlite3.OperationalError as error:
            log.error("%s could not be stored: %s", target or scope["path"], error)  # noqa: TRY400 - no bug, no traceback
            return _failure(self._unkept(error), headers)
        except Exception:
            log.exception("%s %s %s failed", scope["method"], scope["path"], target)
            return _failure(ServiceError("InternalFailure", "the service failed; its log says why", 500), headers)
        finally:
            held.release()

    def _regions(self, headers: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Return the part of ARNs that names region and account: as they are kept, and as the client names them."""
        region, account = self._backend.region, self._backend.account
        signed = _REGION.search(headers.get("authorization", ""))
        return f":{region}:{account}:".encode(), f":{signed[1] if signed else region}:{account}:".encode()

    def _health(self) -> Response:
        """Answer how the background tasks are; it takes no signature, and gives reasons only if none is demanded."""
        tasks: dict[str, dict[str, Any]] = {}
        for name, state in self._backend.background.states().items():
            tasks[name] = {"state": "running" if state.reason is None else "failing"}
            if state.reason is not None:
                tasks[name] |= {"since": state.since}
                tasks[name] |= {"reason": state.reason} if self._signatures is None else {}
        status = "failing" if any(task["state"] == "failing" for task in tasks.values()) else "running"
        body = json.dumps({"status": status, "tasks": tasks}).encode()
        return Response(200, {"content-type": "application/json"}, body)

    def _unkept(self, error: sqlite3.OperationalError) -> ServiceError:
        return ServiceError(
            "ServiceUnavailable",
            f"nothing was changed, because the state in {self._backend.folder.root} could not be written: {error}; "
            "free space on its disk and try again",
            503,
        )

    def _operation(self, name: str, body: bytes) -> Response:
        shapes_of = operations().get(name)
        if shapes_of is None:
            raise answers.unknown_operation(f"received {name!r}; SageMaker has no such operation")
        if name not in OPERATIONS:
            raise answers.unknown_operation(
                f"{name} is not offered by the embedded Autopilot, which trains, deploys and registers the models of "
                f"AutoML jobs. It offers: {', '.join(sorted(OPERATIONS))}. Use an AWS connection without endpoint_url."
            )
        # Reads answer the same until the state changes, and watchers repeat them.
        looks = name.startswith(("Describe", "List"))
        if looks and (known := self._cache.get((name, body))) is not None:
            return known
        response = self._perform(name, shapes_of, body)
        if looks:
            self._cache.put((name, body), response)
        return response

    def _perform(self, name: str, shapes_of: tuple[str | None, str | None], body: bytes) -> Response:
        members = parse(body)
        input_shape, output_shape = shapes_of
        if input_shape is not None:
            validate(name, input_shape, members)
        answer = OPERATIONS[name](self._backend, members)
        if output_shape is None:
            return Response(200, {"content-type": JSON}, b"")
        text = json.dumps(serialize(output_shape, answer), separators=(",", ":"), ensure_ascii=False)
        return Response(200, {"content-type": JSON}, text.encode())


class _Bodies:
    size = 0


class _Held:
    """The body of one request in memory, from its first byte until it is answered."""

    def __init__(self, all_bodies: _Bodies) -> None:
        self._all = all_bodies
        self._size = 0

    def add(self, size: int) -> None:
        """Count bytes; raise ServiceUnavailable if all bodies together take too many."""
        if self._all.size + size > MAX_ALL_BODIES:
            raise ServiceError(
                "ServiceUnavailable",
                f"requests with {MAX_ALL_BODIES // _COPIES // _MEBI} MiB are being answered; "
                "try again when some are done",
                503,
            )
        self._all.size += size
        self._size += size

    def release(self) -> None:
        self._all.size -= self._size
        self._size = 0


class _AnswerCache:
    """Answers by operation and request body, all dropped at the next change of the state."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changes = database.changes
        self._answers: dict[tuple[str, bytes], Response] = {}
        self._size = 0

    def get(self, key: tuple[str, bytes]) -> Response | None:
        if self._changes != self._database.changes:
            self._answers.clear()
            self._changes, self._size = self._database.changes, 0
        return self._answers.get(key)

    def put(self, key: tuple[str, bytes], answer: Response) -> None:
        """Remember an answer that was made since the last :meth:`get`."""
        size = len(key[1]) + len(answer.body)
        if self._size + size <= _CACHED:
            self._size += size
            self._answers[key] = answer


def validate(operation: str, input_shape: str, members: dict[str, Any]) -> None:
    """Hold an input against the service model, and an AutoML job's against the rules of the API too.

    :raises ServiceError: with every violation in its message.
    """
    if operation in _CHECKED:
        found = errors(check("V1" if _CHECKED[operation] == "V1" else "V2", members))
    else:
        found = check_shape(shapes(), input_shape, members)
    if found:
        error = answers.violations(found)
        raise answers.malformed(error.message) if mistyped(input_shape, members) else error


async def _admit(signatures: Signatures, receive: Receive, headers: Mapping[str, str], limit: int) -> None:
    try:
        signatures.check_headers(headers)
    except ServiceError:
        size = 0
        # Most clients read an answer only after they have sent the whole body.
        with contextlib.suppress(TimeoutError, ServiceError):
            async with asyncio.timeout(_REFUSED_TIMEOUT):
                async for chunk in _chunks(receive, await receive()):
                    size += len(chunk)
                    if size > limit:
                        break
        raise


async def _read(receive: Receive, headers: Mapping[str, str], limit: int, held: _Held) -> bytes:
    announced = headers.get("content-length", "0")
    size = int(announced) if announced.isdigit() else 0
    chunks: list[bytes] = []
    kept = 0
    # What has not begun to come takes no memory, and most bodies come as one piece: only the rest has a limit of time.
    message = await receive()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT) if message.get("more_body") else _NO_LIMIT:
            async for chunk in _chunks(receive, message):
                kept += len(chunk)
                if kept <= limit >= size:
                    held.add(_COPIES * len(chunk))
                    chunks.append(chunk)
                elif kept > 4 * limit:
                    # A client that does not stop sending is disconnected; others can read the answer.
                    break
    except TimeoutError:
        raise ServiceError("RequestTimeout", f"the body did not come within {_BODY_TIMEOUT:.0f} s", 408) from None
    if max(kept, size) > limit:
        raise ServiceError(
            "RequestEntityTooLargeException", f"the body has {max(kept, size)} bytes; at most {limit} are allowed", 413
        )
    return b"".join(chunks)


async def _chunks(receive: Receive, message: MutableMapping[str, Any]) -> AsyncIterator[bytes]:
    while message["type"] != "http.disconnect":
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
        message = await receive()
    raise ServiceError("RequestAborted", "the client went away", 400)


def _failure(error: ServiceError, asked: Mapping[str, str]) -> Response:
    log.info("%s: answered %s; see %s", asked.get("x-amz-target", "request"), error.code, error.link)
    common = {"link": error.link}
    if error.status in (403, 408, 413, 503):
        common["connection"] = "close"  # the body may not have been read
    if asked.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        # STS, IAM and others use the Query protocol. EC2's clients expect the error in a list.
        found = f"<Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
        text = f"<ErrorResponse>{found}<Errors>{found}</Errors></ErrorResponse>"
        return Response(error.status, {"content-type": "text/xml", **common}, text.encode())
    # The case of AWS's member depends on the error's shape; clients accept both.
    body = {"__type": error.code, "message": error.message, "Message": error.message, **error.members}
    headers = {"content-type": JSON, "x-amzn-errortype": error.code, **common}
    return Response(error.status, headers, json.dumps(body, ensure_ascii=True).encode())
