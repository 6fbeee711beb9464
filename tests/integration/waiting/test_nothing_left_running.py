"""Whatever ends a task, its job is stopped: each way in a full Airflow, with the task in the worker and deferred."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.waiting.autopilot import Autopilot
from tests.integration.waiting.jobs import ENDLESS, Jobs
from tests.integration.waiting.stack import FullAirflow, Run


def _delete(airflow: FullAirflow, run: Run) -> None:
    """End and delete a run: Airflow deletes only ended runs. A task's process may then find no state of its task."""
    airflow.mark_run(run, "failed")
    airflow.delete_run(run)


#: What a user does to a task or to its run.
ACTS: dict[str, Callable[[FullAirflow, Run], None]] = {
    "mark_failed": lambda airflow, run: airflow.mark_task(run, "failed"),
    "mark_success": lambda airflow, run: airflow.mark_task(run, "success"),
    "run_marked_failed": lambda airflow, run: airflow.mark_run(run, "failed"),
    "run_deleted": _delete,
}
DEADLINES = [f"{mode}_{limit}" for mode in ("deferred", "in_worker") for limit in ("timeout", "execution_timeout")]


class Waiting:
    """A run of every kind, each of which waits on a job that never ends."""

    def __init__(self, airflow: FullAirflow, jobs: Jobs) -> None:
        self.airflow, self.jobs = airflow, jobs
        waits = {
            (dag_id, act): "deferred" if dag_id.startswith("deferred") else "running"
            for dag_id in ("deferred", "in_worker")
            for act in (*ACTS, "clear")
        }
        waits |= {("deferred_kept", "mark_failed"): "deferred", ("in_worker_kept", "mark_failed"): "running"}
        waits |= {("in_worker", "kill"): "running", ("in_worker_kept", "clear"): "running"}
        self.runs: dict[tuple[str, str], Run] = {}
        # One after the other: at the same time, they would block each other on SQLite's lock in the API server.
        for key, state in waits.items():
            self.runs[key] = run = airflow.trigger(key[0], f"nothing-left-{key[1]}", script=ENDLESS)
            airflow.until(
                lambda run=run, state=state: airflow.states(run).get("train") == state and jobs.states(run),
                f"the task of {run} is {state}, and its job runs",
            )
            if state == "deferred":
                airflow.until(lambda run=run: airflow.watched(run), f"the triggerer watches for {run}")
        for dag_id in DEADLINES:
            self.runs[dag_id, ""] = airflow.trigger(dag_id, "nothing-left", script=ENDLESS)

    def stopped(self, run: Run) -> None:
        """Wait until none of the run's jobs runs any more."""
        self.airflow.until(
            lambda: set(self.jobs.states(run)) == {"Stopped"},
            lambda: f"the jobs of {run} have stopped: {self.jobs.states(run)}",
        )

    def trains_again(self, run: Run, act: Callable[[], Any], old: str = "Stopped") -> None:
        """Wait until an act has ended the run's jobs, or left them running, and a new one runs.

        There may be more jobs than two: a scheduler that could not report for a while gives its tasks another try.
        """
        before = len(self.jobs.states(run))
        act()

        def trains() -> bool:
            *ended, last = self.jobs.states(run)
            return len(ended) >= before and set(ended) == {old} and last == "InProgress"

        self.airflow.until(
            trains, lambda: f"of the jobs of {run} one more runs, the first are {old}: {self.jobs.states(run)}"
        )

    def stop(self, run: Run) -> None:
        """Stop the jobs that nobody waits for."""
        for job in self.jobs.of(run):
            self.jobs.client.stop_auto_ml_job(AutoMLJobName=job["AutoMLJobName"])
        self.stopped(run)


@pytest.fixture(scope="module")
def waiting(airflow: FullAirflow, service: Autopilot) -> Waiting:
    return Waiting(airflow, Jobs(service))


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("dag_id", ["deferred", "in_worker"])
def test_a_task_that_a_user_ends_stops_its_job(waiting: Waiting, dag_id: str, act: str) -> None:
    run = waiting.runs[dag_id, act]
    ACTS[act](waiting.airflow, run)
    waiting.stopped(run)


@pytest.mark.parametrize("dag_id", ["deferred", "in_worker"])
def test_a_clear_stops_the_old_job_and_trains_again(waiting: Waiting, dag_id: str) -> None:
    run = waiting.runs[dag_id, "clear"]
    waiting.trains_again(run, lambda: waiting.airflow.clear(run))
    if dag_id == "deferred":
        waiting.airflow.until(lambda: waiting.airflow.watched(run, attempt=2), f"the triggerer watches for {run}")
    waiting.airflow.mark_run(run, "failed")
    waiting.stopped(run)


def test_a_clear_of_a_running_task_trains_again_also_if_the_old_job_still_runs(waiting: Waiting) -> None:
    airflow, run = waiting.airflow, waiting.runs["in_worker_kept", "clear"]
    waiting.trains_again(run, lambda: airflow.clear(run), old="InProgress")
    airflow.mark_run(run, "failed")
    waiting.stop(run)


def test_a_run_that_is_deleted_and_created_again_with_its_id_trains_again(waiting: Waiting) -> None:
    airflow = waiting.airflow
    run = airflow.trigger("in_worker", "again", script="phases,candidate-60,completed")
    for number in (1, 2):
        airflow.until(lambda: airflow.run_state(run) == "success", f"{run} has succeeded")
        (job,) = (job for job in waiting.jobs.of(run)[number - 1 :])
        assert airflow.xcom(run, "train")["CandidateName"].startswith(job["AutoMLJobName"])
        if number == 1:
            airflow.delete_run(run)
            airflow.trigger_again(run, script="phases,candidate-60,completed")


def test_a_terminated_worker_stops_its_job_and_the_next_try_trains_again(waiting: Waiting) -> None:
    run = waiting.runs["in_worker", "kill"]
    waiting.trains_again(run, lambda: waiting.airflow.process_of(run).terminate())
    waiting.airflow.mark_run(run, "failed")
    waiting.stopped(run)


@pytest.mark.parametrize("dag_id", DEADLINES)
def test_a_deadline_stops_the_job_and_fails_the_task(waiting: Waiting, dag_id: str) -> None:
    run = waiting.runs[dag_id, ""]
    waiting.airflow.until(lambda: waiting.airflow.run_state(run) == "failed", f"{run} has failed")
    # execution_timeout counts from the start of the task: on a slow machine it may pass before there is a job.
    if waiting.jobs.states(run) or not dag_id.endswith("execution_timeout"):
        waiting.stopped(run)


@pytest.mark.parametrize("dag_id", ["deferred_kept", "in_worker_kept"])
def test_stop_on_kill_false_lets_the_job_run_on(waiting: Waiting, dag_id: str) -> None:
    run = waiting.runs[dag_id, "mark_failed"]
    waiting.airflow.mark_task(run, "failed")
    waiting.airflow.until(lambda: not waiting.airflow.waits(run), f"nobody waits for {run} any more")
    assert set(waiting.jobs.states(run)) == {"InProgress"}
    waiting.stop(run)


def test_a_teardown_stops_what_a_failed_run_leaves(waiting: Waiting) -> None:
    airflow = waiting.airflow
    run = airflow.trigger("torn_down", "nothing-left", script=ENDLESS)
    airflow.until(lambda: airflow.run_state(run) == "failed", f"{run} has failed")
    assert waiting.jobs.states(run) == ["Stopped"]
    states: dict[str, Any] = airflow.states(run)
    assert states == {"train": "success", "fails": "failed", "stop": "success"}
