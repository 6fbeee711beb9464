"""Airflow's public REST API, as the tests of whole DAG runs use it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.airflow_rest import Rest

RUN_WITHIN = 1500.0


class Run(NamedTuple):
    """A DAG run."""

    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"


class Airflow:
    """Airflow's public REST API."""

    def __init__(self, url: str) -> None:
        self._api = Rest(url)

    def unpause(self, dag_id: str) -> None:
        self._api.ask("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def scheduled_run(self, dag_id: str) -> Run:
        """The run that the scheduler creates when the DAG is unpaused."""
        deadline = time.monotonic() + RUN_WITHIN
        while time.monotonic() < deadline:
            runs = self._api.get(f"/dags/{dag_id}/dagRuns", run_type="scheduled")
            for run in runs["dag_runs"]:
                return Run(dag_id, run["dag_run_id"])
            time.sleep(0.3)
        raise AssertionError(f"the scheduler made no run of {dag_id}")

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> Run:
        run = self._api.ask("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf}).json()
        return Run(dag_id, run["dag_run_id"])

    def follow(self, runs: Sequence[Run]) -> dict[Run, tuple[str, dict[str, set[str]]]]:
        """Wait until all runs have ended; return each one's state and every state that its tasks were seen in."""
        seen: dict[Run, dict[str, set[str]]] = {run: {} for run in runs}
        ended: dict[Run, str] = {}
        deadline = time.monotonic() + RUN_WITHIN
        while len(ended) < len(runs):
            assert time.monotonic() < deadline, f"not all runs ended within {RUN_WITHIN:.0f} s; seen: {seen}"
            for run in [run for run in runs if run not in ended]:
                state = self._api.get(run.path)["state"]
                for task in self._tasks(run):
                    seen[run].setdefault(task["task_id"], set()).add(str(task["state"]))
                if state in {"success", "failed"}:
                    ended[run] = state
            time.sleep(0.3)
        return {run: (ended[run], seen[run]) for run in runs}

    def succeeded(self, runs: Sequence[Run]) -> dict[Run, dict[str, set[str]]]:
        """Wait until all runs have succeeded; return every state that each one's tasks were seen in."""
        ends = self.follow(runs)
        failed = [run for run, (state, _) in ends.items() if state != "success"]
        assert not failed, "\n\n".join(map(self.failures, failed))
        return {run: seen for run, (_, seen) in ends.items()}

    def failures(self, run: Run) -> str:
        """The last log lines of each failed task of a run, with its exception."""
        return "\n\n".join(
            f"{run}: {task['task_id']}[{task['map_index']}] failed in try {task['try_number']}:\n"
            + "\n".join(map(str, self._lines(run, task["task_id"], task["try_number"], task["map_index"])[-30:]))
            for task in self._tasks(run)
            if task["state"] == "failed"
        )

    def xcom(self, run: Run, task_id: str, key: str) -> Any:
        path = f"{run.path}/taskInstances/{task_id}/xcomEntries/{key}"
        return self._api.get(path, deserialize=False)["value"]

    def log(self, run: Run, task_id: str) -> str:
        """What a task logged in its first try."""
        lines = self._lines(run, task_id, 1, -1)
        return "\n".join(str(line["event"] if isinstance(line, dict) else line) for line in lines)

    def _tasks(self, run: Run) -> list[dict[str, Any]]:
        return list(self._api.get(f"{run.path}/taskInstances")["task_instances"])

    def _lines(self, run: Run, task_id: str, try_number: int, map_index: int) -> list[Any]:
        path = f"{run.path}/taskInstances/{task_id}/logs/{try_number}"
        return list(self._api.get(path, full_content=True, map_index=map_index)["content"])

    def asset_run(self, dag_id: str, source: Run | None = None) -> Run:
        """The run that an asset event has made, once there is one.

        :param source: the run that updated the asset; ``None`` if no other run could have.
        """
        deadline = time.monotonic() + RUN_WITHIN
        while time.monotonic() < deadline:
            found = self._api.get(f"/dags/{dag_id}/dagRuns", run_type="asset_triggered")
            for each in found["dag_runs"]:
                run = Run(dag_id, each["dag_run_id"])
                if each["start_date"] is None:
                    continue  # Airflow 3.3 answers 500 for the events of a run that is still queued.
                events = self._api.get(f"{run.path}/upstreamAssetEvents")["asset_events"]
                if source is None or source.run_id in {event["source_run_id"] for event in events}:
                    return run
            time.sleep(0.3)
        raise AssertionError(f"there is no run of {dag_id} that an event of {source} made")

    def asset_event(self, name: str, extra: dict[str, Any]) -> None:
        """Create an asset event."""
        assets = self._api.get("/assets", limit=100)["assets"]
        (asset,) = [each for each in assets if each["name"] == name]
        self._api.ask("POST", "/assets/events", json={"asset_id": asset["id"], "extra": extra})

    def question(self, run: Run, task_id: str) -> dict[str, Any]:
        """Wait until a task asks a person; return the question."""
        deadline = time.monotonic() + RUN_WITHIN
        path = f"{run.path}/taskInstances/{task_id}/-1/hitlDetails"
        while time.monotonic() < deadline:
            task = self._api.get(f"{run.path}/taskInstances/{task_id}")
            assert task["state"] not in {"failed", "upstream_failed", "skipped"}, task
            if task["state"] == "awaiting_input":
                return dict(self._api.get(path))
            time.sleep(0.3)
        raise AssertionError(f"{task_id} of {run} asked nobody")

    def answer(self, run: Run, task_id: str, option: str) -> None:
        """Answer a task's question as in the UI."""
        path = f"{run.path}/taskInstances/{task_id}/-1/hitlDetails"
        self._api.ask("PATCH", path, json={"chosen_options": [option], "params_input": {}})
