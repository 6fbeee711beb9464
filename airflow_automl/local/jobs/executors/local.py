"""Trainers as processes of this machine, each in a session of its own that outlives a crash of the service."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import psutil

from airflow_automl.local import processes
from airflow_automl.local.files import write_private
from airflow_automl.local.jobs.executors.base import Handle, State
from airflow_automl.local.processes import Process
from airflow_automl.local.state.folder import DataFolder

log = logging.getLogger(__name__)

#: Starts the trainer; the job's folder is its argument.
COMMAND = (sys.executable, "-m", "airflow_automl.local.training.main")

#: AWS settings in the service's environment that must not redirect a trainer.
_EXCLUDED_SETTINGS = (
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SESSION_TOKEN"),
    *("AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"),
)

_CHUNK = 1 << 20


class LocalExecutor:
    """Runs each trainer as a process; see :class:`airflow_automl.local.jobs.executors.base.Executor`.

    A handle holds the job's name, the process (pid, start, boot), and the time of its start by the clocks.

    :param folder: where the files of jobs are: ``spec.json``, ``events.jsonl``, ``trainer.log`` and ``work/``.
    :param command: starts a trainer; the job's folder is appended.
    :param environment: returns the variables to add to this process's own, such as the endpoint of S3.
    :param ends_with_parent: kill trainers when this process ends, however it does; by default, they outlive it.
    """

    def __init__(
        self,
        folder: DataFolder,
        command: Sequence[str],
        environment: Callable[[], Mapping[str, str]],
        *,
        ends_with_parent: bool = False,
    ) -> None:
        self._folder = folder
        self._command = list(command)
        self._environment = environment
        self._prepare = partial(processes.end_with, os.getpid()) if ends_with_parent else None
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, specification: Mapping[str, Any]) -> Handle:
        """Start a trainer in a new session."""
        path = self._folder.job(specification["name"])
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        attempt, events = specification["attempt"], path / "events.jsonl"
        if events.exists():
            # An interrupted attempt may have written half a line, which would corrupt the next one.
            events.replace(path / f"events.{attempt - 1}.jsonl")
        write_private(path / "spec.json", dict(specification))
        environment = {key: value for key, value in os.environ.items() if key not in _EXCLUDED_SETTINGS}
        environment |= {
            "OMP_NUM_THREADS": str(specification["threads"] or 1),
            "OMP_WAIT_POLICY": "passive",
            "PYTHONUNBUFFERED": "1",
            **self._environment(),
        }
        with (path / "trainer.log").open("ab") as output:
            output.write(f"--- attempt {attempt}, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n".encode())
            output.flush()
            child = subprocess.Popen(
                [*self._command, str(path)],
                cwd=path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
                preexec_fn=self._prepare,
            )
        self._children[child.pid] = child
        return _handle(specification["name"], processes.holder(child.pid), 0.0)

    def find(self, specification: Mapping[str, Any]) -> Handle | None:
        """Return the process that has the job's folder as its argument; only one attempt runs at a time."""
        job = specification["name"]
        process = processes.find([*self._command, str(self._folder.job(job))])
        if process is None:
            return None
        try:
            age = time.time() - psutil.Process(process.pid).create_time()
        except psutil.Error:
            return None
        return _handle(job, process, age)

    def state(self, handle: Handle) -> State:
        """Return the state of the trainer's main process."""
        child, process = self._children.get(handle["pid"]), _process(handle)
        code = None if child is None else child.poll()
        running = processes.alive(process) if child is None else code is None
        if "began" in handle and handle["boot"] == processes.boot_id():
            seconds = time.monotonic() - handle["began"]
        else:
            # The machine was restarted, and with it the monotonic clock.
            seconds = time.time() - handle["at"]
        if code is None:
            return State(running, seconds, "ended")
        return State(running, seconds, f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}")

    def stop(self, handle: Handle) -> bool:
        """Kill the session of the trainer, and remove its scratch folder when nothing remains."""
        process = _process(handle)
        processes.kill_session(process)
        if self.state(handle).running or processes.members(process):
            return False
        self._children.pop(handle["pid"], None)
        shutil.rmtree(self._folder.job(handle["job"]) / "work", ignore_errors=True)
        return True

    def forget(self, handle: Handle) -> None:
        """Keep the log; there is nothing else."""

    def usage(self, handle: Handle) -> int:
        """Return the memory of the trainer's session in bytes."""
        return processes.memory(_process(handle))

    def events(self, handle: Handle, position: int) -> tuple[list[dict[str, Any]], int]:
        """Read whole lines of ``events.jsonl``; a line that is still being written is left for the next call.

        :param position: in bytes.
        """
        path = self._folder.job(handle["job"]) / "events.jsonl"
        try:
            with path.open("rb") as file:
                file.seek(position)
                data = file.read(_CHUNK)
                while b"\n" not in data and (more := file.read(_CHUNK)):
                    data += more
        except FileNotFoundError:
            return [], position
        whole = data[: data.rfind(b"\n") + 1]
        found = []
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                log.warning("%s holds a line that is not JSON: %.200r", path, line)
                continue
            if isinstance(event, dict):
                found.append(event)
        return found, position + len(whole)

    def last_words(self, handle: Handle) -> str:
        """Return the last line of ``trainer.log`` that is not empty."""
        path = self._folder.job(handle["job"]) / "trainer.log"
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 4096))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _handle(job: str, process: Process, age: float) -> Handle:
    began = {"began": time.monotonic() - age, "at": time.time() - age}
    return {"job": job, **process._asdict(), **began}


def _process(handle: Handle) -> Process:
    return Process(handle["pid"], handle["started"], handle["boot"])
