"""Trains HYPERPARAMETER_TUNING jobs: candidate after candidate, until there are enough of them or the time is over."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from airflow_automl.local.errors import JobFailure
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.course import (
    OUT_OF_TIME,
    PER_CANDIDATE,
    Clock,
    Course,
    Stopped,
    median_seconds,
)
from airflow_automl.local.training.engines.reports import tabular as reports
from airflow_automl.local.training.engines.tabular import crossing
from airflow_automl.local.training.engines.tabular.tuning import plan
from airflow_automl.local.training.engines.tabular.tuning.export import Exporter
from airflow_automl.local.training.engines.tabular.tuning.features import FeatureTransformer
from airflow_automl.local.training.engines.tabular.tuning.learners import TrainedAlgorithm
from airflow_automl.local.training.engines.tabular.tuning.search import Proposal, Search
from airflow_automl.local.training.engines.tabular.tuning.space import SearchSpace, algorithms_for
from airflow_automl.local.training.engines.tabular.tuning.table import Part, Table
from airflow_automl.local.training.engines.tabular.tuning.targets import may_be_logarithmic
from airflow_automl.local.training.engines.tabular.tuning.trial import Result, Workbench

log = logging.getLogger(__name__)

DEFAULT_CANDIDATES = 100

TRAIN_SAMPLE = 5000
"""Rows of the training data that the Train metrics are measured on."""

_MAX_FAILURES = 10
"""Candidates that may fail in a row before the search is given up: the next ones would too."""


def completion_criteria(given: Mapping[str, int]) -> dict[str, int]:
    """Return the limits that a job runs under (R47); without any, the number of candidates ends it."""
    return {"MaxCandidates": DEFAULT_CANDIDATES, **given}


def run(course: Course, dataset: TabularDataset, algorithms: tuple[str, ...] | None) -> str:
    """Train the candidates of a job and report on the best one.

    :param course: of the job.
    :param dataset: what to train on.
    :param algorithms: what the request names, ``None`` for all.
    :return: the secondary status that the job ends with.
    :raises JobFailure: no candidate could be trained.
    """
    tuning = train(course, dataset, algorithms)
    if tuning.best is None:
        return OUT_OF_TIME
    candidate, result = tuning.best
    return reports.report(course, tuning.dataset, candidate, tuning.scores, result.measured.scores, tuning.secondary)


def train(course: Course, dataset: TabularDataset, algorithms: tuple[str, ...] | None) -> Tuning:
    """Search, and report every candidate; the artefacts of the completed ones are in S3 when this returns.

    :param course: of the job.
    :param dataset: what to train on.
    :param algorithms: what the request names, ``None`` for all.
    :raises JobFailure: no candidate could be trained, or the request asks for what this mode does not have (R65).
    """
    run = course.run
    chosen = algorithms_for(algorithms)
    if dataset.weight is not None:
        raise JobFailure(
            f"The sample weight column '{dataset.weight}' can't be used in HYPERPARAMETER_TUNING: set Mode to "
            "ENSEMBLING, or leave the weights out."
        )
    run.events.phase("FeatureEngineering")
    if crossing.may_cross(run.spec.request, dataset, least=2):
        dataset = crossing.join(dataset)
    began = time.monotonic()
    transformer = FeatureTransformer.fit(dataset.train[dataset.columns], dataset.features)
    bench = _workbench(run, dataset, transformer)
    space = SearchSpace(
        algorithms=chosen,
        classes=bench.classes,
        rows=len(bench.measuring.folds[0].train),
        objective=dataset.objective,
        logarithmic=not bench.classes and may_be_logarithmic(bench.measuring.everything.values),
    )
    log.info(
        "Features of %d columns are ready after %.1f s; %d folds, samples of %s ninths",
        len(dataset.features),
        time.monotonic() - began,
        len(bench.measuring.folds),
        [share for share, _ in bench.measuring.samples],
    )
    run.events.phase("ModelTuning")
    tuning = Tuning(course, dataset, transformer, bench, Search(space, run.spec.name))
    tuning.run()
    return tuning


def _workbench(run: Run, dataset: TabularDataset, transformer: FeatureTransformer) -> Workbench:
    classes = len(dataset.labels)
    train = Table(transformer, dataset.train[dataset.columns], _values(dataset, dataset.train))
    if dataset.train is dataset.validation:
        measuring = plan.Measuring.crossing(train, classes)
    else:
        validation = Table(transformer, dataset.validation[dataset.columns], _values(dataset, dataset.validation))
        size = int(dataset.train[dataset.columns].memory_usage(index=False).sum())
        measuring = plan.Measuring.holdout(train, validation, classes, sampled=size >= plan.FIDELITY_BYTES)
    return Workbench(
        measuring=measuring,
        problem_type=dataset.problem_type,
        objective=dataset.objective,
        classes=classes,
        threads=run.spec.threads,
        sample=Part(train, metrics.sample(len(train), TRAIN_SAMPLE)),
    )


def _values(dataset: TabularDataset, rows: pd.DataFrame) -> np.ndarray:
    values = rows[dataset.target]
    if not dataset.classification:
        return np.asarray(values, dtype="float64")
    codes = {label: code for code, label in enumerate(dataset.labels)}
    return np.asarray(values.map(codes), dtype="int64")


@dataclass
class Tuning:
    """A search.

    :param course: of the job.
    :param dataset: what is trained on; the validation rows are those that candidates are measured on.
    :param transformer: of the features.
    :param bench: trains candidates.
    :param search: proposes them.
    :param best: the best candidate, and what it is made of; ``None`` if the time was over before the first was done.
    :param secondary: the secondary status that the search ended with.
    """

    course: Course
    dataset: TabularDataset
    transformer: FeatureTransformer
    bench: Workbench
    search: Search
    best: tuple[Candidate, Result] | None = None
    secondary: str = "MaxCandidatesReached"
    _reading: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._exporter = Exporter(self.course, self.dataset, self.transformer)
        self._row = self.dataset.train[self.dataset.columns].iloc[:1]

    def run(self) -> None:
        """Make candidates until there are enough of them or the time is over.

        :raises JobFailure: no candidate could be trained.
        """
        course = self.course
        end = Clock(course.for_training())
        took: list[float] = []
        failures = 0
        for _ in range(course.criteria["MaxCandidates"]):
            # Half of a usual candidate's time is not enough to learn anything from beginning it.
            usual = statistics.median(took) if took else 0.0
            if end.left is not None and end.left <= 0.5 * usual:
                self.secondary = OUT_OF_TIME
                break
            began = time.monotonic()
            candidate = self._one(self.search.propose(), end)
            took.append(time.monotonic() - began)
            failures = failures + 1 if candidate.status == "Failed" else 0
            if failures >= _MAX_FAILURES:
                log.error("the search is given up after %d failed candidates in a row", failures)
                self.secondary = "Completed"
                break
        log.info("%d candidates in %.1f s, %d of them completed", len(took), sum(took), len(course.completed))
        course.without_result()

    def _one(self, proposal: Proposal, end: Clock) -> Candidate:
        """Train one candidate and report it."""
        number, choice, course = proposal.number + 1, proposal.choice, self.course

        def work(candidate: Candidate) -> Mapping[str, str]:
            candidate.parameters = {"features": choice.view, "balanced": choice.balanced, **choice.options}
            try:
                result = self._train(proposal, end)
                candidate.threshold = result.measured.threshold
                candidate.validation = {**result.measured.metrics, "InferenceLatency": self._latency(result.model)}
                candidate.train = result.train
                candidate.containers, digests = self._exporter.export(number, choice, result.model, candidate.threshold)
            except Stopped:
                # Too slow counts as bad: the search must not propose it again and again.
                self.search.pruned(proposal)
                raise
            except Exception:
                self.search.failed(proposal)
                raise
            self.search.completed(proposal, result.measured.value)
            results.append(result)
            return digests

        results: list[Result] = []
        candidate = course.make(f"trial-{number:03d}-{choice.algorithm}", self._exporter.steps(number, choice), work)
        if results and course.best() is candidate:
            self.best = candidate, results[0]
        return candidate

    def _train(self, proposal: Proposal, end: Clock) -> Result:
        limit = self.course.criteria.get(PER_CANDIDATE)
        clock = end if limit is None else end.within(limit)
        if limit is not None:
            # Made here and not in the copy, what candidates share is there for the next ones too.
            self.bench.prepare(proposal.choice)
        return self.course.limited(
            lambda ask: self.bench.run(proposal.choice, clock, lambda step, value: bool(ask((step, value)))),
            lambda question: self.search.hopeless(proposal, *question),
        )

    def scores(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the best candidate's answers for rows."""
        if self.best is None:
            raise JobFailure("No candidate was completed: there is nothing to predict with.")
        model = self.best[1].model
        return model.scores(self.transformer.transform(rows[self.dataset.columns], model.view))

    def _latency(self, model: TrainedAlgorithm) -> float:
        """Seconds from one row to its prediction."""
        if model.view not in self._reading:
            self._reading[model.view] = median_seconds(lambda: self.transformer.transform(self._row, model.view))
        matrix = self.transformer.transform(self._row, model.view)
        return self._reading[model.view] + median_seconds(lambda: model.scores(matrix))
