"""All of Airflow, each component a process that a test may kill: scheduler, DAG processor, triggerer, API server."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from airflow_automl.demo.stack import DATABASE, Stack
from tests.airflow_rest import Rest, until

DAGS = Path(__file__).with_name("dags")
ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 600.0

#: Tasks are forked from the scheduler: they do not repeat the imports of the scheduler.
PRELOAD = "import airflow_automl.hooks.sagemaker_automl, airflow_automl.operators, boto3  # noqa: F401\n"

#: Timeouts after which Airflow notices a dead component; the defaults are minutes.
IMPATIENT = {
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
}
SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "200",
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
    "AIRFLOW__API__WORKERS": "1",
    "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "2000",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    # The scheduler dies of a run that is deleted between its look at the run and its decision, if the database has no
    # row locks, as SQLite has none: one run a look makes that a matter of milliseconds.
    "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE": "True",
}

Run = tuple[str, str]


class FullAirflow:
    """Airflow in components of its own, and its REST API.

    :param folder: where its home and its logs are.
    :param connections: connection id → its JSON.
    :param database: SQLAlchemy URL; by default an SQLite file in the folder.
    :param migrated: a migrated SQLite database to begin with, which saves its making.
    :param overrides: further settings, as environment variables.
    :param python: the interpreter of the environment that has Airflow; by default this one.
    :param dags: the folder of the DAGs.
    """

    def __init__(
        self,
        folder: Path,
        connections: Mapping[str, str],
        database: str | None = None,
        migrated: Path | None = None,
        overrides: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
        dags: Path = DAGS,
    ) -> None:
        self.folder = folder
        self.stack = Stack(folder, python)
        home = folder / "airflow"
        (home / "config").mkdir(parents=True, exist_ok=True)
        (home / "config" / "airflow_local_settings.py").write_text(PRELOAD)
        if migrated is not None:
            shutil.copy(migrated, home / "airflow.db")
        self.stack.use_airflow(
            dags,
            {
                **SETTINGS,
                **({DATABASE: database} if database else {}),
                # A LocalExecutor does not replace a worker whose task Airflow ended from outside.
                "AIRFLOW__CORE__PARALLELISM": "20",
                "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                **{f"AIRFLOW_CONN_{name.upper()}": connection for name, connection in connections.items()},
                **(overrides or {}),
            },
        )
        for name in [name for name in self.stack.environment if name.startswith("AWS_")]:
            del self.stack.environment[name]

    def begin(self) -> None:
        """Start all of it, and wait until it serves."""
        self.stack.run_airflow("db-migrate", "db", "migrate")
        self.stack.start_airflow()
        self.api = Rest(self.stack.url)
        assert not self.api.get("/importErrors")["total_entries"], self.api.get("/importErrors")

    # Components

    def start(self, name: str) -> None:
        """Start a component, also again."""
        with contextlib.suppress(FileNotFoundError):
            shutil.move(self.log_of(name), self.folder / f"{name}-{time.time_ns()}.log")
        self.stack.start_component(name)

    def log_of(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def tasks(self) -> dict[str, psutil.Process]:
        """The processes that run a task's code, by the task instance's id; the parent of each is its supervisor."""
        found = {}
        for process in psutil.Process(self.stack.running["scheduler"].popen.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                title = " ".join(process.cmdline())
                if title.startswith("airflow worker -- ") and "LocalExecutor" not in title:
                    found[title.split()[3]] = process
        return found

    def process_of(self, run: Run, task_id: str = "train") -> psutil.Process:
        """The process that runs a task's code."""
        identity = self.api.get(f"{_path(run)}/taskInstances/{task_id}")["id"]
        return self.tasks()[identity]

    # What a user does

    def trigger(self, dag_id: str, run_id: str, **conf: Any) -> Run:
        """Run a DAG; the run's id is made unique, so that a test can be run again."""
        return self.trigger_again((dag_id, f"{run_id}-{secrets.token_hex(3)}"), **conf)

    def trigger_again(self, run: Run, **conf: Any) -> Run:
        """Run a DAG under exactly this id, such as that of a run that was deleted."""
        dag_id, run_id = run
        body = {"logical_date": None, "dag_run_id": run_id, "conf": conf}
        self.api.ask("POST", f"/dags/{dag_id}/dagRuns", json=body)
        return dag_id, run_id

    def mark_task(self, run: Run, state: str, task_id: str = "train") -> None:
        """Mark a task failed or success."""
        self.api.ask("PATCH", f"{_path(run)}/taskInstances/{task_id}", json={"new_state": state})

    def mark_run(self, run: Run, state: str) -> None:
        """Mark a DAG run failed or success."""
        self.api.ask("PATCH", _path(run), json={"state": state})

    def delete_run(self, run: Run) -> None:
        """Delete a DAG run."""
        self.api.ask("DELETE", _path(run))

    def clear(self, run: Run, task_id: str = "train") -> None:
        """Clear a task."""
        dag_id, run_id = run
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "only_failed": False}
        self.api.ask("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    # What a user sees

    def run_state(self, run: Run) -> str:
        return str(self.api.get(_path(run))["state"])

    def states(self, run: Run) -> dict[str, str]:
        """The states of a run's tasks; a mapped one is ``name[index]``."""
        found = {}
        for task in self.task_instances(run):
            index = "" if task["map_index"] < 0 else f"[{task['map_index']}]"
            found[f"{task['task_id']}{index}"] = str(task["state"])
        return found

    def task_instances(self, run: Run) -> list[dict[str, Any]]:
        """The API's answer about a run's tasks."""
        found: list[dict[str, Any]] = self.api.get(f"{_path(run)}/taskInstances", limit=2000)["task_instances"]
        return found

    def running(self, run: Run) -> int:
        """How many of a run's tasks are in a worker."""
        return int(self.api.get(f"{_path(run)}/taskInstances", state="running", limit=1)["total_entries"])

    @property
    def version(self) -> tuple[int, ...]:
        """Major and minor version."""
        return tuple(int(part) for part in self.api.get("/version")["version"].split(".")[:2])

    def waits(self, run: Run, task_id: str = "train") -> bool:
        """Whether a process or a trigger still works for a task."""
        task = self.api.get(f"{_path(run)}/taskInstances/{task_id}")
        return task["trigger"] is not None or task["id"] in self.tasks()

    def watched(self, run: Run, task_id: str = "train", attempt: int = 1, times: int = 1) -> bool:
        """Whether a deferred task's trigger has started: until then Airflow does not report that the task was ended.

        :param times: in how many triggerers, one after the other.
        """
        dag_id, run_id = run
        logs = self.folder / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return len([*logs.glob(f"attempt={attempt}.log.trigger.*")]) >= times

    def xcom(self, run: Run, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        path = f"{_path(run)}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self.api.send("GET", path, params={"deserialize": True, "map_index": map_index})
        if answer.status_code == httpx.codes.BAD_REQUEST:
            # Airflow 3.0 deserializes only if its configuration says so.
            answer = self.api.send("GET", path, params={"map_index": map_index})
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()["value"]

    def asset_events(self, name: str) -> list[dict[str, Any]]:
        """An asset's events; as long as a run that they began is queued, Airflow 3.3 answers 500."""
        query = {"asset_id": self._asset(name)}
        answered = self.until(
            lambda: (answer := self.api.send("GET", "/assets/events", params=query)).is_success and answer,
            "Airflow tells an asset's events",
        )
        return list(answered.json()["asset_events"])

    def watermarks(self, name: str) -> list[str]:
        """The keys of an asset's state store."""
        return [state["key"] for state in self.api.get(f"/assets/{self._asset(name)}/state-store")["asset_state_store"]]

    def _asset(self, name: str) -> int:
        (asset,) = (each for each in self.api.get("/assets")["assets"] if each["name"] == name)
        return int(asset["id"])

    def runs(self, dag_id: str) -> list[Run]:
        return [(dag_id, run["dag_run_id"]) for run in self.api.get(f"/dags/{dag_id}/dagRuns", limit=1000)["dag_runs"]]

    def until(self, what: Callable[[], Any], why: str | Callable[[], str], seconds: float = PATIENCE) -> Any:
        """Poll until the answer is truthy."""
        return until(self.stack, what, why, seconds)


def _path(run: Run) -> str:
    dag_id, run_id = run
    return f"/dags/{dag_id}/dagRuns/{run_id}"


@contextmanager
def full_airflow(*arguments: Any, **more: Any) -> Iterator[FullAirflow]:
    """Run Airflow until the block ends; the parameters are those of :class:`FullAirflow`."""
    airflow = FullAirflow(*arguments, **more)
    with airflow.stack:
        try:
            airflow.begin()
            yield airflow
        finally:
            # The triggerer takes 10 s to end when it is asked to.
            for name in list(airflow.stack.running):
                airflow.stack.kill(name)
