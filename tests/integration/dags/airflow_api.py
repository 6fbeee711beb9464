"""Airflow's public REST API, as the tests of whole DAG runs use it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx

RUN_WITHIN = 1500.0


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
        self._client = httpx.Client(base_url=url, timeout=120)
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

    def log(self, run: Run, task_id: str) -> str:
        """What a task logged in its first try."""
        path = f"{run.path}/taskInstances/{task_id}/logs/1"
        lines = self._client.get(path, params={"full_content": True}).raise_for_status().json()["content"]
        return "\n".join(str(line["event"] if isinstance(line, dict) else line) for line in lines)

    def asset_run(self, dag_id: str, source: Run | None = None) -> Run:
        """The run that an asset event has made, once there is one.

        :param source: the run that updated the asset; ``None`` if nobody else could have.
        """
        deadline = time.monotonic() + RUN_WITHIN
        while time.monotonic() < deadline:
            found = self._client.get(f"/api/v2/dags/{dag_id}/dagRuns", params={"run_type": "asset_triggered"})
            for each in found.raise_for_status().json()["dag_runs"]:
                run = Run(dag_id, each["dag_run_id"])
                if each["start_date"] is None:
                    continue  # Airflow 3.3 answers 500 for the events of a run that is still queued.
                events = self._client.get(f"{run.path}/upstreamAssetEvents").raise_for_status().json()["asset_events"]
                if source is None or source.run_id in {event["source_run_id"] for event in events}:
                    return run
            time.sleep(0.3)
        raise AssertionError(f"there is no run of {dag_id} that an event of {source} made")

    def asset_event(self, name: str, extra: dict[str, Any]) -> None:
        """Say that somebody has updated an asset."""
        assets = self._client.get("/api/v2/assets", params={"limit": 100}).raise_for_status().json()["assets"]
        (asset,) = [each for each in assets if each["name"] == name]
        self._client.post("/api/v2/assets/events", json={"asset_id": asset["id"], "extra": extra}).raise_for_status()

    def question(self, run: Run, task_id: str) -> dict[str, Any]:
        """What a task asks a person, once it asks."""
        deadline = time.monotonic() + RUN_WITHIN
        path = f"{run.path}/taskInstances/{task_id}/-1/hitlDetails"
        while time.monotonic() < deadline:
            task = self._client.get(f"{run.path}/taskInstances/{task_id}").raise_for_status().json()
            assert task["state"] not in {"failed", "upstream_failed", "skipped"}, task
            if task["state"] == "awaiting_input":
                return dict(self._client.get(path).raise_for_status().json())
            time.sleep(0.3)
        raise AssertionError(f"{task_id} of {run} asked nobody")

    def answer(self, run: Run, task_id: str, option: str) -> None:
        """Answer as a person would in the UI."""
        path = f"{run.path}/taskInstances/{task_id}/-1/hitlDetails"
        self._client.patch(path, json={"chosen_options": [option], "params_input": {}}).raise_for_status()
