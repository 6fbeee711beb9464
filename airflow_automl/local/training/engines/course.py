"""The course of a training job, the same for every problem family.

A :class:`Course` owns the job's time, its candidates from begin to end, its artefacts in S3, its reports and the status
that it ends with. An engine only says how its candidates are made.
"""

from __future__ import annotations

import logging
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from airflow_automl.contract.metrics import best
from airflow_automl.local.errors import JobFailure, cause
from airflow_automl.local.models import artifacts
from airflow_automl.local.training.engines import isolation, metrics
from airflow_automl.local.training.engines.base import DEFAULT_RUNTIME, Run
from airflow_automl.local.training.engines.candidates import Candidate

log = logging.getLogger(__name__)

OUT_OF_TIME = "MaxAutoMLJobRuntimeReached"
"""The secondary status of a job that its time limit ended."""

PER_JOB, PER_CANDIDATE = "MaxAutoMLJobRuntimeInSeconds", "MaxRuntimePerTrainingJobInSeconds"

REPORT_SECONDS = 3.0
"""Seconds that must be left for a report to be begun."""

_RESERVE = 0.15
_RESERVE_BOUNDS = (6.0, 120.0)
_OVERRUN = 1.2
"""A candidate that needs a little more than its share of the job's time still counts."""

_REPEATS = 5
_TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8", ".csv": "text/csv"}

Files = Mapping[str, str]
"""A report: names of its files, relative to its location, and their contents."""

Made = TypeVar("Made")


class Stopped(Exception):
    """A candidate ended early, through no fault; the message is its FailureReason."""


class TimeIsUp(Stopped):
    """The time was over before there was a result."""

    def __init__(self, message: str = "The time limit was reached before there was anything to measure.") -> None:
        super().__init__(message)


class Clock:
    """A time limit, by the monotonic clock.

    :param seconds: until the end; ``None`` for no limit.
    :param began: monotonic time from which they count; by default now.
    """

    def __init__(self, seconds: float | None, began: float | None = None) -> None:
        began = time.monotonic() if began is None else began
        self._ends = None if seconds is None else began + seconds

    @property
    def left(self) -> float | None:
        """Return seconds until the end, at least 0; ``None`` without a limit."""
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    @property
    def passed(self) -> bool:
        """Return whether the time is over."""
        return self.left == 0.0

    def allows(self, seconds: float) -> bool:
        """Return whether more than so many seconds are left."""
        return self.left is None or self.left > seconds

    def check(self) -> None:
        """Return while there is time.

        :raises TimeIsUp: it is over.
        """
        if self.passed:
            raise TimeIsUp

    def within(self, seconds: float | None) -> Clock:
        """Return this end, or the one in so many seconds if that is earlier."""
        limits = [each for each in (self.left, seconds) if each is not None]
        return Clock(min(limits) if limits else None)

    def part(self, share: float) -> Clock:
        """Return an earlier end: a share of the time that is left.

        :param share: from 0 to 1.
        """
        return Clock(None if self.left is None else self.left * share)


def completion_criteria(given: Mapping[str, int], **defaults: int) -> dict[str, int]:
    """Return the limits that a job runs under: the request's; if it has none, an hour (R47).

    :param given: CompletionCriteria of the request.
    :param defaults: limits for what the request leaves out.
    """
    return {**defaults, **given} if given else {**defaults, PER_JOB: DEFAULT_RUNTIME}


