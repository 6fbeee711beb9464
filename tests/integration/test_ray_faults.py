"""Jobs on a Ray cluster whose nodes, head and service are killed. The trainer is scripted, everything else is real.

``RAY_FAULT_TURNS=10`` repeats each test ten times in a row, on the same cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.ray_cluster import Cluster, cluster
from tests.service.running import RunningService, ended, request, scripted_service, until

pytestmark = pytest.mark.slow

#: The first attempt waits for its signal, the others don't.
SCRIPT = "phases,candidate-60,firstwait,candidate-70,completed"


@contextlib.contextmanager
def service_on(address: str, folder: Path) -> Iterator[RunningService]:
    file = folder / "executor.toml"
    file.write_text('[executor]\ncores = 1\nmemory = "200M"\n')
    with scripted_service(folder / "data", max_jobs=20, ray=address, executor_file=str(file)) as service:
        yield service


def log(service: RunningService, name: str) -> str:
    path = service.data_dir / "jobs" / name / "trainer.log"
    return path.read_text() if path.exists() else ""


def running(service: RunningService, names: list[str]) -> list[str]:
    return [name for name in names if " runs " in log(service, name)]


def let_go(service: RunningService, *names: str) -> None:
    for name in names:
        folder = service.data_dir / "jobs" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "go").touch()


def health(service: RunningService) -> Any:
    with urlopen(f"{service.url}/health", timeout=10) as answer:
        return json.load(answer)["tasks"]


@pytest.fixture(scope="module")
def ray() -> Iterator[Cluster]:
    with cluster(workers=2) as running:
        yield running


@pytest.fixture(autouse=True, params=range(int(os.environ.get("RAY_FAULT_TURNS", "1"))), ids=lambda turn: f"turn{turn}")
def turn(request: pytest.FixtureRequest) -> int:
    """The number of the repetition."""
    number: int = request.param
    return number


def test_a_service_that_is_killed_at_any_moment_starts_nothing_twice(ray: Cluster, tmp_path: Path) -> None:
    names = [f"job-{number}" for number in range(4)]
    with service_on(ray.address, tmp_path) as service:
        let_go(service, *names)
        for name, delay in zip(names, (0.0, 0.4, 1.0, 3.0), strict=True):
            service.client().create_auto_ml_job_v2(**request(name, SCRIPT))
            time.sleep(delay)
            service.kill()
            service.start()
        for name in names:
            assert ended(service.client(), name, 240)["AutoMLJobStatus"] == "Completed"
            text = log(service, name)
            assert text.count(" runs ") == 1, text


class Proxy:
    """Passes connections on to an address of this machine, until it is cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self.cut:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._port))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def test_nothing_fails_while_ray_is_unreachable_and_health_reports_it(ray: Cluster, tmp_path: Path) -> None:
    proxy = Proxy(int(ray.address.rpartition(":")[2]))
    with service_on(proxy.address, tmp_path) as service:
        sagemaker = service.client()
        sagemaker.create_auto_ml_job_v2(**request("before", SCRIPT))
        until(lambda: running(service, ["before"]), 120)
        proxy.cut = True
        sagemaker.create_auto_ml_job_v2(**request("during", "phases,candidate-70,completed"))
        state = until(lambda: (now := health(service)["ray"])["state"] == "failing" and now, 60)
        assert "can't be reached" in state["reason"]
        let_go(service, "before")
        # The node and the service still meet in the store.
        assert ended(sagemaker, "before")["AutoMLJobStatus"] == "Completed"
        job = sagemaker.describe_auto_ml_job_v2(AutoMLJobName="during")
        assert (job["AutoMLJobStatus"], job["AutoMLJobSecondaryStatus"]) == ("InProgress", "Starting")
        proxy.cut = False
        assert ended(sagemaker, "during", 120)["AutoMLJobStatus"] == "Completed"
        until(lambda: health(service)["ray"]["state"] == "running", 30)


def test_ten_jobs_end_right_although_a_node_dies(ray: Cluster, tmp_path: Path) -> None:
    names = [f"job-{number}" for number in range(10)]
    with service_on(ray.address, tmp_path) as service:
        sagemaker = service.client()
        for name in names:
            sagemaker.create_auto_ml_job_v2(**request(name, SCRIPT))
        until(lambda: len(running(service, names)) == 2, 120)
        first = running(service, names)
        ray.kill(ray.workers.pop())
        killed = time.monotonic()
        until(lambda: "starting over job" in service.log.read_text(), 120)
        print(f"noticed {time.monotonic() - killed:.1f} s after the node died")
        let_go(service, *names)
        again = until(lambda: [name for name in first if "attempt 2 runs" in log(service, name)] or None, 120)
        ray.workers.append(ray.worker())
        # It runs after the others, because only one node is left.
        print(f"started over {time.monotonic() - killed:.1f} s after the node died")
        for name in names:
            job = ended(sagemaker, name, 240)
            assert job["AutoMLJobStatus"] == "Completed", job
            assert job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"] == 0.7
            assert log(service, name).count(" runs ") == 1 + (name in again)


def test_jobs_survive_the_head(ray: Cluster, tmp_path: Path) -> None:
    with service_on(ray.address, tmp_path) as service:
        sagemaker = service.client()
        for name in ("runs", "waits"):
            sagemaker.create_auto_ml_job_v2(**request(name, SCRIPT))
        until(lambda: running(service, ["runs"]), 120)
        for node in (ray.head, *ray.workers):
            ray.kill(node)
        until(lambda: health(service)["ray"]["state"] == "failing", 30)
        let_go(service, "waits")
        ray.start()
        for name in ("runs", "waits"):
            job = ended(sagemaker, name, 240)
            assert job["AutoMLJobStatus"] == "Completed", job
        assert "attempt 2 runs" in log(service, "runs")
        until(lambda: health(service)["ray"]["state"] == "running", 30)
