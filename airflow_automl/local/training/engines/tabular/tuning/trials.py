"""Where the trials of a search run: in copies of this process, or as tasks of a Ray cluster."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_automl.local.training.engines import isolation
from airflow_automl.local.training.engines.course import PER_CANDIDATE, Clock, Course, TimeIsUp, too_long
from airflow_automl.local.training.engines.tabular.tuning.search import Choice, Proposal
from airflow_automl.local.training.engines.tabular.tuning.trial import Result, Workbench
from airflow_automl.local.training.ray_tasks import RayTasks

log = logging.getLogger(__name__)

#: Times that a trial may begin whose worker dies: it may be the trial that kills it.
_ATTEMPTS = 3

Hopeless = Callable[[int, tuple[int, float]], bool]
"""Gets the number of a trial, and its step and objective; returns whether to prune it."""


class Copies:
    """Runs trials in copies of this process: one that crashes or never ends costs only itself.

    :param end: of the time for training.
    """

    def __init__(self, course: Course, bench: Workbench, end: Clock) -> None:
        self.at_once = course.run.spec.trials
        self._bench, self._end = bench, end
        self._limit = course.criteria.get(PER_CANDIDATE)
        self._what = f"{PER_CANDIDATE} ({self._limit} s)"
        self._under_way: dict[isolation.Step, tuple[int, Clock]] = {}

    def start(self, proposal: Proposal) -> None:
        """Begin a trial, at most :attr:`at_once` of them."""
        # Made here and not in the copy of the process, what trials share is there for the next ones too. An error comes
        # again there, where it costs only this trial.
        with contextlib.suppress(Exception):
            self._bench.prepare(proposal.choice)
        clock = self._end.part(proposal.share).within(self._limit)
        step = isolation.Step(
            lambda ask: self._bench.run(proposal.choice, clock, lambda *progress: bool(ask(progress))),
            self._limit or math.inf,
        )
        self._under_way[step] = proposal.number, Clock(self._limit)

    def first(self, hopeless: Hopeless) -> tuple[int, Result | Exception]:
        """Wait for the first trial that ends; return its number, and its result or what ended it."""
        step, outcome = isolation.first(
            self._under_way, lambda step, progress: hopeless(self._under_way[step][0], progress)
        )
        step.close()
        number, own = self._under_way.pop(step)
        return number, too_long(outcome, own, self._what)

    def close(self) -> None:
        """End what is under way."""
        for step in self._under_way:
            step.close()


@dataclass
class _Task:
    """A trial that was given to Ray; ``here``: beside this process, in the job's own share of the node."""

    proposal: Proposal
    result: Any
    here: bool
    end: Clock
    attempt: int
    own: Clock | None = None
    """Its own limit, which begins when it does."""


class Tasks:
    """Runs trials as tasks of the Ray job that this process belongs to: one here, the others where there is room.

    A trial whose worker dies begins again. While there is no room elsewhere, trials run here one after the other.
    """

    def __init__(self, course: Course, bench: Workbench, end: Clock) -> None:
        spec = course.run.spec
        self.at_once = spec.trials
        self._end = end
        self._limit = course.criteria.get(PER_CANDIDATE)
        self._what = f"{PER_CANDIDATE} ({self._limit} s)"
        self._cluster = RayTasks(_run)
        self._elsewhere = {"num_cpus": spec.threads, "memory": spec.memory_limit}
        self._bench = self._cluster.ray.put(bench)
        self._tasks: dict[int, _Task] = {}
        self._keys = itertools.count()

    def start(self, proposal: Proposal, attempt: int = 1) -> None:
        """See :meth:`Copies.start`."""
        here, key = not any(task.here for task in self._tasks.values()), next(self._keys)
        # The job's own cores are reserved already, and this process is idle while trials run.
        options = self._cluster.here if here else self._elsewhere
        result = self._cluster.start(options, [self._bench], key, proposal.choice)
        self._tasks[key] = _Task(proposal, result, here, self._end, attempt)

    def first(self, hopeless: Hopeless) -> tuple[int, Result | Exception]:
        """See :meth:`Copies.first`."""
        while True:
            waiting = [key for key, task in self._tasks.items() if task.own is None]
            if waiting and not any(task.here for task in self._tasks.values()):
                moved = self._drop(waiting[0])
                self.start(moved.proposal, moved.attempt)
            keys = {task.result: key for key, task in self._tasks.items()}
            left = min((left for task in self._tasks.values() if (left := task.end.left) is not None), default=None)
            asked, ready = self._cluster.wait(keys, left)
            if asked is not None:
                key, progress = asked
                self._cluster.answer(key, self._answer(key, progress, hopeless))
            elif ready:
                task = self._tasks.pop(keys[ready[0]])
                try:
                    outcome = self._cluster.ray.get(task.result)
                except self._cluster.ray.exceptions.RayError as error:
                    if task.attempt < _ATTEMPTS:
                        log.warning("trial %d begins again: %s", task.proposal.number + 1, error)
                        self.start(task.proposal, task.attempt + 1)
                        continue
                    outcome = error
                return task.proposal.number, too_long(outcome, task.own or Clock(None), self._what)
            for key, task in self._tasks.items():
                if task.end.passed:
                    self._drop(key)
                    return task.proposal.number, too_long(TimeIsUp(), task.own or Clock(None), self._what)

    def _answer(self, key: int, progress: tuple[int, float] | None, hopeless: Hopeless) -> Any:
        """Return the seconds that a trial has when it begins, and whether it is hopeless later."""
        task = self._tasks.get(key)
        if task is None:
            return 0.0 if progress is None else True
        if progress is not None:
            return hopeless(task.proposal.number, progress)
        seconds, task.own = self._end.part(task.proposal.share).within(self._limit).left, Clock(self._limit)
        task.end = Clock(None if seconds is None else seconds + isolation.GRACE)
        return seconds

    def _drop(self, key: int) -> _Task:
        task = self._tasks.pop(key)
        self._cluster.ray.cancel(task.result, force=True)
        return task

    def close(self) -> None:
        """Leave the cluster, which ends what is under way."""
        self._cluster.ray.shutdown()


_bench: dict[Any, Workbench] = {}
"""The workbench of the job that this worker of Ray's belongs to: views and bins are made once for all trials."""


def _run(questions: Any, bench: list[Any], key: int, choice: Choice) -> Result | Exception:
    import ray

    def ask(question: Any) -> Any:
        return ray.get(questions.ask.remote(key, question))

    try:
        if bench[0] not in _bench:
            _bench[bench[0]] = ray.get(bench[0])
        return _bench[bench[0]].run(choice, Clock(ask(None)), lambda *progress: bool(ask(progress)))
    except Exception as error:
        return isolation.portable(error)
