"""Holds all models of the service in one process: ``python -m airflow_automl.local.models.host --socket PATH``.

- ``PUT /models/KEY`` loads ``{"containers": [{"path", "image", "environment"}], "threads": n}``: 200, or 400 and why.
- ``POST /models/KEY/invocations`` predicts: 200, 400 for a payload that the model can't take, 404 for a model that is
  not loaded, 500 for a model that fails.
- ``DELETE /models/KEY`` unloads, ``GET /ping`` answers when the host is up.

A model is loaded once and shared by all endpoints that serve it; each has one thread, because the libraries behind the
models don't promise to be safe with more. One that nobody has asked for ten minutes is unloaded; who asks again gets a
404 and loads it again.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from airflow_automl.exceptions import AutoMLError
from airflow_automl.local.models import artifacts, payloads

log = logging.getLogger("airflow_automl.model_host")

Answer = tuple[int, bytes, str]

#: Seconds without a request after which a model is unloaded.
_IDLE = 600.0
#: Header that says for how many seconds the caller waits, and the default.
LIMIT, _LIMIT = "x-limit-seconds", 60.0
#: Seconds between two looks for a prediction that hangs: one that takes twice as long as its caller waits.
_LOOK = 1.0


@dataclass
class _Loaded:
    """A model in memory.

    :param containers: what it was loaded from; the same again needs no loading.
    :param predictor: does the work.
    :param keys: what it answers; a responder decides that itself.
    :param worker: the thread that may touch it.
    :param asked: when the last request came or was answered, on the monotonic clock.
    :param waiting: requests that have no answer yet.
    :param hung_from: when the running prediction counts as hung, on the monotonic clock; ``None`` while none runs.
    """

    containers: Sequence[Mapping[str, Any]]
    predictor: artifacts.Predictor | artifacts.Responder
    keys: tuple[str, ...]
    worker: ThreadPoolExecutor
    asked: float = field(default_factory=time.monotonic)
    waiting: int = 0
    hung_from: float | None = None

    def invoke(self, body: bytes, content_type: str | None, accept: str | None, limit: float) -> tuple[bytes, str]:
        """Predict for a request body.

        :param limit: seconds that the caller waits.
        """
        self.hung_from = time.monotonic() + 2 * limit
        try:
            return self._answer(body, content_type, accept)
        finally:
            self.hung_from = None

    def _answer(self, body: bytes, content_type: str | None, accept: str | None) -> tuple[bytes, str]:
        predictor = self.predictor
        if isinstance(predictor, artifacts.Responder):
            return predictor.respond(body, content_type, accept)
        kind = payloads.negotiate(accept)
        known = predictor.metadata
        escaped = bool(known.get("escaped"))
        rows = payloads.decode(body, content_type, predictor.features, known.get("target"), escaped)
        answer = payloads.encode(predictor.answer(rows, conformed=True), self.keys, kind)
        return answer, f"{kind}; charset=utf-8" if kind == payloads.CSV else kind


class ModelHost:
    """The ASGI application.

    :param idle: seconds without a request after which a model is unloaded.
    """

    def __init__(self, idle: float = _IDLE) -> None:
        self._idle = idle
        self._models: dict[str, _Loaded] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            tasks = [asyncio.create_task(self._unload_idle()), asyncio.create_task(self._end_hung())]
            await _lifespan(receive, send)
            for task in tasks:
                task.cancel()
            return
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        status, answer, kind = await self._route(scope["method"], scope["path"], bytes(body), headers)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", kind.encode()), (b"content-length", str(len(answer)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": answer})

    async def _route(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        parts = path.strip("/").split("/")
        if method == "GET" and parts == ["ping"]:
            return 200, b"{}", payloads.JSON
        if len(parts) == 2 and parts[0] == "models":
            if method == "PUT":
                return await self._load(unquote(parts[1]), body)
            if method == "DELETE":
                return self._unload(unquote(parts[1]))
        if len(parts) == 3 and parts[0] == "models" and parts[2] == "invocations" and method == "POST":
            return await self._invoke(unquote(parts[1]), body, headers)
        return _error(404, f"There is no {method} {path} here.")

    async def _load(self, key: str, body: bytes) -> Answer:
        try:
            wanted = json.loads(body)
            containers = wanted["containers"]
            threads = max(1, int(wanted.get("threads", 1)))
            folders = [Path(entry["path"]) for entry in containers]
            environments = [dict(entry.get("environment") or {}) for entry in containers]
        except (ValueError, KeyError, TypeError) as error:
            return _error(400, f"The request to load '{key}' can't be read: {error!r}.")
        # Two requests for one model share one load.
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._models.get(key)
            if known is not None and known.containers == containers:
                known.asked = time.monotonic()
                return 200, b"{}", payloads.JSON
            worker = ThreadPoolExecutor(1, f"model-{key[:12]}", initializer=_limit_threads, initargs=(threads,))
            try:
                predictor = await asyncio.get_running_loop().run_in_executor(
                    worker, artifacts.load_folders, folders, environments, threads
                )
                keys = () if isinstance(predictor, artifacts.Responder) else _keys(environments, predictor)
            except AutoMLError as error:
                worker.shutdown(wait=False)
                return _error(400, str(error))
            except Exception as error:
                log.exception("The model %s could not be loaded", key)
                worker.shutdown(wait=False)
                return _error(500, f"The model could not be loaded: {type(error).__name__}: {error}")
            self._models[key] = _Loaded(containers, predictor, keys, worker)
            if known is not None:
                known.worker.shutdown(wait=False)
            log.info("Loaded %s", key)
            return 200, b"{}", payloads.JSON

    def _unload(self, key: str) -> Answer:
        known = self._models.pop(key, None)
        self._locks.pop(key, None)
        if known is None:
            return _error(404, f"The model '{key}' is not loaded.")
        # Requests that wait for the model are still answered.
        known.worker.shutdown(wait=False)
        del known
        gc.collect()
        log.info("Unloaded %s", key)
        return 200, b"{}", payloads.JSON

    async def _unload_idle(self) -> None:
        while True:
            await asyncio.sleep(self._idle / 10)
            since = time.monotonic() - self._idle
            for key in [key for key, model in self._models.items() if not model.waiting and model.asked < since]:
                self._unload(key)

    async def _end_hung(self) -> None:
        """End the process if a prediction hangs: a thread can't be ended alone, and others need its cores."""
        while True:
            await asyncio.sleep(_LOOK)
            now = time.monotonic()
            for key, model in self._models.items():
                if model.hung_from is not None and model.hung_from < now:
                    log.critical("Ending the host, because a prediction hangs: model %s", key)
                    os._exit(os.EX_SOFTWARE)

    async def _invoke(self, key: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        model = self._models.get(key)
        if model is None:
            return _error(404, f"The model '{key}' is not loaded.")
        loop = asyncio.get_running_loop()
        model.waiting += 1
        try:
            answer, kind = await loop.run_in_executor(
                model.worker,
                model.invoke,
                body,
                headers.get("content-type"),
                headers.get("accept"),
                float(headers.get(LIMIT, _LIMIT)),
            )
        except payloads.PayloadError as error:
            return _error(400, str(error))
        except Exception as error:
            log.exception("The model %s failed", key)
            return _error(500, f"The model failed: {type(error).__name__}: {' '.join(str(error).split())[:500]}")
        finally:
            model.waiting -= 1
            model.asked = time.monotonic()
        return 200, answer, kind


def _keys(environments: Sequence[Mapping[str, str]], predictor: artifacts.Predictor) -> tuple[str, ...]:
    """The keys of the response, checked along the chain of containers."""
    regression = not predictor.labels
    keys = payloads.response_keys(environments[-1], regression)
    if len(environments) == 3:
        # The middle one never gets labels; what the last one answers beyond them must have come from it.
        inner = set(payloads.response_keys(environments[1], regression))
        lacking = [key for key in keys if key != "labels" and key not in inner]
        if lacking:
            raise payloads.PayloadError(
                f"The last container is to answer {', '.join(lacking)}, which the one before it does not hand on: add "
                "it to SAGEMAKER_INFERENCE_OUTPUT there and to SAGEMAKER_INFERENCE_INPUT of the last one."
            )
    return keys


def _limit_threads(threads: int) -> None:
    """Give a model its share of cores; OpenMP keeps this setting for each thread."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)


def _error(status: int, reason: str) -> Answer:
    return status, json.dumps({"error": reason}).encode(), payloads.JSON


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _serve(path: Path, idle: float) -> None:
    import uvicorn

    listener = _listen(path)
    config = uvicorn.Config(
        ModelHost(idle), log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=5, ws="none"
    )
    server = uvicorn.Server(config)
    parent = os.getppid()

    def follow_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        log.info("The service is gone")
        server.should_exit = True

    threading.Thread(target=follow_parent, name="parent", daemon=True).start()
    # After a graceful end uvicorn raises the signal once more, for handlers that were there before its own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        server.run(sockets=[listener])
    finally:
        path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    """A socket that only its owner can use, and that takes connections from the moment its file is there."""
    unready = path.with_name(path.name + ".new")
    unready.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(unready))
    finally:
        os.umask(mask)
    listener.listen(256)
    unready.replace(path)
    return listener


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, or until the process that started the host is gone.

    :param arguments: of the command line.
    :return: the exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m airflow_automl.local.models.host", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="the unix socket to listen on")
    parser.add_argument("--idle", type=float, default=_IDLE, help="seconds after which an unused model is unloaded")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _serve(options.socket, options.idle)
    return 0


if __name__ == "__main__":
    sys.exit(main())
