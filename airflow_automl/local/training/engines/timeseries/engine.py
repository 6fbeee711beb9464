"""Trains TimeSeriesForecastingJobConfig jobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from airflow_automl.local.training.data.channels import resolve
from airflow_automl.local.training.data.failures import JobFailure, listing
from airflow_automl.local.training.engines.base import DEFAULT_RUNTIME, Run
from airflow_automl.local.training.engines.budget import Budget
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.reports.best import best_of
from airflow_automl.local.training.engines.timeseries import results
from airflow_automl.local.training.engines.timeseries.algorithms.base import Context, Forecaster, OutOfTime
from airflow_automl.local.training.engines.timeseries.algorithms.catalog import ALGORITHMS, available, forecaster
from airflow_automl.local.training.engines.timeseries.backtest import Backtest
from airflow_automl.local.training.engines.timeseries.dataset import PROBLEM_TYPE, Dataset, load
from airflow_automl.local.training.engines.timeseries.ensemble import judge, weigh
from airflow_automl.local.training.engines.timeseries.explain import explain
from airflow_automl.local.training.engines.timeseries.export import export, steps
from airflow_automl.local.training.engines.timeseries.insights import give_insights, verdict
from airflow_automl.local.training.engines.timeseries.serving import ForecastModel

__all__ = ["ENSEMBLE", "engine"]

log = logging.getLogger(__name__)

ENSEMBLE = "ensemble"
OUT_OF_TIME = "MaxAutoMLJobRuntimeReached"

REPORTS = 2.0
"""Seconds that must be left for a report to be worth beginning."""

EXPLAIN_SECONDS = 30.0


@dataclass
class _Trained:
    """A candidate with what it is made of."""

    label: str
    candidate: Candidate
    weights: Mapping[str, float]
    forecasts: Sequence[np.ndarray]
    replaced: int


class TimeSeriesEngine:
    """Trains each algorithm, then the ensemble over them."""

    def run(self, run: Run) -> str:
        """See :class:`airflow_automl.local.training.engines.base.Engine`."""
        spec, events = run.spec, run.events
        names = _named(spec.config)
        events.phase("AnalyzingData")
        channels = resolve(run.store, spec.request["AutoMLJobInputDataConfig"])
        dataset = load(run.store, channels, spec.request, run.folder / "download")
        log.info(
            "%d series of at most %d steps of %s, %d features; %s",
            len(dataset.panel),
            dataset.panel.longest,
            dataset.panel.settings.frequency,
            len(dataset.panel.features),
            dataset.objective,
        )
        # The six algorithms and their ensemble count as one (R49).
        criteria = {"MaxCandidates": 1, **spec.criteria}
        if not spec.criteria:
            criteria["MaxAutoMLJobRuntimeInSeconds"] = DEFAULT_RUNTIME
        events.resolved(PROBLEM_TYPE, dataset.objective, None, criteria)
        events.phase("PreTraining")
        usable = _usable(run, names)
        backtest = Backtest.over(dataset.panel)
        ends = None
        if spec.deadline is None and "MaxAutoMLJobRuntimeInSeconds" in criteria:
            ends = spec.started + criteria["MaxAutoMLJobRuntimeInSeconds"]
        budget = Budget(spec.deadline, ends)
        events.phase("TrainingModels")
        training = _Training(run, dataset, backtest, budget)
        for place, name in enumerate(usable):
            training.train(name, len(usable) - place)
        training.combine()
        return self._report(run, dataset, backtest, training, budget)

    def _report(self, run: Run, dataset: Dataset, backtest: Backtest, training: _Training, budget: Budget) -> str:
        if not training.trained:
            if training.stopped:
                return OUT_OF_TIME
            raise JobFailure("No candidate could be trained: " + "; ".join(training.failures)[:800])
        run.events.phase("GeneratingExplainabilityReport")
        found = {each.candidate.name: each for each in training.trained}
        best = found[best_of([each.candidate for each in training.trained], dataset.objective).name]
        if not budget.allows(REPORTS):
            return OUT_OF_TIME
        _explain(run, dataset, training, best, budget)
        run.events.phase("GeneratingModelInsightsReport")
        if not budget.allows(REPORTS):
            return OUT_OF_TIME
        _give_insights(run, dataset, backtest, training, best)
        return OUT_OF_TIME if training.stopped_by_job else "Completed"


class _Training:
    """The candidates of a job as they come to be."""

    def __init__(self, run: Run, dataset: Dataset, backtest: Backtest, budget: Budget) -> None:
        self._run = run
        self._dataset = dataset
        self._backtest = backtest
        self._budget = budget
        self._members: dict[str, Forecaster] = {}
        self.trained: list[_Trained] = []
        self.failures: list[str] = []
        self.stopped = False
        self.stopped_by_job = False

    def train(self, name: str, waiting: int) -> None:
        """Train one algorithm: measure it on the backtests, then let it learn from everything.

        :param name: of the algorithm.
        :param waiting: how many algorithms share the time that is left, this one included.
        """
        candidate = self._begin(name)
        began = time.monotonic()
        try:
            algorithm = forecaster(name)
            forecasts, replaced = self._backtest.run(algorithm, self._context(waiting, 0.6))
            candidate.validation = _required(self._backtest.measure(forecasts), self._dataset.objective)
            self._members[name] = algorithm.fit(self._dataset.panel, self._context(waiting, 1.0))
        except OutOfTime:
            self._stop(candidate, name, time.monotonic() - began)
            return
        except Exception as error:
            self._fail(candidate, name, error)
            return
        self._complete(_Trained(name, candidate, {name: 1.0}, forecasts, replaced))
        log.info("%s took %.1f s", name, time.monotonic() - began)

    def combine(self) -> None:
        """Weigh what was trained against each other."""
        if len(self.trained) < 2:
            return
        candidate = self._begin(ENSEMBLE)
        objective, quantiles = self._dataset.objective, self._dataset.panel.settings.quantiles
        said = {each.label: each.forecasts for each in self.trained}
        windows = self._backtest.windows
        forecasts = judge(windows, said, objective, quantiles)
        candidate.validation = self._backtest.measure(forecasts)
        weights = weigh(windows, said, objective, quantiles)
        replaced = sum(each.replaced for each in self.trained if each.label in weights)
        self._complete(_Trained(ENSEMBLE, candidate, weights, forecasts, replaced))

    def model(self, trained: _Trained) -> ForecastModel:
        """A candidate as it is served."""
        dataset = self._dataset
        return ForecastModel(
            dataset.panel.settings,
            dataset.panel.calendar,
            dataset.related,
            dataset.columns,
            dataset.reader,
            trained.weights,
            self._members,
            self._run.spec.threads,
        )

    def summary(self, trained: _Trained) -> dict[str, Any]:
        """Of a candidate's backtests."""
        return results.summary(
            trained.label,
            self._dataset.objective,
            self._backtest,
            trained.forecasts,
            trained.weights,
            trained.replaced,
        )

    def _context(self, waiting: int, part: float) -> Context:
        """What an algorithm may use: its share of the job's time, and no more than the request allows for one."""
        limits = []
        left = self._budget.for_training()
        if left is not None:
            limits.append(left / waiting * part)
        per_candidate = self._run.spec.criteria.get("MaxRuntimePerTrainingJobInSeconds")
        if per_candidate is not None:
            limits.append(float(per_candidate) * 0.5)
        return Context(self._run.spec.threads, time.monotonic() + min(limits) if limits else None)

    def _begin(self, label: str) -> Candidate:
        spec = self._run.spec
        candidate = Candidate(
            Candidate.name_for(spec, label), PROBLEM_TYPE, self._dataset.objective, steps(self._run, label)
        )
        self._run.events.candidate(candidate.document())
        return candidate

    def _complete(self, trained: _Trained) -> None:
        run, candidate, label = self._run, trained.candidate, trained.label
        try:
            model = self.model(trained)
            one = self._dataset.panel.of(self._dataset.panel.series[:1])
            began = time.monotonic()
            model.of(one)
            candidate.validation["InferenceLatency"] = time.monotonic() - began
            containers, digests = export(run, self._dataset, label, trained.weights, self._members)
            candidate.backtest = results.write(
                run, candidate.name, self.summary(trained), self._backtest, trained.forecasts
            )
        except Exception as error:
            self._fail(candidate, label, error)
            return
        candidate.complete(containers)
        self.trained.append(trained)
        run.events.candidate(candidate.document(), digests)

    def _stop(self, candidate: Candidate, name: str, seconds: float) -> None:
        text = f"{name} was stopped after {seconds:.0f} s: its time was over, or too short for all series."
        log.warning("%s", text)
        candidate.validation = {}
        candidate.stop(text)
        self.stopped = True
        left = self._budget.left()
        self.stopped_by_job = self.stopped_by_job or (left is not None and left < REPORTS)
        self._run.events.candidate(candidate.document())

    def _fail(self, candidate: Candidate, name: str, error: Exception) -> None:
        reason = error.reason if isinstance(error, JobFailure) else f"{type(error).__name__}: {error}"
        log.warning("%s failed", name, exc_info=error)
        candidate.validation = {}
        candidate.fail(f"{name} failed: {reason}")
        self.failures.append(f"{name}: {reason}")
        self._run.events.candidate(candidate.document())
        self._run.events.partial_failure(f"The candidate {name} failed: {reason}", "Candidate")


