"""Both example DAGs in all of Airflow: scheduler, executor and triggerer, with tasks that are deferred for real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.dags.conftest import World

RUN_WITHIN = 400.0


class Airflow:
    """Airflow's public REST API."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)
        token = self._client.get("/auth/token").raise_for_status().json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        self._client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False}).raise_for_status()
        run = self._client.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        return str(run.raise_for_status().json()["dag_run_id"])

    def follow(self, dag_id: str, run_id: str) -> tuple[str, dict[str, set[str]]]:
        """Wait for the end of a run; return its state and every state that each task was seen in."""
        seen: dict[str, set[str]] = {}
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"
        deadline = time.monotonic() + RUN_WITHIN
        while time.monotonic() < deadline:
            for task in self._client.get(f"{path}/taskInstances").raise_for_status().json()["task_instances"]:
                seen.setdefault(task["task_id"], set()).add(str(task["state"]))
            state = self._client.get(path).raise_for_status().json()["state"]
            if state in {"success", "failed"}:
                return state, seen
            time.sleep(0.3)
        raise AssertionError(f"{dag_id} did not end within {RUN_WITHIN:.0f} s; seen: {seen}")

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str) -> Any:
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self._client.get(path, params={"deserialize": False}).raise_for_status().json()["value"]


@pytest.fixture(scope="module")
def airflow(world: World) -> Iterator[Airflow]:
    url, process = world.stack.start_standalone()
    yield Airflow(url)
    world.stack.stop(process)


def test_scheduled_retraining_waits_in_the_triggerer_and_deploys(airflow: Airflow) -> None:
    run_id = airflow.trigger("scheduled_retraining", {"max_runtime": 40, "min_auc": 0.6})

    state, seen = airflow.follow("scheduled_retraining", run_id)

    assert state == "success", seen
    assert "deferred" in seen["train"]
    assert all("success" in seen[task] for task in ("train", "good_enough", "deploy", "report"))
    best = airflow.xcom("scheduled_retraining", run_id, "train", "return_value")
    assert "CandidateName" in str(best)


def test_the_manual_form_fails_with_the_services_reason(airflow: Airflow) -> None:
    run_id = airflow.trigger("manual_automl", {"target": "no_such_column", "max_runtime_minutes": 1})

    state, seen = airflow.follow("manual_automl", run_id)

    assert state == "failed", seen
    assert "deferred" in seen["train"]
    assert "Failed" in str(airflow.xcom("manual_automl", run_id, "train", "job"))
    assert "success" in seen["report"]
