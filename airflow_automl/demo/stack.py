"""The processes that the demo starts, and ends again whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

from airflow_automl.exceptions import AutoMLError

READY_WITHIN = 600.0
STOP_WITHIN = 20.0


class DemoFailed(AutoMLError):
    """A part of the demo did not start, or failed; the message names its log."""


class Process(NamedTuple):
    """A child in a session of its own, so that Ctrl-C reaches it through us and in our order."""

    popen: subprocess.Popen[bytes]
    stop_signal: signal.Signals
    log: Path


class Stack:
    """Starts the embedded Autopilot and Airflow's commands in one folder, and stops them in reverse order.

    :param folder: the folder of all state and logs of the demo; used again by the next run.
    :param python: the interpreter of the environment that has Airflow; by default this one.
    """

    def __init__(self, folder: Path, python: str | Path = sys.executable) -> None:
        self._python = str(python)
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment: dict[str, str] = dict(os.environ)
        self._running: list[Process] = []

    def __enter__(self) -> Stack:
        # Checked before anything is written: a second demo would empty the logs of the first.
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise DemoFailed(
                f"another demo runs in {self.folder}. Stop it with Ctrl-C, or start this one in a folder of its own: "
                "airflow-automl demo --folder FOLDER"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._running:
            self.stop(self._running[-1])
        self._lock.close()

    def start(
        self, name: str, command: Sequence[str], *, stdout: int | IO[bytes] | None = None, stop: signal.Signals
    ) -> Process:
        """Start a command in its own process group; its output goes to ``<name>.log`` in the folder."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                list(command),
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=output,
                start_new_session=True,
            )
        process = Process(popen, stop, log)
        self._running.append(process)
        return process

    def stop(self, process: Process) -> None:
        """Ask the process to end, wait, and then end whatever is left of its group."""
        self._running.remove(process)
        if process.popen.poll() is None:
            process.popen.send_signal(process.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(STOP_WITHIN)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.popen.pid, signal.SIGKILL)
        process.popen.wait()

    def start_autopilot(self, python: str | Path = sys.executable) -> None:
        """Start the embedded Autopilot on a free port, and point AWS clients and Airflow's connection at it.

        :param python: the interpreter of the environment that has it; by default this one.
        """
        data = self.folder / "autopilot"
        command = [str(python), "-m", "airflow_automl.cli"]
        process = self.start(
            "autopilot",
            [*command, "local", "--port", "0", "--data-dir", str(data)],
            stdout=subprocess.PIPE,
            stop=signal.SIGTERM,
        )
        if not _first_line(process, READY_WITHIN).startswith("ready "):
            raise DemoFailed(f"the embedded Autopilot did not start:\n{tail(process.log)}")
        printed = subprocess.run(
            [*command, "env", "--data-dir", str(data)], check=True, capture_output=True, text=True
        ).stdout
        self.environment.update(parse_environment(printed))

    def use_airflow(self, dags: Path, overrides: Mapping[str, str]) -> None:
        """Point Airflow at a home and a database of its own inside the folder, whatever the caller's are."""
        binaries = str(Path(self._python).parent)
        home = self.folder / "airflow"
        self.environment.update(
            {
                "PATH": f"{binaries}{os.pathsep}{self.environment.get('PATH', '')}",
                "AIRFLOW_HOME": str(home),
                # The scheduler dies if it finds the database locked for longer than this; by default that is 5 s.
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
                "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
                "PYTHONWARNINGS": "ignore",
                **overrides,
            }
        )

    def airflow(self, name: str, *arguments: str) -> Process:
        return self.start(name, [self._python, "-m", "airflow", *arguments], stop=signal.SIGINT)

    def run_airflow(self, name: str, *arguments: str) -> None:
        self.finish(self.airflow(name, *arguments))

    def start_standalone(self, users: str | None = None) -> tuple[str, Process]:
        """Start all of Airflow (``airflow standalone``, small) on a free port, and wait for it.

        :param users: users and roles, as ``[core] simple_auth_manager_users`` takes them; without, there is no login.
        :return: the web interface's address, and the process.
        """
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        self.environment.update(
            {
                "AIRFLOW__API__HOST": "127.0.0.1",
                "AIRFLOW__API__PORT": str(port),
                "AIRFLOW__API__BASE_URL": url,
                "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
                "AIRFLOW__CORE__PARALLELISM": "4",
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": str(users is None),
                **({"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users} if users else {}),
            }
        )
        process = self.airflow("airflow-standalone", "standalone")
        wait_for_http(f"{url}/api/v2/monitor/health", process, READY_WITHIN)
        self.run_airflow("airflow-dags-reserialize", "dags", "reserialize")
        return url, process

    def finish(self, process: Process) -> None:
        """Wait until a process has ended; raise if it failed."""
        code = process.popen.wait()
        self._running.remove(process)
        if code != 0:
            raise DemoFailed(f"{process.log.stem} ended with exit code {code}:\n{tail(process.log)}")


def _first_line(process: Process, within: float) -> str:
    """The first line of standard output; empty when the process ended or the time is up without one."""
    stream = process.popen.stdout
    if stream is None:
        raise ValueError("the process was started without a pipe for its standard output")
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=lambda: lines.put(stream.readline()), daemon=True).start()
    try:
        return lines.get(timeout=within).decode().strip()
    except queue.Empty:
        return ""


def parse_environment(printed: str) -> dict[str, str]:
    """``KEY=value`` lines in a shell's quoting, as ``airflow-automl env`` prints them."""
    words = (word for line in printed.splitlines() for word in shlex.split(line, comments=True))
    return dict(word.split("=", 1) for word in words)


def tail(log: Path, lines: int = 25) -> str:
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join([*(f"  {line}" for line in text), f"  (all of it: {log})"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_http(url: str, process: Process, within: float) -> None:
    """Wait until an URL answers 200, or say why it never will."""
    import httpx

    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if process.popen.poll() is not None:
            raise DemoFailed(f"{process.log.stem} ended early:\n{tail(process.log)}")
        try:
            if httpx.get(url, timeout=30).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise DemoFailed(f"{url} did not answer within {within:.0f} s:\n{tail(process.log)}")