def _named(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    generation = config.get("CandidateGenerationConfig") or {}
    named = [name for entry in generation.get("AlgorithmsConfig") or () for name in entry.get("AutoMLAlgorithms") or ()]
    unknown = [name for name in named if name not in ALGORITHMS]
    if unknown:
        raise JobFailure(f"{listing(unknown)} does not forecast; algorithms are {listing(ALGORITHMS)} (R58).")
    return tuple(dict.fromkeys(named)) or None


def _usable(run: Run, names: tuple[str, ...] | None) -> list[str]:
    """The algorithms to train; those that were asked for and can't be trained here are told about (R57, R58)."""
    usable, missing = available(names or ALGORITHMS)
    for name, package in missing.items():
        log.warning("%s is not trained: the package %s is not installed", name, package)
        if names:
            run.events.partial_failure(
                f"The algorithm {name} was not trained: the package {package} is not installed where the embedded "
                "Autopilot runs (pip install 'airflow-automl[timeseries,torch]').",
                "Candidate",
            )
    if not usable:
        raise JobFailure(
            f"{listing(missing)} need the package {listing(set(missing.values()))}, which is not installed: run "
            "`pip install 'airflow-automl[timeseries,torch]'` where the embedded Autopilot runs, or name other "
            "algorithms."
        )
    return usable


def _required(found: dict[str, float], objective: str) -> dict[str, float]:
    if objective in found:
        return found
    why = "no series changes from one season to the next" if objective == "MASE" else "all values to forecast are zero"
    raise JobFailure(f"the objective {objective} is undefined, because {why}; choose RMSE")


def _explain(run: Run, dataset: Dataset, training: _Training, best: _Trained, budget: Budget) -> None:
    """Only additional columns and holidays can be explained: without them there is no such report."""
    if not dataset.panel.features:
        return
    try:
        model = training.model(best)
        seconds = budget.share(EXPLAIN_SECONDS, 0.3)
        best.candidate.explainability = explain(run, dataset, best.candidate.name, model.of, seconds)
    except Exception as error:
        log.exception("The explainability report failed")
        run.events.partial_failure(
            f"The explainability report of {best.candidate.name} failed: {error}", "ExplainabilityError"
        )
        return
    run.events.candidate(best.candidate.document())


def _give_insights(run: Run, dataset: Dataset, backtest: Backtest, training: _Training, best: _Trained) -> None:
    """Insights on the best candidate, and in its backtest results the series that the report draws."""
    try:
        summary = training.summary(best)
        log.info("%s", verdict(summary))
        by_key = {series.key: series for series in dataset.panel.series}
        chosen = dataset.panel.of(by_key[key] for key in results.choose(backtest, best.forecasts))
        ahead = training.model(best).of(chosen)
        summary["examples"] = results.examples(dataset.panel, backtest, best.forecasts, ahead, chosen)
        summary["items"] = results.largest(backtest, best.forecasts)
        summary["data"] = dict(dataset.facts)
        results.write(run, best.candidate.name, summary, backtest, best.forecasts)
        best.candidate.insights = give_insights(
            run,
            best.candidate.name,
            {k: v for k, v in summary.items() if k not in ("examples", "items", "data")},
            dataset.facts,
        )
    except Exception as error:
        log.exception("The model insights failed")
        run.events.partial_failure(f"The model insights of {best.candidate.name} failed: {error}", "ModelInsightsError")
        return
    run.events.candidate(best.candidate.document())


engine = TimeSeriesEngine()
