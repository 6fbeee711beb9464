"""The processes that the demo starts, and ends again whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import secrets
import shlex
import signal
import socket
import sqlite3
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

#: All of Airflow.
COMPONENTS = ("api-server", "scheduler", "triggerer", "dag-processor")

DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
PATIENCE = "?timeout=60"


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
        self.running: dict[str, Process] = {}

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
        while self.running:
            self.stop(next(reversed(self.running)))
        self._lock.close()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        stdout: int | IO[bytes] | None = None,
        stop: signal.Signals,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a command in its own process group; its output goes to ``<name>.log`` in the folder."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                list(command),
                env=self.environment if environment is None else environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=output,
                start_new_session=True,
            )
        self.running[name] = process = Process(popen, stop, log)
        return process

    def stop(self, name: str) -> None:
        """Ask a process to end, wait, and then end whatever is left of its group."""
        process = self.running.pop(name)
        if process.popen.poll() is None:
            process.popen.send_signal(process.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.popen.wait(STOP_WITHIN)
        _kill(process)

    def kill(self, name: str) -> None:
        """End a process and its children at once, as the loss of a container does."""
        _kill(self.running.pop(name))

    def check(self) -> None:
        """Raise an error if a process has ended before it was stopped."""
        for name, process in list(self.running.items()):
            if process.popen.poll() is not None:
                raise _ended(name, process)

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
        """Point Airflow at a home and a database of its own inside the folder, and at a free port.

        :param dags: the folder of the DAGs.
        :param overrides: further settings; by default there is no login, and Airflow is small.
        """
        binaries = str(Path(self._python).parent)
        home = self.folder / "airflow"
        home.mkdir(exist_ok=True)
        with contextlib.closing(sqlite3.connect(home / "airflow.db")) as database:
            # With WAL, a property of the file, readers and writers don't wait for each other.
            database.execute("PRAGMA journal_mode=WAL")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.environment.update(
            {
                "PATH": f"{binaries}{os.pathsep}{self.environment.get('PATH', '')}",
                "AIRFLOW_HOME": str(home),
                # The scheduler dies if it finds the database locked for longer than this; by default that is 5 s.
                DATABASE: f"sqlite:///{home / 'airflow.db'}{PATIENCE}",
                "AIRFLOW__API__HOST": "127.0.0.1",
                "AIRFLOW__API__PORT": str(port),
                "AIRFLOW__API__BASE_URL": self.url,
                "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
                "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
                "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
                "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__CORE__PARALLELISM": "4",
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
                "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
                "PYTHONWARNINGS": "ignore",
                **overrides,
            }
        )

    def airflow(self, name: str, *arguments: str) -> Process:
        """Start one of Airflow's commands."""
        return self.start(name, [self._python, "-m", "airflow", *arguments], stop=signal.SIGINT)

    def run_airflow(self, name: str, *arguments: str) -> None:
        self.airflow(name, *arguments)
        self.finish(name)

    def start_airflow(self) -> None:
        """Start all of Airflow, and wait until it answers; it knows its DAGs from the beginning."""
        self.run_airflow("airflow-dags-reserialize", "dags", "reserialize")
        for name in COMPONENTS:
            self.start_component(name)
        self.await_airflow()

    def start_component(self, name: str) -> None:
        """Start a component of Airflow."""
        environment = dict(self.environment)
        if name == "api-server":
            # Its event loop awaits SQLite's lock to log who asked for what, and meanwhile no request can end that holds
            # the lock: all of Airflow stands still until one of the two gives up. Tasks and clients ask again.
            environment[DATABASE] = environment[DATABASE].removesuffix(PATIENCE)
        self.start(name, [self._python, "-m", "airflow", name], stop=signal.SIGTERM, environment=environment)

    def await_airflow(self) -> None:
        """Wait until the API server answers."""
        import httpx

        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/api/v2/monitor/health", timeout=30).is_success:
                    return
            time.sleep(0.5)
        log = self.running["api-server"].log
        raise DemoFailed(f"Airflow did not answer at {self.url} within {READY_WITHIN:.0f} s:\n{tail(log)}")

    def finish(self, name: str) -> None:
        """Wait until a process has ended; raise if it failed."""
        process = self.running[name]
        code = process.popen.wait()
        self.stop(name)
        if code != 0:
            raise _ended(name, process)


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.popen.pid, signal.SIGKILL)
    process.popen.wait()


def _ended(name: str, process: Process) -> DemoFailed:
    return DemoFailed(f"{name} ended with exit code {process.popen.returncode}:\n{tail(process.log)}")


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
