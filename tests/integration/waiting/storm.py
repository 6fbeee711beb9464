"""Random crashes of everything that takes part in a wait, each logged; the same seed kills in the same order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count, pairwise
from random import Random

import psutil

from tests.integration.waiting.autopilot import Autopilot
from tests.integration.waiting.jobs import Jobs
from tests.integration.waiting.stack import FullAirflow, Run
from tests.service.running import trainer_pid

#: The job runs until a file releases it.
SCRIPT = "phases,begin,wait,candidate-60,completed"
VICTIMS = ("scheduler", "triggerer", "api-server", "dag-processor", "task", "supervisor", "service", "trainer")
_NUMBERS = count(1)


class Storm:
    """DAG runs, and the crashes during them.

    :param seed: decides which process is killed when.
    :param waits: DAGs of ``dags/waiting.py``; the runs use them in turn.
    """

    def __init__(
        self, airflow: FullAirflow, service: Autopilot, seed: int, waits: Sequence[str] = ("deferred", "in_worker")
    ) -> None:
        self.airflow, self.service, self.jobs = airflow, service, Jobs(service)
        self.seed = seed
        self._random = Random(seed)
        self._waits = waits
        self.runs: list[Run] = []
        self.log: list[str] = []
        self._released: set[str] = set()
        self._began = time.monotonic()

    def pass_over(self, runs: int, victims: Sequence[str], pause: float) -> None:
        """Start runs, kill during them, let their jobs end, and wait until the runs have.

        :param victims: of :data:`VICTIMS`, each killed once, in random order.
        :param pause: seconds between two kills at most.
        """
        for number in range(runs):
            run_id = f"storm-{self.seed}-{next(_NUMBERS)}"
            self.runs.append(self.airflow.trigger(self._waits[number % len(self._waits)], run_id, script=SCRIPT))
        order = list(victims)
        self._random.shuffle(order)
        for victim in order:
            time.sleep(self._random.uniform(0.0, pause))
            self._kill(victim)
            self._release(self._random.sample(self.runs, len(self.runs) // len(order)))
        self.airflow.until(self._over, f"the runs of storm {self.seed} have ended; {self.log}", 1800)

    def _over(self) -> bool:
        self._release(self.runs)
        return all(self.airflow.run_state(run) in {"success", "failed"} for run in self.runs)

    def _release(self, runs: Sequence[Run]) -> None:
        for run in runs:
            for job in self.jobs.of(run):
                name = job["AutoMLJobName"]
                if name not in self._released and (self.service.data_dir / "jobs" / name).exists():
                    self.service.release(name)
                    self._released.add(name)

    def _kill(self, victim: str) -> None:
        kill: Callable[[], str | None] = getattr(self, f"_kill_{victim.replace('-', '_')}")
        at = time.monotonic() - self._began
        killed = kill()
        self.log.append(
            f"{at:.1f} s: {victim} {killed or ''}".rstrip() if killed is not None else f"{at:.1f} s: no {victim}"
        )

    def _kill_scheduler(self) -> str:
        """Its executor's workers and their tasks die with it."""
        lost = len(self.airflow.tasks())
        self.airflow.stack.kill("scheduler")
        self.airflow.start("scheduler")
        return f"with {lost} tasks"

    def _kill_triggerer(self) -> str:
        self.airflow.stack.kill("triggerer")
        self.airflow.start("triggerer")
        return ""

    def _kill_api_server(self) -> str:
        """Tasks and triggers reach Airflow through it: their messages during the failure are lost."""
        self.airflow.stack.kill("api-server")
        self.airflow.start("api-server")
        self.airflow.stack.await_airflow()
        return ""

    def _kill_dag_processor(self) -> str:
        self.airflow.stack.kill("dag-processor")
        self.airflow.start("dag-processor")
        return ""

    def _kill_task(self) -> str | None:
        return self._kill_process(lambda task: task)

    def _kill_supervisor(self) -> str | None:
        """The task itself continues until it notices."""
        return self._kill_process(psutil.Process.parent)

    def _kill_process(self, of: Callable[[psutil.Process], psutil.Process | None]) -> str | None:
        tasks = self.airflow.tasks()
        for identity in self._random.sample(sorted(tasks), len(tasks)):
            with contextlib.suppress(psutil.Error):
                process = of(tasks[identity])
                if process is not None:
                    process.kill()
                    return str(process.pid)
        return None

    def _kill_service(self) -> str:
        """Trainers keep running; the next service takes them over."""
        self.service.kill()
        self.service.start()
        return ""

    def _kill_trainer(self) -> str | None:
        for run in self._random.sample(self.runs, len(self.runs)):
            for job in self.jobs.of(run):
                name = job["AutoMLJobName"]
                if job["AutoMLJobSecondaryStatus"] == "TrainingModels":
                    psutil.Process(trainer_pid(self.service, name)).kill()
                    return name
        return None

    def wrong(self) -> Iterator[str]:
        """Yield the differences from the expected state, run by run."""
        for run in self.runs:
            jobs = self.jobs.of(run)
            statuses = [job["AutoMLJobStatus"] for job in jobs]
            if self.airflow.run_state(run) != "success":
                yield f"{run} is {self.airflow.run_state(run)}"
            if statuses.count("Completed") != 1 or statuses[-1] != "Completed":
                yield f"{run} had jobs that ended {statuses}, not one that completed, as the last"
                continue
            if any(status not in {"Completed", "Failed", "Stopped"} for status in statuses):
                yield f"{run} left a job running: {statuses}"
            for earlier, later in pairwise(jobs):
                if later["CreationTime"] < earlier["EndTime"]:
                    yield f"{run} had two jobs at a time: {earlier['AutoMLJobName']} and {later['AutoMLJobName']}"
                name = earlier["AutoMLJobName"]
                if earlier["AutoMLJobStatus"] == "Failed" and not any(name in kill for kill in self.log):
                    yield f"{run} had a job that failed by itself: {earlier.get('FailureReason')}"
            best = self.airflow.xcom(run, "train") or {}
            if not str(best.get("CandidateName")).startswith(jobs[-1]["AutoMLJobName"]):
                yield f"{run} passed {best.get('CandidateName')}, and its job was {jobs[-1]['AutoMLJobName']}"
