"""Airflow's public REST API, as the tests of whole DAG runs use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from airflow_automl.demo.stack import Stack
from tests.airflow_rest import Rest, until


class Run(NamedTuple):
    """A DAG run."""

    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"


class Airflow:
    """Airflow's public REST API."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._api = Rest(stack.url)

    def unpause(self, dag_id: str) -> None:
        self._api.ask("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def scheduled_run(self, dag_id: str) -> Run:
        """The run that the scheduler creates when the DAG is unpaused."""
        (run, *_) = until(
            self._stack,
            lambda: self._api.get(f"/dags/{dag_id}/dagRuns", run_type="scheduled")["dag_runs"],
            f"the scheduler makes a run of {dag_id}",
        )
        return Run(dag_id, run["dag_run_id"])

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> Run:
        run = self._api.ask("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf}).json()
        return Run(dag_id, run["dag_run_id"])

    def follow(self, runs: Sequence[Run]) -> dict[Run, tuple[str, dict[str, set[str]]]]:
        """Wait until all runs have ended; return each one's state and every state that its tasks were seen in."""
        seen: dict[Run, dict[str, set[str]]] = {run: {} for run in runs}
        ended: dict[Run, str] = {}

        def all_ended() -> bool:
            for run in [run for run in runs if run not in ended]:
                state = self._api.get(run.path)["state"]
                for task in self._tasks(run):
                    seen[run].setdefault(task["task_id"], set()).add(str(task["state"]))
                if state in {"success", "failed"}:
                    ended[run] = state
            return len(ended) == len(runs)

        until(self._stack, all_ended, lambda: f"all runs have ended; seen: {seen}")
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

        def started() -> Run | None:
            found = self._api.get(f"/dags/{dag_id}/dagRuns", run_type="asset_triggered")
            for each in found["dag_runs"]:
                run = Run(dag_id, each["dag_run_id"])
                if each["start_date"] is None:
                    continue  # Airflow 3.3 answers 500 for the events of a run that is still queued.
                events = self._api.get(f"{run.path}/upstreamAssetEvents")["asset_events"]
                if source is None or source.run_id in {event["source_run_id"] for event in events}:
                    return run
            return None

        run: Run = until(self._stack, started, f"an event of {source} makes a run of {dag_id}")
        return run

    def asset_event(self, name: str, extra: dict[str, Any]) -> None:
        """Create an asset event."""
        assets = self._api.get("/assets", limit=100)["assets"]
        (asset,) = [each for each in assets if each["name"] == name]
        self._api.ask("POST", "/assets/events", json={"asset_id": asset["id"], "extra": extra})

    def question(self, run: Run, task_id: str) -> dict[str, Any]:
        """Wait until a task asks a person; return the question."""
        path = f"{run.path}/taskInstances/{task_id}"

        def asks() -> bool:
            task = self._api.get(path)
            assert task["state"] not in {"failed", "upstream_failed", "skipped"}, task
            return bool(task["state"] == "awaiting_input")

        until(self._stack, asks, f"{task_id} of {run} asks somebody")
        return dict(self._api.get(f"{path}/-1/hitlDetails"))

    def answer(self, run: Run, task_id: str, option: str) -> None:
        """Answer a task's question as in the UI."""
        path = f"{run.path}/taskInstances/{task_id}/-1/hitlDetails"
        self._api.ask("PATCH", path, json={"chosen_options": [option], "params_input": {}})
