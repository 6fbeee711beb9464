"""Trains HYPERPARAMETER_TUNING jobs: candidate after candidate, until there are enough of them or the time is over."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.data.failures import JobFailure
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines import isolation
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.budget import Budget
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.reports import best as reports
from airflow_automl.local.training.engines.tabular import crossing
from airflow_automl.local.training.engines.tabular.tuning import plan
from airflow_automl.local.training.engines.tabular.tuning.export import Exporter
from airflow_automl.local.training.engines.tabular.tuning.features import FeatureTransformer
from airflow_automl.local.training.engines.tabular.tuning.learners import TrainedAlgorithm
from airflow_automl.local.training.engines.tabular.tuning.search import Proposal, Search
from airflow_automl.local.training.engines.tabular.tuning.space import SearchSpace, algorithms_for
from airflow_automl.local.training.engines.tabular.tuning.table import Part, Table
from airflow_automl.local.training.engines.tabular.tuning.targets import may_be_logarithmic
from airflow_automl.local.training.engines.tabular.tuning.trial import Clock, Pruned, Result, TimeIsUp, Workbench

__all__ = ["Tuned", "completion_criteria", "run", "train"]

log = logging.getLogger(__name__)

DEFAULT_CANDIDATES = 100

REPORTS = 3.0
"""Seconds that must be left for a report to be worth beginning."""

OUT_OF_TIME = "MaxAutoMLJobRuntimeReached"

TRAIN_SAMPLE = 5000
"""Rows of the training data that the Train metrics are measured on."""

_MAX_FAILURES = 10
"""Candidates that may fail in a row before the search is given up: the next ones would too."""

_REPEATS = 5


def completion_criteria(given: Mapping[str, int]) -> dict[str, int]:
    """The limits that a job runs under (R47); without any, it is the number of candidates that ends it."""
    return {"MaxCandidates": DEFAULT_CANDIDATES, **given}


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    :param candidates: those that are Completed, by their name.
    :param best: the one that is the job's BestCandidate; ``None`` if the time was over before the first was done.
    :param dataset: the job's data, with the rows that candidates were measured on as validation rows.
    :param scores: the best candidate's answers for any rows.
    :param validation_scores: its answers for the validation rows, given by models that had not seen the row.
    :param secondary: the secondary status that the search itself ends with.
    """

    candidates: Mapping[str, Candidate]
    best: Candidate | None
    dataset: TabularDataset
    scores: Callable[[pd.DataFrame], np.ndarray]
    validation_scores: np.ndarray
    secondary: str


def run(
    run: Run,
    dataset: TabularDataset,
    algorithms: tuple[str, ...] | None,
    criteria: Mapping[str, int],
    budget: Budget,
) -> str:
    """Train the candidates of a job and report on the best one.

    :param run: the job.
    :param dataset: what to train on.
    :param algorithms: what the request names, ``None`` for all.
    :param criteria: the resolved CompletionCriteria.
    :param budget: how much time there is.
    :return: the secondary status that the job ends with.
    :raises JobFailure: no candidate could be trained.
    """
    tuned = train(run, dataset, algorithms, criteria, budget)
    if tuned.best is None or not budget.allows(REPORTS):
        return OUT_OF_TIME
    run.events.phase("GeneratingExplainabilityReport")
    reports.explain(run, tuned.dataset, tuned.best, tuned.scores, budget)
    if not budget.allows(REPORTS):
        return OUT_OF_TIME
    run.events.phase("GeneratingModelInsightsReport")
    truth = tuned.dataset.validation[tuned.dataset.target].to_numpy()
    reports.give_insights(run, tuned.dataset, tuned.best, truth, tuned.validation_scores)
    return tuned.secondary


