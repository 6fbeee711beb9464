"""Forks one process for each model: ``python -m airflow_automl.local.models.host --socket PATH``.

A connection to the socket is a model. Its first message names the artefacts (``containers``) and ``threads``; the host
imports what the model's engine needs, once for all models, and forks. The new process answers with its ``pid``, and,
when the model is loaded, with a ``status``. Each further message holds requests, and is answered in order: one answer
for each of the first requests that fit into one prediction. The process ends with its connection, and all end with the
host, which ends with the service.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.exceptions import AutoMLError
from airflow_automl.local import processes
from airflow_automl.local.models import artifacts, payloads
from airflow_automl.local.models.artifacts import Responder
from airflow_automl.local.models.payloads import PayloadError, Responses
from airflow_automl.local.models.wire import Answer, Payload, pack, receive

log = logging.getLogger("airflow_automl.model_host")

#: Seconds between two checks for the service, and for the first message of a connection.
_LOOK = 1.0
#: Rows of one prediction for more than one request.
_ROWS = 1000
_MODULES = {"scikit-learn": "sklearn"}


class Tables:
    """A model whose requests are rows of a table.

    :param predictor: the model.
    :param keys: what it answers.
    """

    def __init__(self, predictor: artifacts.Predictor, keys: Sequence[str]) -> None:
        self._predictor = predictor
        self._keys = keys
        self._first = predictor.columns[0]

    def respond(self, requests: Sequence[Payload]) -> Responses:
        """See :class:`airflow_automl.local.models.artifacts.Responder`."""
        return payloads.answer_together(
            requests, self._read, self._answers, lambda read: sum(len(table[self._first]) for _, table in read) <= _ROWS
        )

    def _read(self, request: Payload) -> tuple[str, dict[str, np.ndarray]]:
        kind, known = payloads.negotiate(request.accept), self._predictor.metadata
        target, escaped = known.get("target"), bool(known.get("escaped"))
        features = self._predictor.features
        return kind, payloads.decode(request.body, request.content_type, features, target, escaped)

    def _answers(self, read: Sequence[tuple[str, dict[str, np.ndarray]]]) -> Responses:
        columns = read[0][1]
        if len(read) > 1:
            columns = {name: np.concatenate([table[name] for _, table in read]) for name in columns}
        answer = self._predictor.answer(pd.DataFrame(columns, copy=False), conformed=True)
        found = []
        start = 0
        for kind, table in read:
            end = start + len(table[self._first])
            part = {key: value if key == "labels" else value[start:end] for key, value in answer.items()}
            found.append(payloads.encode(part, self._keys, kind))
            start = end
        return found


def load(document: Mapping[str, Any]) -> Responder:
    """Load the model that a first message names.

    :raises AutoMLError: it can't be loaded; the message says why.
    """
    folders = [Path(entry["path"]) for entry in document["containers"]]
    environments = [dict(entry.get("environment") or {}) for entry in document["containers"]]
    model = artifacts.load_folders(folders, environments, document["threads"])
    if isinstance(model, artifacts.Predictor):
        return Tables(model, _keys(environments, model))
    responder: Responder = model
    return responder


def answer(model: Responder, requests: Sequence[Payload]) -> list[Answer]:
    """Answer the first requests, by one prediction; if it fails, the first by a prediction of its own."""
    try:
        found = model.respond(requests)
    except Exception as error:
        if len(requests) > 1:
            return answer(model, requests[:1])
        log.exception("The model failed")
        reason = f"The model failed: {type(error).__name__}: {' '.join(str(error).split())[:500]}"
        return [_refused(500, reason)]
    return [_refused(400, str(one)) if isinstance(one, PayloadError) else Answer(200, one[1], one[0]) for one in found]


def _refused(status: int, reason: str) -> Answer:
    return Answer(status, "text/plain", reason.encode())


def _keys(environments: Sequence[Mapping[str, str]], predictor: artifacts.Predictor) -> tuple[str, ...]:
    regression = not predictor.labels
    keys = payloads.response_keys(environments[-1], regression)
    if len(environments) == 3:
        # The middle container has no labels; whatever the last one answers besides labels is from the middle one.
        inner = set(payloads.response_keys(environments[1], regression))
        lacking = [key for key in keys if key != "labels" and key not in inner]
        if lacking:
            raise PayloadError(
                f"The last container is to answer {', '.join(lacking)}, which the one before it does not answer: add "
                "it to SAGEMAKER_INFERENCE_OUTPUT there and to SAGEMAKER_INFERENCE_INPUT of the last one."
            )
    return keys


def serve_model(connection: socket.socket, document: Mapping[str, Any]) -> None:
    """Hold one model, until the connection ends.

    :param connection: to the service.
    :param document: the first message.
    """
    from threadpoolctl import threadpool_limits

    # The call sets the cores of loaded libraries, the variable those of all others.
    os.environ["OMP_NUM_THREADS"] = str(document["threads"])
    threadpool_limits(document["threads"])
    try:
        model = load(document)
    except AutoMLError as error:
        connection.sendall(pack({"status": 400, "error": str(error)}))
        return
    except Exception as error:
        log.exception("The model could not be loaded")
        reason = f"The model could not be loaded: {type(error).__name__}: {error}"
        connection.sendall(pack({"status": 500, "error": reason}))
        return
    gc.collect()
    gc.freeze()
    connection.sendall(pack({"status": 200}))
    while True:
        asked, bodies = receive(connection)
        requests = [Payload(body, *kinds) for body, kinds in zip(bodies, asked["requests"], strict=True)]
        answers = answer(model, requests)
        heads = [(each.status, each.content_type) for each in answers]
        connection.sendall(pack({"answers": heads}, [each.body for each in answers]))


def _prepare(document: Mapping[str, Any]) -> None:
    """Import what a model needs: the process that is forked has it, and so has the next one."""
    for container in document["containers"]:
        # The process that loads the model reports errors.
        with contextlib.suppress(AutoMLError):
            metadata = artifacts.describe(container["path"])
            names = [_MODULES.get(name, name) for name in metadata.get("libraries", ()) if name != "python"]
            for module in (artifacts.loader_of(metadata), *names):
                with contextlib.suppress(ImportError):
                    importlib.import_module(module)


def _serve(path: Path, parent: int) -> None:
    listener = _listen(path)
    listener.settimeout(_LOOK)
    own = os.getpid()
    while os.getppid() == parent:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            try:
                connection.settimeout(_LOOK)
                document, _ = receive(connection)
            except (OSError, EOFError, ValueError):
                # A probe whether the host listens.
                continue
            connection.settimeout(None)
            _prepare(document)
            if os.fork() == 0:
                listener.close()
                _child(connection, document, own)
    log.info("The service has ended; the model host ends")


def _child(connection: socket.socket, document: Mapping[str, Any], parent: int) -> None:
    code = os.EX_SOFTWARE
    try:
        os.setpgid(0, 0)
        processes.end_with(parent)
        # If the machine runs out of memory, the kernel kills a model and not the service.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
        connection.sendall(pack({"pid": os.getpid()}))
        serve_model(connection, document)
        code = os.EX_OK
    except (EOFError, ConnectionError):
        code = os.EX_OK
    except BaseException:
        log.exception("The process of a model failed and ends")
    finally:
        os._exit(code)


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
    """Fork processes for models until the process that started the host has ended.

    :param arguments: of the command line.
    :return: the exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m airflow_automl.local.models.host", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="the unix socket to listen on")
    options = parser.parse_args(arguments)
    parent = os.getppid()
    processes.end_with(parent)
    form = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=form)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        _serve(options.socket, parent)
    finally:
        options.socket.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
