"""The check of a Ray cluster reports each problem, and what to do."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_automl.local.jobs.executors import ray_check
from airflow_automl.local.jobs.executors.ray_check import Finding, examine
from airflow_automl.local.jobs.specification import Share, TrainerSettings
from tests.jobs_api import JobsApi

SETTINGS = TrainerSettings("1", "us-east-1", Share(2, 8 << 30), {"TextGenerationJobConfig": Share(4, 32 << 30, 1)})
STORE = {"AWS_ENDPOINT_URL_S3": "http://minio:9000"}


class Cluster(JobsApi):
    """A cluster whose jobs end at once; their output describes its nodes."""

    def __init__(self) -> None:
        super().__init__(lambda body: self.jobs[body["submission_id"]].update(status=self.ends))
        self.ends = "SUCCEEDED"

    def has(self, *nodes: dict[str, Any]) -> None:
        self.output = f"some log line\n{json.dumps(nodes)}\n"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    found.has(node())
    yield found
    found.close()


def node(**more: Any) -> dict[str, Any]:
    resources = {"CPU": 4.0, "memory": float(64 << 30), "GPU": 1.0}
    return {"address": "10.0.0.5", "resources": resources, "versions": dict(ray_check._versions()), "store": "", **more}


def wrong(cluster: Cluster, environment: dict[str, str] | None = STORE) -> list[Finding]:
    return [found for found in examine(cluster.address, SETTINGS, environment) if found.advice]


def test_a_cluster_that_fits_has_no_problem_and_keeps_no_job(cluster: Cluster) -> None:
    assert wrong(cluster) == []
    assert cluster.submitted[0]["runtime_env"] == {"env_vars": STORE}
    assert cluster.jobs == {}


def test_an_address_where_nothing_answers_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    (found,) = examine(address, SETTINGS, STORE)
    assert f"Ray at {address} can't be reached" in found.message
    assert "--ray-address" in found.advice


def test_a_server_that_is_not_ray_is_named(cluster: Cluster) -> None:
    cluster.version = {"name": "something else"}
    (found,) = wrong(cluster)
    assert "is not the dashboard of a Ray cluster" in found.message


def test_a_port_that_does_not_speak_http_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            client.recv(1000)
            client.sendall(b"\x00\x00\x12\x04\x00 as gRPC does\r\n")
            client.close()

        thread = threading.Thread(target=answer)
        thread.start()
        (found,) = examine(f"http://127.0.0.1:{server.getsockname()[1]}", SETTINGS, STORE)
        thread.join()
    assert "can't be reached" in found.message
    assert "it names the dashboard" in found.advice


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_named(cluster: Cluster, status: int) -> None:
    cluster.denies = status
    (found,) = wrong(cluster)
    assert f"(HTTP {status})" in found.message
    assert "RAY_AUTH_TOKEN" in found.advice


def test_an_old_ray_is_a_problem(cluster: Cluster) -> None:
    cluster.version["ray_version"] = "2.9.3"
    assert [found.advice for found in wrong(cluster)] == ["install Ray 2.60 or newer"]


def test_jobs_that_no_node_has_room_for_are_named_by_problem_type(cluster: Cluster) -> None:
    cluster.has(node(resources={"CPU": 8.0, "memory": float(64 << 30)}), node(resources={"memory": 1.0, "GPU": 1.0}))
    (found,) = wrong(cluster)
    assert "TextGenerationJobConfig needs 4 cores, 32.0 GiB, 1 GPUs; 0 of 2 nodes" in found.message
    assert "8 cores, 64.0 GiB, 1 GPUs" in found.advice


def test_other_versions_on_a_node_are_named(cluster: Cluster) -> None:
    versions = {**ray_check._versions(), "Python": "3.9"}
    del versions["numpy"]
    cluster.has(node(), node(address="10.0.0.6", versions=versions))
    (found,) = wrong(cluster)
    assert found.message.startswith("10.0.0.6 has Python 3.9 (service: 3.")
    assert "numpy missing (service: " in found.message


def test_a_store_that_a_node_does_not_reach_is_named(cluster: Cluster) -> None:
    cluster.has(node(store="EndpointConnectionError: Could not connect"))
    (found,) = wrong(cluster)
    assert "10.0.0.5 can't use the S3 store: EndpointConnectionError" in found.message
    assert "--s3-endpoint" in found.advice


def test_a_store_that_does_not_run_is_not_passed_over(cluster: Cluster) -> None:
    (found,) = wrong(cluster, None)
    assert "does not run" in found.message


def test_nodes_without_the_package_are_named(cluster: Cluster) -> None:
    cluster.has({"address": "10.0.0.6", "resources": node()["resources"], "error": "No module named 'airflow_automl'"})
    (found,) = wrong(cluster)
    assert "10.0.0.6 can't run a trainer: No module named 'airflow_automl'" in found.message
    cluster.ends, cluster.output = "FAILED", "/usr/bin/python: No module named airflow_automl\n"
    (found,) = wrong(cluster)
    assert "No module named airflow_automl" in found.message
    assert "install airflow-automl[ray]" in found.advice


def test_a_job_that_never_begins_is_stopped_and_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_check, "_TIMEOUT", 0)
    cluster.ends = "PENDING"
    (found,) = wrong(cluster)
    assert "did not end within 0 s: waiting" in found.message
    assert len(cluster.stops) == 1


def test_a_refusal_of_ray_is_shown(cluster: Cluster) -> None:
    cluster.refuses = 400
    (found,) = wrong(cluster)
    assert "memory is not valid" in found.message


def test_a_node_says_why_it_cannot_use_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "not an address")
    found = ray_check._look()
    assert "Invalid endpoint" in found["store"]
    command = [sys.executable, "-c", "import json; print('x'); print(json.dumps({'store': ''}))"]
    assert ray_check._run(command) == {"store": ""}
    assert "nothing_here" in ray_check._run([sys.executable, "-m", "nothing_here"])["error"]
