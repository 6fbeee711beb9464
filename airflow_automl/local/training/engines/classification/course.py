"""The course of a classification job: candidate after candidate, then the reports on the best one."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_automl.local.training.data.failures import JobFailure
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.data.target import MULTICLASS
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.base import DEFAULT_RUNTIME, Run
from airflow_automl.local.training.engines.budget import Budget
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.classification import reports
from airflow_automl.local.training.engines.classification.approach import Approach, Trained
from airflow_automl.local.training.engines.classification.export import Exporter
from airflow_automl.local.training.engines.classification.reports import Teller
from airflow_automl.local.training.engines.classification.samples import Samples
from airflow_automl.local.training.engines.classification.timing import Deadline, TimeIsUp
from airflow_automl.local.training.engines.reports.best import best_of

__all__ = ["OBJECTIVE", "Problem", "completion_criteria", "run"]

log = logging.getLogger(__name__)

OBJECTIVE = "Accuracy"
"""The only one there is (R42)."""

REPORTS = 3.0
"""Seconds that must be left for a report to be worth beginning."""

TRAIN_SAMPLE = 500
"""Training samples that the Train metrics are measured on."""

OUT_OF_TIME = "MaxAutoMLJobRuntimeReached"
_REPEATS = 5
_BATCH = 50


@dataclass(frozen=True)
class Problem:
    """What tells one kind of classification from another.

    :param name: ``TextClassification`` or ``ImageClassification``.
    :param engine: key of what serves it, in :mod:`airflow_automl.local.models.artifacts`.
    :param metadata: what serving needs to know beyond the candidate, such as the features.
    :param approaches: in the order in which they are trained.
    :param preferred: name of the one that is trained if there may be only one candidate (R49).
    :param teller: explains predictions and shows samples.
    """

    name: str
    engine: str
    metadata: Mapping[str, Any]
    approaches: Sequence[Approach]
    preferred: str
    teller: Teller


def completion_criteria(given: Mapping[str, int]) -> dict[str, int]:
    """The limits that a job runs under: what the request says, and where it says nothing at all, an hour (R47)."""
    return dict(given) or {"MaxAutoMLJobRuntimeInSeconds": DEFAULT_RUNTIME}


def run(run: Run, problem: Problem, samples: Samples, criteria: Mapping[str, int]) -> str:
    """Train the candidates of a job and report on the best one.

    :param run: the job.
    :param problem: its kind.
    :param samples: what to train on.
    :param criteria: the resolved CompletionCriteria.
    :return: the secondary status that the job ends with.
    :raises JobFailure: no candidate could be trained.
    """
    ends = None
    if run.spec.deadline is None and "MaxAutoMLJobRuntimeInSeconds" in criteria:
        ends = run.spec.started + criteria["MaxAutoMLJobRuntimeInSeconds"]
    budget = Budget(run.spec.deadline, ends)
    run.events.phase("TrainingModels")
    course = _Course(run, problem, samples, criteria, budget)
    secondary = course.train()
    if course.best is None or not budget.allows(REPORTS):
        return OUT_OF_TIME
    candidate, trained = course.best
    notes = [*samples.notes, *trained.notes]
    run.events.phase("GeneratingExplainabilityReport")
    reports.explain(run, problem.teller, candidate, trained, samples, budget)
    if not budget.allows(REPORTS):
        return OUT_OF_TIME
    run.events.phase("GeneratingModelInsightsReport")
    reports.give_insights(run, problem.teller, candidate, trained, samples, notes)
    return secondary


class _Course:
    """The training of one job's candidates."""

    def __init__(
        self, run: Run, problem: Problem, samples: Samples, criteria: Mapping[str, int], budget: Budget
    ) -> None:
        self._run, self._problem, self._samples = run, problem, samples
        self._criteria, self._budget = criteria, budget
        self._exporter = Exporter(run, problem.engine, {"problem_type": problem.name, **problem.metadata}, samples)
        self.best: tuple[Candidate, Trained] | None = None

    def train(self) -> str:
        """Train all candidates.

        :return: the secondary status that the training alone ends with.
        """
        approaches = self._usable()
        failures: list[str] = []
        late = 0
        for number, approach in enumerate(approaches):
            seconds = self._budget.for_training()
            if seconds is not None:
                # What is left is shared by those that are still to come.
                seconds /= len(approaches) - number
            limit = self._criteria.get("MaxRuntimePerTrainingJobInSeconds")
            limits = [each for each in (seconds, limit) if each is not None]
            failure = self._one(approach, Deadline(min(limits) if limits else None))
            late += failure == ""
            if failure:
                failures.append(failure)
        if self.best is not None:
            return "Completed"
        if failures:
            raise JobFailure(f"No candidate could be trained: {failures[-1]}")
        if self._budget.allows(REPORTS) and "MaxRuntimePerTrainingJobInSeconds" in self._criteria:
            raise JobFailure(
                f"None of {late} candidates was done within MaxRuntimePerTrainingJobInSeconds "
                f"({self._criteria['MaxRuntimePerTrainingJobInSeconds']} s): allow more time."
            )
        return OUT_OF_TIME

    def _usable(self) -> list[Approach]:
        """What is trained: the preferred approach and others, as many as may be; what is missing for these is told."""
        ranked = sorted(self._problem.approaches, key=lambda approach: approach.name != self._problem.preferred)
        most = self._criteria.get("MaxCandidates", len(ranked))
        found: list[Approach] = []
        missing: list[str] = []
        for approach in ranked:
            if len(found) == most:
                break
            reason = approach.missing()
            if reason is None:
                found.append(approach)
            else:
                log.warning("No candidate with %s: %s", approach.name, reason)
                missing.append(f"There is no candidate with {approach.name}: {reason}")
        if not found:
            raise JobFailure(" ".join(missing))
        for message in missing:
            self._run.events.partial_failure(message, "Candidate")
        return [approach for approach in self._problem.approaches if approach in found]

    def _one(self, approach: Approach, deadline: Deadline) -> str | None:
        """Train one candidate and report it.

        :return: why it failed, empty if its time was over, ``None`` if it is completed.
        """
        candidate = Candidate(
            name=Candidate.name_for(self._run.spec, approach.name),
            problem_type=self._problem.name,
            objective=OBJECTIVE,
            steps=self._exporter.steps(approach.name),
        )
        self._run.events.candidate(candidate.document())
        digests: dict[str, str] = {}
        reason: str | None = None
        try:
            trained = approach.train(self._samples, deadline, self._run.spec.threads)
            self._measure(candidate, trained)
            definitions, digests = self._exporter.export(approach.name, trained)
        except TimeIsUp:
            reason = ""
            candidate.stop("The time was over before there was anything to measure.")
        except Exception as error:
            reason = error.reason if isinstance(error, JobFailure) else f"{type(error).__name__}: {error}"
            log.warning("The candidate %s failed", candidate.name, exc_info=True)
            candidate.fail(f"{approach.name} could not be trained: {reason}")
            self._run.events.partial_failure(f"{candidate.name}: {candidate.failure}", "Candidate")
        else:
            candidate.complete(definitions=definitions)
            if self.best is None or best_of([self.best[0], candidate], OBJECTIVE) is candidate:
                self.best = (candidate, trained)
        log.info("%s: %s %s", candidate.name, candidate.status, candidate.validation.get(OBJECTIVE, ""))
        self._run.events.candidate(candidate.document(), digests)
        return reason

    def _measure(self, candidate: Candidate, trained: Trained) -> None:
        samples, opened = self._samples, self._problem.teller.opened
        classes = range(len(samples.labels))
        measured = metrics.scores(MULTICLASS, samples.validation_codes, trained.probabilities, classes)
        one = [opened(samples.train[0])]
        candidate.validation = {**measured, "InferenceLatency": _median_seconds(lambda: trained.predict(one))}
        some = np.arange(len(samples.train))
        if len(some) > TRAIN_SAMPLE:
            some = np.sort(np.random.default_rng(SEED).choice(some, TRAIN_SAMPLE, replace=False))
        answers = [
            trained.predict([opened(samples.train[position]) for position in batch])
            for batch in np.array_split(some, -(-len(some) // _BATCH))
        ]
        candidate.train = metrics.scores(MULTICLASS, samples.train_codes[some], np.concatenate(answers), classes)


def _median_seconds(work: Callable[[], object]) -> float:
    took = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)