class Course:
    """One job under way.

    :param run: the job and its surroundings.
    :param problem_type: of all candidates.
    :param tie_break: the loss that decides between candidates with the same objective; without one, the latency does.
    """

    def __init__(
        self,
        run: Run,
        problem_type: str,
        objective: str,
        criteria: Mapping[str, int],
        tie_break: str | None = None,
    ) -> None:
        self.run = run
        self.problem_type = problem_type
        self.objective = objective
        self.criteria = criteria
        self._tie_break = tie_break
        self.candidates: list[Candidate] = []
        self._failures: list[str] = []
        # The service enforces the request's limit; the default one is enforced here alone.
        self._end = Clock(run.spec.max_runtime, run.spec.started)
        self._default_end = Clock(criteria.get(PER_JOB), run.spec.started)

    def for_training(self) -> float | None:
        """Return the seconds for training from now on; the rest is kept for uploads and reports.

        Training libraries overrun their limits, hence the reserve.
        """
        left, default = self._end.left, self._default_end.left
        if left is not None:
            reserve = min(max(left * _RESERVE, _RESERVE_BOUNDS[0]), _RESERVE_BOUNDS[1])
            return max(left - reserve, left * 0.5, 1.0)
        return None if default is None else max(default, 1.0)

    def for_candidate(self, waiting: int = 1) -> Clock:
        """Return the time of one candidate: its share of the job's time, or its own limit if that is less.

        :param waiting: candidates that share the job's time, this one included.
        """
        return Clock(self.for_training()).part(1 / waiting).within(self.criteria.get(PER_CANDIDATE))

    def for_report(self, most: float, part: float = 0.5) -> float:
        """Return the seconds that a report may take.

        :param part: share of what is left.
        """
        left = self._end.left
        return most if left is None else min(most, left * part)

    def time_for_report(self) -> bool:
        """Return whether there is time for another report."""
        left = self._end.left
        return left is None or left > REPORT_SECONDS

    @property
    def completed(self) -> list[Candidate]:
        """Return the candidates that are completed."""
        return [candidate for candidate in self.candidates if candidate.status == "Completed"]

    def begin(self, label: str, steps: Sequence[Mapping[str, str]]) -> Candidate:
        """Report a new candidate, in progress.

        :param label: names it within the job.
        """
        name = Candidate.name_for(self.run.spec, label)
        candidate = Candidate(name, self.problem_type, self.objective, steps, label)
        self.candidates.append(candidate)
        self.run.events.candidate(candidate.document())
        return candidate

    def make(
        self, label: str, steps: Sequence[Mapping[str, str]], work: Callable[[Candidate], Mapping[str, str]]
    ) -> Candidate:
        """Make a candidate, and report how it ended: an error fails the candidate, and not the job.

        :param label: names it within the job.
        :param work: trains, measures and publishes it: fills in the candidate and returns the digests of its artefacts.
        """
        return self.finish(self.begin(label, steps), work)

    def finish(self, candidate: Candidate, work: Callable[[Candidate], Mapping[str, str]]) -> Candidate:
        """Do what is left to make a candidate; see :meth:`make`."""
        try:
            digests = work(candidate)
        except Exception as error:
            self.end(candidate, error)
        else:
            self.end(candidate, digests)
        return candidate

    def end(self, candidate: Candidate, outcome: Mapping[str, str] | Exception) -> None:
        """Report the end of a candidate.

        :param outcome: the digests of its artefacts, or what ended it.
        """
        digests: Mapping[str, str] = {}
        measured = self.objective in candidate.validation or self.objective not in metrics.OBJECTIVES
        if not (measured or isinstance(outcome, Exception)):
            outcome = JobFailure(f"{self.objective} of the model's answers is not finite")
        if isinstance(outcome, Exception):
            candidate.validation = {}
        if isinstance(outcome, Stopped):
            candidate.stop(str(outcome))
        elif isinstance(outcome, Exception):
            reason = cause(outcome)
            log.warning("candidate failed: %s", candidate.name, exc_info=outcome)
            candidate.fail(f"{candidate.label} failed: {reason}")
            self._failures.append(f"{candidate.label}: {reason}")
            self.run.events.partial_failure(f"{candidate.name}: {candidate.failure}", "Candidate")
        else:
            digests = outcome
            candidate.complete()
        ended = candidate.validation.get(self.objective, candidate.failure)
        log.info("candidate %s: %s, %s", candidate.status, candidate.name, ended)
        self.run.events.candidate(candidate.document(), digests)

    def limited(
        self,
        work: Callable[[isolation.Ask], Made],
        answer: Callable[[Any], Any] = lambda question: None,
        share: float | None = None,
    ) -> Made:
        """Do a candidate's training; if it has a limit, in a copy of this process that is killed at the limit.

        :param work: the training; see :func:`airflow_automl.local.training.engines.isolation.run`. Its result must be
            picklable.
        :param answer: answers the questions that the work asks in between.
        :param share: seconds of the job's time that the work keeps to; ``None`` if only the request limits it.
        :raises TimeIsUp: it was killed, or ended by itself after the time was over.
        """
        limit: float | None = self.run.spec.criteria.get(PER_CANDIDATE)
        what = f"{PER_CANDIDATE} ({limit} s)"
        if share is not None and (limit is None or share * _OVERRUN < limit):
            limit, what = share * _OVERRUN, f"its share of the job's time ({share:.0f} s)"
        if limit is None:
            return work(answer)
        own = Clock(limit)
        try:
            return isolation.run(work, limit, answer)  # type: ignore[no-any-return]
        except (isolation.Overrun, TimeIsUp) as error:
            raise too_long(error, own, what) from None

    def best(self) -> Candidate:
        """Return the candidate that the job answers as its BestCandidate (R94); there must be a completed one."""
        return best_of(self.completed, self.objective, self._tie_break)

    @property
    def own_limit_first(self) -> bool:
        """Whether a candidate that ran out of time hit its own limit: there is time for another whole candidate."""
        limit, seconds = self.criteria.get(PER_CANDIDATE), self.for_training()
        return limit is not None and (seconds is None or seconds >= limit)

    def without_result(self) -> str | None:
        """Return the secondary status of a job in which nothing was completed; ``None`` if something was.

        :raises JobFailure: the job fails, with the reason.
        """
        if self.completed:
            return None
        stopped = sum(candidate.status == "Stopped" for candidate in self.candidates)
        if self._failures and not (stopped and not self.own_limit_first):
            raise JobFailure(f"No candidate could be trained: {self._failures[-1]}")
        if stopped and self.own_limit_first:
            raise JobFailure(
                f"None of {stopped} candidates was done within {PER_CANDIDATE} ({self.criteria[PER_CANDIDATE]} s): "
                "allow more time, or name faster algorithms."
            )
        # The job's limit came before the first candidate was done: the job is complete without one (R52).
        return OUT_OF_TIME

    def folder(self, key: str) -> Path:
        """Return the local folder from which :meth:`publish` packs an artefact."""
        return self.run.folder / "export" / key.replace("/", "-")

    def publish(self, key: str, metadata: Mapping[str, Any], save: Callable[[Path], object]) -> tuple[str, str]:
        """Put an artefact into S3.

        :param key: of its ``model.tar.gz``, below the job's output.
        :param metadata: what serving needs to know; ``engine`` names what serves it.
        :param save: writes the files into a folder.
        :return: the address, and the SHA-256.
        """
        folder = self.folder(key)
        archive = folder.with_name(f"{folder.name}.tar.gz")
        common = {"problem_type": self.problem_type, "objective": self.objective, "job": self.run.spec.name}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save(folder)
            artifacts.pack(folder, {**common, **metadata}, archive)
            uri = self.run.spec.output + key
            return uri, self.run.store.upload(archive, uri, "application/gzip")
        finally:
            archive.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    def write(self, folder: str, files: Files) -> str:
        """Write files into S3.

        :param folder: below the job's output.
        :return: the address of the folder.
        """
        location = f"{self.run.spec.output}{folder}"
        for name, content in files.items():
            self.run.store.write(content, f"{location}/{name}", _TYPES[Path(name).suffix])
        return location

    def report(
        self, candidate: Candidate, explain: Callable[[], Files | None], insights: Callable[[], Files], secondary: str
    ) -> str:
        """Write both reports on the best candidate, each in its phase, if there is time; an error fails one of them.

        :param explain: makes the explainability report; ``None`` if there is nothing to explain.
        :param insights: makes the model insights.
        :param secondary: the secondary status that the training ended with.
        :return: the secondary status that the job ends with.
        """
        for phase, make, name in (
            ("GeneratingExplainabilityReport", explain, "explainability"),
            ("GeneratingModelInsightsReport", insights, "insights"),
        ):
            if not self.time_for_report():
                return OUT_OF_TIME
            self.run.events.phase(phase)
            self._report(candidate, name, make)
        return secondary

    def _report(self, candidate: Candidate, name: str, make: Callable[[], Files | None]) -> None:
        title, kind, folder = _REPORTS[name]
        try:
            files = make()
            if files is None:
                return
            setattr(candidate, name, self.write(f"documentation/{folder}/output/{candidate.name}", files))
        except Exception as error:
            log.exception("%s failed: %s", title, candidate.name)
            self.run.events.partial_failure(f"The {title} of {candidate.name} failed: {cause(error)}", kind)
            return
        self.run.events.candidate(candidate.document())


_REPORTS = {
    "explainability": ("explainability report", "ExplainabilityError", "explainability"),
    "insights": ("model insights", "ModelInsightsError", "model_monitor"),
}


def too_long(outcome: Any, own: Clock, what: str) -> Any:
    """Return how a candidate ended, with the limit ``what`` as its reason if that ended it."""
    if not (isinstance(outcome, isolation.Overrun | TimeIsUp) and own.passed):
        return outcome
    return TimeIsUp(f"It was still training after {what}, and was ended.")


def best_of(candidates: Sequence[Candidate], objective: str, tie_break: str | None = None) -> Candidate:
    """Return the best of some candidates by the rule of the API (R94)."""
    chosen = best([candidate.document() for candidate in candidates], objective, tie_break)
    names = {candidate.name: candidate for candidate in candidates}
    return names[chosen["CandidateName"]] if chosen else candidates[0]


def median_seconds(work: Callable[[], object]) -> float:
    """Return how long something takes, the median of a few times."""
    took = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)