def train(
    run: Run,
    dataset: TabularDataset,
    algorithms: tuple[str, ...] | None,
    criteria: Mapping[str, int],
    budget: Budget,
) -> Tuned:
    """Search, and report every candidate; the artefacts of the completed ones lie in S3 when this returns.

    :param run: the job.
    :param dataset: what to train on.
    :param algorithms: what the request names, ``None`` for all.
    :param criteria: the resolved CompletionCriteria.
    :param budget: how much time there is.
    :raises JobFailure: no candidate could be trained, or the request asks for what this mode does not have (R65).
    """
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
    tuning = _Tuning(run, dataset, transformer, bench, Search(space, run.spec.name), criteria, budget)
    return tuning.run()


def _workbench(run: Run, dataset: TabularDataset, transformer: FeatureTransformer) -> Workbench:
    classes = len(dataset.labels)
    train = Table(transformer, dataset.train[dataset.columns], _values(dataset, dataset.train))
    if dataset.train is dataset.validation:
        measuring = plan.Measuring.crossing(train, classes)
    else:
        validation = Table(transformer, dataset.validation[dataset.columns], _values(dataset, dataset.validation))
        size = int(dataset.train[dataset.columns].memory_usage(index=False).sum())
        measuring = plan.Measuring.holdout(train, validation, classes, sampled=size >= plan.FIDELITY_BYTES)
    sample = np.arange(len(train))
    if len(sample) > TRAIN_SAMPLE:
        sample = np.sort(np.random.default_rng(SEED).choice(sample, TRAIN_SAMPLE, replace=False))
    return Workbench(
        measuring=measuring,
        problem_type=dataset.problem_type,
        objective=dataset.objective,
        classes=classes,
        threads=run.spec.threads,
        sample=Part(train, sample),
    )


def _values(dataset: TabularDataset, rows: pd.DataFrame) -> np.ndarray:
    values = rows[dataset.target]
    if not dataset.classification:
        return np.asarray(values, dtype="float64")
    codes = {label: code for code, label in enumerate(dataset.labels)}
    return np.asarray(values.map(codes), dtype="int64")


