"""Both example DAGs in all of Airflow: scheduler, executor and triggerer, with tasks that are deferred for real."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import httpx
import pytest

from tests.integration.dags.conftest import World

RUN_WITHIN = 600.0


class Run(NamedTuple):
    """A DAG run."""

    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}"


class Airflow:
    """Airflow's public REST API."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)
        token = self._client.get("/auth/token").raise_for_status().json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def unpause(self, dag_id: str) -> None:
        self._client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False}).raise_for_status()

    def scheduled_run(self, dag_id: str) -> Run:
        """The run that the scheduler makes by itself when the DAG is unpaused."""
        deadline = time.monotonic() + RUN_WITHIN
        while time.monotonic() < deadline:
            runs = self._client.get(f"/api/v2/dags/{dag_id}/dagRuns", params={"run_type": "scheduled"})
            for run in runs.raise_for_status().json()["dag_runs"]:
                return Run(dag_id, run["dag_run_id"])
            time.sleep(0.3)
        raise AssertionError(f"the scheduler made no run of {dag_id}")

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> Run:
        run = self._client.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        return Run(dag_id, run.raise_for_status().json()["dag_run_id"])

    def follow(self, runs: Sequence[Run]) -> dict[Run, tuple[str, dict[str, set[str]]]]:
        """Wait until all runs have ended; return each one's state and every state that its tasks were seen in."""
        seen: dict[Run, dict[str, set[str]]] = {run: {} for run in runs}
        ended: dict[Run, str] = {}
        deadline = time.monotonic() + RUN_WITHIN
        while len(ended) < len(runs):
            assert time.monotonic() < deadline, f"not all runs ended within {RUN_WITHIN:.0f} s; seen: {seen}"
            for run in [run for run in runs if run not in ended]:
                state = self._client.get(run.path).raise_for_status().json()["state"]
                tasks = self._client.get(f"{run.path}/taskInstances").raise_for_status().json()["task_instances"]
                for task in tasks:
                    seen[run].setdefault(task["task_id"], set()).add(str(task["state"]))
                if state in {"success", "failed"}:
                    ended[run] = state
            time.sleep(0.3)
        return {run: (ended[run], seen[run]) for run in runs}

    def xcom(self, run: Run, task_id: str, key: str) -> Any:
        path = f"{run.path}/taskInstances/{task_id}/xcomEntries/{key}"
        return self._client.get(path, params={"deserialize": False}).raise_for_status().json()["value"]


@pytest.fixture(scope="module")
def airflow(world: World) -> Iterator[Airflow]:
    url, process = world.stack.start_standalone()
    yield Airflow(url)
    world.stack.stop(process)


def test_runs_side_by_side_wait_in_the_triggerer_and_end_as_they_should(world: World, airflow: Airflow) -> None:
    """Four runs at once: scheduled and deployed, kept back by the gate, failed by the service, trained by V1."""
    small = {"max_runtime_minutes": 5, "max_candidates": 2}
    for dag_id in ("scheduled_retraining", "manual_automl"):
        airflow.unpause(dag_id)
    broken = airflow.trigger("manual_automl", {**small, "target": "no_such_column"})
    rejected = airflow.trigger("manual_automl", {**small, "min_score": 0.9999, "endpoint_name": "never"})
    through_v1 = airflow.trigger("manual_automl", {**small, "api_version": "V1"})
    deployed = airflow.scheduled_run("scheduled_retraining")

    ends = airflow.follow([deployed, rejected, broken, through_v1])

    sagemaker = world.client("sagemaker")
    for state, seen in ends.values():
        assert "deferred" in seen["train"], (state, seen)
        assert "success" in seen["report"], (state, seen)

    state, seen = ends[broken]
    assert state == "failed", seen
    assert "failed" in seen["train"]
    described = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=_job_name(airflow.xcom(broken, "train", "job")))
    assert "no_such_column" in described["FailureReason"]

    state, seen = ends[deployed]
    assert state == "success", seen
    assert all("success" in seen[task] for task in ("train", "good_enough", "deploy")), seen
    assert "CandidateName" in str(airflow.xcom(deployed, "train", "return_value"))
    assert sagemaker.describe_endpoint(EndpointName="churn")["EndpointStatus"] == "InService"

    state, seen = ends[rejected]
    assert state == "success", seen
    assert "skipped" in seen["deploy"]

    state, seen = ends[through_v1]
    assert state == "success", seen
    assert "skipped" in seen["deploy"]
    name = _job_name(airflow.xcom(through_v1, "train", "job"))
    assert sagemaker.describe_auto_ml_job(AutoMLJobName=name)["AutoMLJobStatus"] == "Completed"


def _job_name(job: Any) -> str:
    return str((json.loads(job) if isinstance(job, str) else job)["name"])
