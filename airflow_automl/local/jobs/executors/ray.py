"""Trainers as jobs of a Ray cluster, by Ray's Jobs API.

A submission id is made of the job and the attempt, so that a service finds what an earlier one submitted. What the
service and :mod:`airflow_automl.local.jobs.executors.node` exchange objects in the store, under the job's output.
Deleting the specification ends an attempt: a node runs no trainer without it, reachable or not.

The supervisor must not wait for a network: two background tasks talk to Ray and to the store, and the methods of the
executor answer from what these know.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError

from botocore.exceptions import ClientError

from airflow_automl.local.jobs.executors.base import EXCHANGE, Handle, State
from airflow_automl.local.jobs.executors.jobs_api import ENDED, JobsApi, one_line
from airflow_automl.local.jobs.executors.local import LocalExecutor
from airflow_automl.local.jobs.executors.node import BEAT, SPECIFICATION, Exchange, report_key
from airflow_automl.local.retry import unreachable
from airflow_automl.local.state.folder import DataFolder

log = logging.getLogger(__name__)

_MODULE = "airflow_automl.local.jobs.executors.node"
_UNKNOWN = "UNKNOWN"
"""The status of a job that Ray does not know."""

#: Seconds between two turns, and between two questions about a job that is well.
_INTERVAL, _PATIENCE = 0.5, 5.0
#: Seconds without a beat after which a trainer that Ray does not know is dead.
_STALE = 10.0
_AT_ONCE = 8


@dataclass
class _Attempt:
    """What is known of one attempt of a job.

    :param specification: to submit; ``None`` once Ray has it.
    :param beat: the node's last beat; empty before the first. It was new at ``beat_seen``, in monotonic time.
    :param began: when the trainer began, in monotonic time.
    :param reports: fetched and not applied yet, by number.
    :param status: Ray's, or :data:`_UNKNOWN`; empty until it was asked.
    :param withdrawn: its specification was deleted, and beats were read after that.
    :param lock: held while it is submitted, and while its specification is deleted.
    """

    handle: Handle
    specification: Mapping[str, Any] | None
    beat: dict[str, Any] = field(default_factory=dict)
    beat_seen: float = float("-inf")
    began: float | None = None
    looked: float = float("-inf")
    reports: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    position: int = 0
    status: str = ""
    error: str = ""
    message: str = ""
    asked: float = float("-inf")
    stopping: bool = False
    withdrawn: bool = False
    forgotten: bool = False
    refused: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def stale(self) -> bool:
        """Return whether the node has been silent for long, or has never said anything."""
        return self.looked > float("-inf") and time.monotonic() > self.beat_seen + _STALE

    @property
    def complete(self) -> bool:
        """Return whether the trainer has ended and all of its reports are here."""
        number = self.beat.get("reports", 0)
        here = all(each in self.reports for each in range(self.position, number))
        return self.beat.get("ended") is not None and here

    @property
    def dead(self) -> bool:
        """Return whether the trainer has ended without a word, or never began and never will."""
        return self.stale and self.status in (*ENDED, _UNKNOWN) and self.beat.get("ended") is None


class RayExecutor:
    """Runs each trainer as a Ray job; see :class:`airflow_automl.local.jobs.executors.base.Executor`.

    :param folder: where the logs of trainers are kept.
    :param address: of the cluster's Jobs API, such as ``http://head:8265``.
    :param store: returns an S3 client for the calling thread.
    :param environment: returns the variables that a trainer needs, such as the endpoint and credentials of S3.
    :param command: starts a trainer on a node; by default the command of the local executor.
    """

    def __init__(
        self,
        folder: DataFolder,
        address: str,
        store: Callable[[], Any],
        environment: Callable[[], Mapping[str, str]],
        command: Sequence[str] | None = None,
    ) -> None:
        self._folder = folder
        self._ray = JobsApi(address)
        self._store = store
        self._environment = environment
        self._command = command
        self._attempts: dict[str, _Attempt] = {}
        self._logs = LocalExecutor(folder, (), dict)
        self._started = threading.Event()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ray")

    def start(self, specification: Mapping[str, Any]) -> Handle:
        """Submit a trainer as soon as Ray can be reached; the job is ``Starting`` until Ray has room for it."""
        handle = self._handle(specification)
        self._attempts[handle["id"]] = _Attempt(handle, specification)
        self._started.set()
        return handle

    def find(self, specification: Mapping[str, Any]) -> Handle | None:
        """Return the handle of an attempt that may have been submitted: Ray is asked later, and may not know it."""
        return self._handle(specification)

    def _handle(self, specification: Mapping[str, Any]) -> Handle:
        name, attempt = specification["name"], specification["attempt"]
        # Clusters outlive data folders, and serve several: a name alone may be another's.
        own = hashlib.sha256(f"{specification['arn']} {specification['created']!r} {specification['output']}".encode())
        path = self._folder.job(name)
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        output = path / "trainer.log"
        return {
            "job": name,
            "id": f"{name}-{attempt}-{own.hexdigest()[:8]}",
            "uri": f"{specification['output']}{EXCHANGE}{own.hexdigest()[:8]}/",
            "attempt": attempt,
            "log": output.stat().st_size if output.exists() else 0,
        }

    def state(self, handle: Handle) -> State:
        """Return the state of a trainer; it runs until its end is known for sure."""
        attempt = self._attempts.get(handle["id"])
        if attempt is None:
            return State(True, 0.0, "")
        seconds = 0.0 if attempt.began is None else time.monotonic() - attempt.began
        if attempt.complete:
            return State(False, attempt.beat["seconds"], attempt.beat["ended"])
        if attempt.refused:
            return State(False, 0.0, f"was refused ({attempt.message})")
        if attempt.dead:
            # What Ray says of its own actor is true of the place; other errors would come again elsewhere.
            place = attempt.error.startswith("JOB_SUPERVISOR_ACTOR") and "UNSCHEDULABLE" not in attempt.error
            why = f"ended on Ray ({attempt.status} {attempt.message})".replace(" )", ")")
            return State(False, seconds, why, attempt.status == _UNKNOWN or place)
        return State(True, seconds, "")

    def stop(self, handle: Handle) -> bool:
        """Withdraw the trainer; the background tasks notify Ray and the node."""
        attempt = self._attempt(handle)
        if attempt.complete or attempt.refused or (attempt.withdrawn and (not attempt.beat or attempt.dead)):
            return True
        attempt.stopping = True
        return False

    def forget(self, handle: Handle) -> None:
        """Have the objects of the attempt deleted."""
        self._attempt(handle).forgotten = True

    def usage(self, handle: Handle) -> int:
        """Return the memory that the node measured last."""
        attempt = self._attempts.get(handle["id"])
        return 0 if attempt is None else int(attempt.beat.get("usage", 0))

    def events(self, handle: Handle, position: int) -> tuple[list[dict[str, Any]], int]:
        """Return the events of one report.

        :param position: how many reports were applied.
        """
        attempt = self._attempt(handle)
        attempt.position = position
        for number in [each for each in attempt.reports if each < position]:
            del attempt.reports[number]
        if position not in attempt.reports:
            return [], position
        return attempt.reports[position], position + 1

    def last_words(self, handle: Handle) -> str:
        """Return the last line of the log that is not empty."""
        return self._logs.last_words(handle)

    def _attempt(self, handle: Handle) -> _Attempt:
        return self._attempts.setdefault(handle["id"], _Attempt(handle, None))

    # The background tasks; they run in threads

    def exchange(self) -> None:
        """Take one turn with the store: fetch what nodes report, and withdraw what is to end.

        :raises Exception: the store can't be reached, or refuses something.
        """
        attempts = list(self._attempts.values())
        self._for_each(self._exchange_one, [a for a in attempts if a.specification is None or a.stopping])
        time.sleep(_INTERVAL)

    def ask(self) -> None:
        """Take one turn with Ray: submit, ask and stop.

        :raises Exception: Ray can't be reached, or refuses something.
        """
        self._started.clear()
        attempts = [attempt for attempt in list(self._attempts.values()) if not attempt.forgotten]
        if time.monotonic() > self._ray.heard + _PATIENCE:
            # Called once, before many calls wait for a timeout.
            self._ray.request("GET", "/api/version")
        self._for_each(self._ask_one, attempts)
        self._started.wait(_INTERVAL)

    def _for_each(self, work: Callable[[_Attempt], None], attempts: Iterable[_Attempt]) -> None:
        futures = [self._threads.submit(work, attempt) for attempt in attempts]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]

    def _place(self, attempt: _Attempt, number: int | None = None) -> Exchange:
        number = attempt.handle["attempt"] if number is None else number
        return Exchange(self._store(), f"{attempt.handle['uri']}{number}/")

    def _exchange_one(self, attempt: _Attempt) -> None:
        place = self._place(attempt)
        if attempt.forgotten:
            try:
                place.delete()
            except ClientError:
                log.warning("the store keeps the reports of %s", attempt.handle["id"], exc_info=True)
            self._attempts.pop(attempt.handle["id"], None)
            return
        now, withdrawn = time.monotonic(), attempt.stopping
        if attempt.complete or attempt.refused:
            return
        if not attempt.beat and not withdrawn and now < attempt.looked + 4 * _INTERVAL:
            return  # many may wait in Ray's queue
        if withdrawn and not attempt.withdrawn:
            with attempt.lock:
                place.delete(SPECIFICATION)
        beat = place.read(BEAT)
        if beat is not None and beat != attempt.beat:
            for number in range(attempt.position, beat["reports"]):
                if number not in attempt.reports:
                    self._take(attempt, number, place.read(report_key(number)))
            attempt.beat, attempt.beat_seen = beat, now
            if beat["seconds"]:
                attempt.began = now - beat["seconds"]
        attempt.looked, attempt.withdrawn = now, withdrawn

    def _take(self, attempt: _Attempt, number: int, report: dict[str, Any] | None) -> None:
        if report is None:
            return
        path = self._folder.job(attempt.handle["job"]) / "trainer.log"
        # Written at its place: a report that is fetched again by the next service changes nothing.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.seek(attempt.handle["log"] + report["offset"])
            file.write(report["log"].encode("latin-1"))
        attempt.reports[number] = report["events"]

    def _ask_one(self, attempt: _Attempt) -> None:
        now = time.monotonic()
        with attempt.lock:
            if attempt.specification is not None and not attempt.stopping:
                self._submit(attempt, attempt.specification)
            attempt.specification = None
        if attempt.complete or attempt.refused or attempt.status in (*ENDED, _UNKNOWN):
            return
        urgent = attempt.stopping or (bool(attempt.beat) and now > attempt.beat_seen + _PATIENCE)
        if now < attempt.asked + (_PATIENCE / 5 if urgent else _PATIENCE) or (attempt.beat and not urgent):
            return
        attempt.asked = now
        path = f"/api/jobs/{attempt.handle['id']}"
        answer = self._ray.request("GET", path) or {"status": _UNKNOWN}
        attempt.error, attempt.message = answer.get("error_type") or "", one_line(answer.get("message"))
        attempt.status = answer["status"]
        if attempt.stopping and attempt.status not in (*ENDED, _UNKNOWN):
            self._ray.request("POST", f"{path}/stop")

    def _submit(self, attempt: _Attempt, specification: Mapping[str, Any]) -> None:
        number, handle = attempt.handle["attempt"], attempt.handle
        try:
            if number > 1:
                self._place(attempt, number - 1).delete()
            command = specification.get("command") or self._command
            self._place(attempt).write(SPECIFICATION, {"specification": specification, "command": command})
        except ClientError as error:
            if unreachable(error):
                raise
            attempt.refused, attempt.message = True, str(error)
            return
        body = {
            "entrypoint": f"exec python -m {_MODULE} {handle['uri']}{number}/",
            "submission_id": handle["id"],
            "runtime_env": {"env_vars": dict(self._environment())},
            "metadata": {"job": handle["job"], "attempt": str(number)},
            "entrypoint_num_cpus": specification["threads"],
            "entrypoint_num_gpus": specification["gpus"],
            "entrypoint_memory": specification["memory_limit_bytes"],
        }
        try:
            self._ray.request("POST", "/api/jobs/", {key: value for key, value in body.items() if value})
        except HTTPError as error:
            said = one_line(error.read().decode(errors="replace"))
            # It may have been submitted by a request whose answer got lost.
            if self._ray.request("GET", f"/api/jobs/{handle['id']}") is None:
                if error.code >= 500:
                    raise
                attempt.refused, attempt.message = True, said
                return
        log.info("submitted to Ray: %s", handle["id"])