@dataclass
class _Tuning:
    """One search under way."""

    job: Run
    dataset: TabularDataset
    transformer: FeatureTransformer
    bench: Workbench
    search: Search
    criteria: Mapping[str, int]
    budget: Budget
    completed: dict[str, Candidate] = field(default_factory=dict)
    best: tuple[Candidate, Result] | None = None

    def __post_init__(self) -> None:
        self._exporter = Exporter(self.job, self.dataset, self.transformer)
        self._row = self.dataset.train[self.dataset.columns].iloc[:1]
        self._reading: dict[str, float] = {}

    def run(self) -> Tuned:
        seconds = self.budget.for_training()
        ends = None if seconds is None else time.monotonic() + seconds
        limit = self.criteria.get("MaxRuntimePerTrainingJobInSeconds")
        took: list[float] = []
        failures: list[str] = []
        secondary = "MaxCandidatesReached"
        for _ in range(self.criteria["MaxCandidates"]):
            # Half of a usual candidate's time is not enough to learn anything from beginning it.
            usual = statistics.median(took) if took else 0.0
            if ends is not None and time.monotonic() + 0.5 * usual >= ends:
                secondary = OUT_OF_TIME
                break
            began = time.monotonic()
            failure = self._one(self.search.propose(), Clock(limit, ends))
            took.append(time.monotonic() - began)
            failures = [*failures, failure] if failure else []
            if len(failures) >= _MAX_FAILURES:
                log.error("%d candidates failed one after the other: the search is given up", len(failures))
                secondary = "Completed"
                break
        log.info("%d candidates in %.1f s, %d of them completed", len(took), sum(took), len(self.completed))
        if self.best is None and failures:
            raise JobFailure(f"No candidate could be trained: {failures[-1]}")
        if self.best is None and secondary == "MaxCandidatesReached":
            raise JobFailure(
                f"None of {len(took)} candidates was done within MaxRuntimePerTrainingJobInSeconds ({limit} s): "
                "allow more time, or name faster algorithms."
            )
        return self._outcome(secondary)

    def _one(self, proposal: Proposal, clock: Clock) -> str | None:
        """Train one candidate and report it.

        :return: why it failed, ``None`` if it did not.
        """
        number, choice = proposal.number + 1, proposal.choice
        candidate = Candidate(
            name=Candidate.name_for(self.job.spec, f"trial-{number:03d}-{choice.algorithm}"),
            problem_type=self.dataset.problem_type,
            objective=self.dataset.objective,
            steps=self._exporter.steps(number, choice),
        )
        self.job.events.candidate(candidate.document())
        digests: dict[str, str] = {}
        reason = None
        try:
            result = self._train(proposal, clock)
            candidate.threshold = result.measured.threshold
            candidate.validation = {**result.measured.metrics, "InferenceLatency": self._latency(result.model)}
            candidate.train = result.train
            containers, digests = self._exporter.export(number, choice, result.model, candidate.threshold)
        except Pruned as pruned:
            self.search.pruned(proposal)
            candidate.stop(
                f"Given up after {pruned.step}/{plan.RESOURCE} of its training at {self.dataset.objective} "
                f"{pruned.value:.6g}: other candidates did better with as much (Hyperband)."
            )
        except isolation.Overrun:
            self.search.pruned(proposal)
            limit = self.criteria["MaxRuntimePerTrainingJobInSeconds"]
            candidate.stop(f"Still training after MaxRuntimePerTrainingJobInSeconds ({limit} s), and ended.")
        except TimeIsUp:
            # Too slow counts as bad: the search must not propose it again and again.
            self.search.pruned(proposal)
            candidate.stop("The time was over before there was anything to measure.")
        except Exception as error:
            reason = error.reason if isinstance(error, JobFailure) else f"{type(error).__name__}: {error}"
            log.warning("The candidate %s failed", candidate.name, exc_info=True)
            self.search.failed(proposal)
            candidate.fail(f"{choice.algorithm} could not be trained: {reason}")
            self.job.events.partial_failure(f"{candidate.name}: {candidate.failure}", "Candidate")
        else:
            self.search.completed(proposal, result.measured.value)
            candidate.complete(containers)
            self.completed[candidate.name] = candidate
            if self.best is None or reports.best_of([self.best[0], candidate], self.dataset.objective) is candidate:
                self.best = (candidate, result)
        log.info("%s: %s %s", candidate.name, candidate.status, candidate.validation.get(self.dataset.objective, ""))
        self.job.events.candidate(candidate.document(), digests)
        return reason

    def _train(self, proposal: Proposal, clock: Clock) -> Result:
        """Train in this process; with a limit of the candidate's own, in a copy of it that can be killed."""

        def report(step: int, value: float) -> bool:
            return self.search.hopeless(proposal, step, value)

        limit = self.criteria.get("MaxRuntimePerTrainingJobInSeconds")
        if limit is None:
            return self.bench.run(proposal.choice, clock, report)
        # Made here, what candidates share is there for the next ones too.
        self.bench.prepare(proposal.choice)
        result: Result = isolation.run(
            lambda ask: self.bench.run(proposal.choice, clock, lambda step, value: bool(ask((step, value)))),
            limit,
            lambda question: report(*question),
        )
        return result

    def _latency(self, model: TrainedAlgorithm) -> float:
        """Seconds from one row to its prediction."""
        if model.view not in self._reading:
            self._reading[model.view] = _median_seconds(lambda: self.transformer.transform(self._row, model.view))
        matrix = self.transformer.transform(self._row, model.view)
        return self._reading[model.view] + _median_seconds(lambda: model.scores(matrix))

    def _outcome(self, secondary: str) -> Tuned:
        if self.best is None:
            return Tuned({}, None, self.dataset, _nothing, np.empty(0), secondary)
        candidate, result = self.best
        model = result.model

        def scores(rows: pd.DataFrame) -> np.ndarray:
            return model.scores(self.transformer.transform(rows[self.dataset.columns], model.view))

        return Tuned(self.completed, candidate, self.dataset, scores, result.measured.scores, secondary)


def _median_seconds(work: Callable[[], object]) -> float:
    took = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _nothing(rows: pd.DataFrame) -> np.ndarray:
    raise JobFailure("No candidate was completed: there is nothing to predict with.")
