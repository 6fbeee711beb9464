"""Trainers as Ray jobs: submitted once, reports applied once, always ended. Ray is scripted, nodes are real."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_automl.local.errors import StartupError
from airflow_automl.local.jobs.executors import node, ray
from airflow_automl.local.jobs.executors.node import BEAT, SPECIFICATION, Exchange, Node
from airflow_automl.local.jobs.executors.ray import RayExecutor
from airflow_automl.local.jobs.specification import Share, read_shares
from airflow_automl.local.state.folder import DataFolder
from tests.jobs_api import JobsApi
from tests.local_s3 import BUCKET, Bucket

TRAINER = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[-1])
print("first line", flush=True)
with (folder / "events.jsonl").open("a") as file:
    for number in range(3):
        print('{"event": "phase", "attempt": 1, "number": %d}' % number, file=file, flush=True)
while "wait" in sys.argv:
    time.sleep(0.01)
print("last line", flush=True)
"""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((node, "_INTERVAL"), (node, "_BEAT_INTERVAL"), (ray, "_INTERVAL"), (ray, "_PATIENCE")):
        monkeypatch.setattr(module, name, 0.01)


class Cluster:
    """A Jobs API whose nodes are threads of this process."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self.bucket, self.folder = bucket, folder
        self.api = JobsApi()
        self.nodes: list[threading.Thread] = []
        self.stop: list[Callable[[], None]] = []

    def run(self) -> Node:
        """Begin what was submitted last."""
        body = self.api.submitted[-1]
        found = Node(Exchange(self.bucket.client, body["entrypoint"].split()[-1]), self.folder / "node")
        self.nodes.append(threading.Thread(target=found.run))
        self.stop.append(found.stop)
        self.nodes[-1].start()
        return found

    def executor(self, *arguments: str) -> RayExecutor:
        command = (sys.executable, "-c", TRAINER, *arguments)
        environment = {"AWS_ACCESS_KEY_ID": "key"}
        return RayExecutor(
            DataFolder(self.folder), self.api.address, lambda: self.bucket.client, lambda: environment, command
        )


@pytest.fixture
def cluster(bucket: Bucket, tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(bucket, tmp_path)
    yield found
    found.api.close()
    for stop, thread in zip(found.stop, found.nodes, strict=True):
        stop()
        thread.join()


def specification(name: str = "churn", attempt: int = 1, bucket: str = BUCKET) -> dict[str, Any]:
    return {
        "name": name,
        "attempt": attempt,
        "arn": f"arn:{name}",
        "created": time.time(),
        "output": f"s3://{bucket}/out/{name}/",
        "threads": 2,
        "memory_limit_bytes": 4 << 30,
        "gpus": 0,
        "trials": 1,
    }


def until(condition: Callable[[], Any], *turns: Callable[[], None]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        for turn in turns:
            turn()
    return found


def all_events(executor: RayExecutor, handle: dict[str, Any], position: int = 0) -> list[int]:
    found: list[int] = []
    while True:
        events, after = executor.events(handle, position)
        if after == position:
            return found
        found += [event["number"] for event in events]
        position = after


def test_events_and_log_of_a_trainer_arrive_once_and_nothing_remains(cluster: Cluster, bucket: Bucket) -> None:
    executor = cluster.executor()
    handle = executor.start(given := specification())
    assert json.loads(json.dumps(handle)) == handle
    executor.ask()
    state = executor.state(handle)
    assert (state.running, state.seconds) == (True, 0.0)
    body = cluster.api.submitted[-1]
    assert (body["entrypoint_num_cpus"], body["entrypoint_memory"]) == (2, 4 << 30)
    assert "entrypoint_num_gpus" not in body
    assert body["runtime_env"] == {"env_vars": {"AWS_ACCESS_KEY_ID": "key"}}
    cluster.run()
    until(lambda: not executor.state(handle).running, executor.exchange)
    assert executor.state(handle).ended == "ended with exit code 0"
    assert all_events(executor, handle) == [0, 1, 2]
    assert executor.stop(handle)
    assert executor.last_words(handle) == "last line"
    log = (cluster.folder / "jobs" / "churn" / "trainer.log").read_text()
    assert log.count("first line") == log.count("--- attempt 1") == 1
    executor.forget(handle)
    executor.exchange()
    assert not bucket.keys("out/churn/")
    assert executor.find(given)


def test_the_next_service_finds_what_a_killed_one_submitted(cluster: Cluster) -> None:
    given = specification()
    killed = cluster.executor("wait")
    killed.start(given)
    killed.ask()
    found = cluster.run()
    written = cluster.folder / "node" / "jobs" / "churn" / "events.jsonl"
    until(lambda: written.exists() and written.read_text().count("\n") == 3, killed.exchange)
    executor = cluster.executor("wait")
    handle = executor.find(given)
    assert handle is not None
    assert executor.state(handle).running
    found.stop()
    events: list[int] = []
    until(lambda: not executor.state(handle).running, executor.exchange, lambda: executor.events(handle, 0) and None)
    events = all_events(executor, handle)
    assert events == [0, 1, 2]
    executor.ask()
    assert len(cluster.api.submitted) == 1
    assert (cluster.folder / "jobs" / "churn" / "trainer.log").read_text().count("first line") == 1


def test_a_trainer_that_ray_never_received_starts_over(cluster: Cluster) -> None:
    executor = cluster.executor()
    handle = executor.find(specification())
    assert handle is not None
    executor.events(handle, 0)
    until(lambda: not executor.state(handle).running, executor.ask, executor.exchange)
    state = executor.state(handle)
    assert (state.lost, state.seconds) == (True, 0.0)
    until(lambda: executor.stop(handle), executor.exchange)


def test_a_trainer_has_ended_before_it_is_reported_as_stopped(cluster: Cluster) -> None:
    executor = cluster.executor("wait")
    handle = executor.start(specification())
    executor.ask()
    cluster.run()
    until(lambda: executor.usage(handle) > 0, executor.exchange)
    assert executor.state(handle).running
    until(lambda: executor.stop(handle), executor.exchange)
    assert executor.state(handle).ended == "was stopped"
    cluster.nodes[-1].join(0.5)
    assert not cluster.nodes[-1].is_alive()


def test_a_trainer_that_is_stopped_in_the_queue_never_begins(cluster: Cluster) -> None:
    executor = cluster.executor()
    handle = executor.start(specification())
    executor.ask()
    assert not executor.stop(handle)
    until(lambda: executor.stop(handle), executor.exchange, executor.ask)
    assert cluster.api.stops == [handle["id"]] or cluster.api.stops == []
    cluster.run()
    cluster.nodes[-1].join()
    assert not (cluster.folder / "node" / "jobs").exists()


def test_nothing_fails_while_ray_is_unreachable(cluster: Cluster) -> None:
    executor = cluster.executor()
    cluster.api.silent = True
    handle = executor.start(specification())
    for _ in range(2):
        with pytest.raises(ConnectionError, match=f"Ray at {cluster.api.address} can't be reached"):
            executor.ask()
        executor.exchange()
    assert executor.state(handle).running
    cluster.api.silent = False
    executor.ask()
    assert len(cluster.api.submitted) == 1


def test_a_submission_whose_answer_is_lost_is_not_repeated(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = cluster.executor()
    executor.ask()
    monkeypatch.setattr(ray, "_PATIENCE", 60)
    executor.start(specification())
    cluster.api.silent = True
    with pytest.raises(ConnectionError):
        executor.ask()
    assert len(cluster.api.submitted) == 1
    cluster.api.silent = False
    executor.ask()
    executor.ask()
    assert len(cluster.api.submitted) == 1


def test_a_trainer_on_a_dead_node_is_lost_and_one_that_fails_is_not(
    cluster: Cluster, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "_STALE", 0.05)
    executor = cluster.executor()
    lost: dict[str, bool] = {}
    for error in ("JOB_SUPERVISOR_ACTOR_DIED", "JOB_ENTRYPOINT_COMMAND_ERROR", "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"):
        handle = executor.start(specification(error[-9:].lower().replace("_", "-")))
        executor.ask()
        beat = {"reports": 0, "seconds": 5.0, "usage": 1, "ended": None}
        Exchange(bucket.client, f"{handle['uri']}1/").write(BEAT, beat)
        executor.exchange()
        assert executor.state(handle).running
        cluster.api.jobs[handle["id"]] = {"status": "FAILED", "message": "why", "error_type": error}
        until(lambda found=handle: not executor.state(found).running, executor.ask)  # type: ignore[misc]
        state = executor.state(handle)
        assert state.ended == "ended on Ray (FAILED why)"
        assert state.seconds >= 5
        lost[error] = state.lost
        until(lambda found=handle: executor.stop(found), executor.exchange)  # type: ignore[misc]
    assert list(lost.values()) == [True, False, False]


def test_a_trainer_that_lives_on_while_ray_forgot_it_runs(cluster: Cluster) -> None:
    executor = cluster.executor("wait")
    handle = executor.start(specification())
    executor.ask()
    found = cluster.run()
    until(lambda: executor.usage(handle) > 0, executor.exchange)
    cluster.api.jobs.clear()
    for _ in range(5):
        executor.ask()
        executor.exchange()
    assert executor.state(handle).running
    found.stop()


def test_a_refusal_of_ray_or_the_store_fails_the_job_with_its_message(cluster: Cluster) -> None:
    executor = cluster.executor()
    cluster.api.refuses = 400
    handle = executor.start(specification())
    executor.ask()
    executor.exchange()
    assert (executor.state(handle).running, executor.state(handle).lost) == (False, False)
    assert "memory is not valid" in executor.state(handle).ended
    assert executor.stop(handle)
    handle = executor.start(specification("other", bucket="nowhere"))
    executor.ask()
    assert "NoSuchBucket" in executor.state(handle).ended
    executor.forget(handle)
    executor.exchange()


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_ray_refuses_fails_no_job_and_is_named(cluster: Cluster, status: int) -> None:
    executor = cluster.executor()
    cluster.api.denies = status
    handle = executor.start(specification())
    with pytest.raises(PermissionError, match=f"refuses the token in RAY_AUTH_TOKEN .*HTTP {status}"):
        executor.ask()
    assert executor.state(handle).running
    cluster.api.denies = 0
    executor.ask()
    assert [body["submission_id"] for body in cluster.api.submitted] == [handle["id"]]


def test_the_next_attempt_removes_what_is_left_of_the_last_one(cluster: Cluster, bucket: Bucket) -> None:
    executor = cluster.executor()
    given = specification()
    executor.start(given)
    executor.ask()
    second = executor.start({**given, "attempt": 2})
    executor.ask()
    assert [body["metadata"]["attempt"] for body in cluster.api.submitted] == ["1", "2"]
    assert bucket.keys("out/churn/") == [f"{second['uri']}2/{SPECIFICATION}".removeprefix(f"s3://{BUCKET}/")]


def test_shares_are_read_by_problem_type(tmp_path: Path) -> None:
    path = tmp_path / "executor.toml"
    path.write_text('[executor]\ncores = 4\nmemory = "16G"\n[executor.TextGenerationJobConfig]\ngpus = 1\n')
    share, shares = read_shares(path, Share(2, 8 << 30))
    assert share == Share(4, 16 << 30)
    assert shares == {"TextGenerationJobConfig": Share(4, 16 << 30, 1)}


@pytest.mark.parametrize(
    "text", ["", "[executor", "[executor]\ncores = 0", "[executor]\nmemory = 4", "[executor]\ncpus = 1"]
)
def test_a_file_that_says_nothing_valid_of_shares_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "executor.toml"
    path.write_text(text)
    with pytest.raises(StartupError, match=r"executor\.toml is not valid for --executor-file"):
        read_shares(path, Share(2, 8 << 30))
