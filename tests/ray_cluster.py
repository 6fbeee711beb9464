"""A Ray cluster of this machine, with as many nodes as a test needs; Ray has an environment of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_automl.local.processes import end_with
from tools.compat import REQUIREMENTS, ROOT, UV

_VENV = ROOT / ".venv-ray"
_STARTED = "Ray runtime started"


def environment() -> Path:
    """Make the environment of a node, unless it is there already, and return its folder of programs.

    It has Ray's packages, and sees those of the environment that runs the tests, which has the same versions.
    """
    made, wanted = _VENV / ".made", sys.executable + (REQUIREMENTS / "ray.txt").read_text()
    with _VENV.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists() or made.read_text() != wanted:
            subprocess.run([UV, "venv", "--quiet", "--clear", "--python", sys.executable, _VENV], check=True)
            install = [UV, "pip", "install", "--quiet", "--python", _VENV / "bin" / "python", "--require-hashes"]
            subprocess.run([*install, "-r", REQUIREMENTS / "ray.txt"], check=True)
            packages = Path(psutil.__file__).parent.parent
            relative = packages.relative_to(sys.prefix)
            (_VENV / relative / "tests.pth").write_text(f"{packages}\n{ROOT}\n")
            made.write_text(wanted)
    return _VENV / "bin"


class Cluster:
    """Nodes of a few cores each; use it as a context manager. Meanwhile, this process's environment has their token.

    The Jobs API listens on loopback. Nodes do not: Ray replaces such an address by another one. If that is prevented,
    the submission of a job never returns. Without the token, nobody can use what listens.

    :param workers: nodes beside the head, which runs no jobs itself if there are any.
    :param environment: variables of all nodes.
    :param cores: that Ray may deal out on each node that runs jobs.
    """

    def __init__(self, workers: int = 0, environment: Mapping[str, str] | None = None, cores: int = 1) -> None:
        self.token = secrets.token_hex(16)
        self._environment, self._cores = environment or {}, cores
        self._patch = pytest.MonkeyPatch()
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self._port, self._dashboard = _free_ports(2)
        self.address = f"http://127.0.0.1:{self._dashboard}"
        self._count = workers
        self.head: subprocess.Popen[bytes]
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Cluster:
        self._patch.setenv("RAY_AUTH_TOKEN", self.token)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()
        for node in [*self.workers, self.head]:
            self.kill(node)
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the head and the workers, also again."""
        agent, client = _free_ports(2)
        self.head = self._node(
            "--head",
            f"--port={self._port}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self._dashboard}",
            f"--dashboard-agent-listen-port={agent}",
            f"--ray-client-server-port={client}",
            "--no-monitor",
            f"--num-cpus={0 if self._count else self._cores}",
        )
        self._wait_ready()
        self.workers = [self.worker() for _ in range(self._count)]

    def worker(self) -> subprocess.Popen[bytes]:
        """Start one more worker."""
        (agent,) = _free_ports(1)
        return self._node(
            f"--address=127.0.0.1:{self._port}", f"--dashboard-agent-listen-port={agent}", f"--num-cpus={self._cores}"
        )

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """Kill a node as a power cut does: Ray's own processes, at once."""
        processes = [psutil.Process(node.pid)] if node.poll() is None else []
        for process in processes:
            for each in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.Error):
                    each.kill()
        node.wait()

    def _node(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a node, and wait until it runs: if two start at once, they may choose the same port."""
        programs = environment()
        log = self._folder / "nodes.log"
        before = log.read_text().count(_STARTED) if log.exists() else 0
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))}
        variables |= {
            "PATH": f"{programs}:{variables['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_metrics_collection": "0",
            **self._environment,
        }
        with log.open("ab") as output:
            node = subprocess.Popen(
                [
                    programs / "python",
                    "-m",
                    "ray.scripts.scripts",
                    "start",
                    "--block",
                    "--node-ip-address=127.0.0.1",
                    f"--temp-dir={self._folder}",
                    "--object-store-memory=80000000",
                    "--include-log-monitor=false",
                    # By default, the nodes of one address would give their workers the same ports.
                    "--min-worker-port=0",
                    "--max-worker-port=0",
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=variables,
                # With --block, Ray ends a node's processes when this one ends, also if pytest is killed.
                preexec_fn=partial(end_with, os.getpid()),
            )
        deadline = time.monotonic() + 90
        while log.read_text().count(_STARTED) == before:
            assert node.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        return node

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + 90
        while True:
            try:
                self.request("/api/jobs/")
            except OSError:
                assert self.head.poll() is None, (self._folder / "nodes.log").read_text()[-3000:]
                assert time.monotonic() < deadline, (self._folder / "nodes.log").read_text()[-3000:]
                time.sleep(0.2)
            else:
                return

    def request(self, path: str) -> Any:
        """Return what the Jobs API answers."""
        asked = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def cluster(workers: int = 0, environment: Mapping[str, str] | None = None, cores: int = 1) -> Iterator[Cluster]:
    """A cluster that is ended with all of its processes."""
    with Cluster(workers, environment, cores) as running:
        yield running
