"""Trains TimeSeriesForecastingJobConfig jobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from airflow_automl.local.errors import JobFailure, listing
from airflow_automl.local.models import artifacts
from airflow_automl.local.training.data.channels import resolve
from airflow_automl.local.training.engines.base import Run
from airflow_automl.local.training.engines.candidates import Candidate, image, step
from airflow_automl.local.training.engines.course import Course, Files, TimeIsUp, completion_criteria
from airflow_automl.local.training.engines.timeseries.algorithms.base import (
    ALGORITHMS,
    BASELINES,
    Context,
    Forecaster,
    available,
    forecaster,
)
from airflow_automl.local.training.engines.timeseries.backtest import Backtest, blend, weigh
from airflow_automl.local.training.engines.timeseries.calibration import calibrate
from airflow_automl.local.training.engines.timeseries.dataset import PROBLEM_TYPE, Dataset, load
from airflow_automl.local.training.engines.timeseries.reports import Results, explain, insights, verdict
from airflow_automl.local.training.engines.timeseries.serving import ForecastModel

log = logging.getLogger(__name__)

ENSEMBLE = "ensemble"

EXPLAIN_SECONDS = 30.0

_BACKTEST_SHARE = 0.6
"""Share of a candidate's time for the backtests; the rest is for learning from everything."""


def train(run: Run) -> str:
    """Train each algorithm and their ensemble; see :data:`airflow_automl.local.training.engines.base.Engine`."""
    spec, events = run.spec, run.events
    names = _named(spec.algorithms)
    events.phase("AnalyzingData")
    channels = resolve(run.store, spec.request["AutoMLJobInputDataConfig"])
    dataset = load(run.store, channels, spec.request, run.folder / "download")
    events.data_failures(dataset.failures)
    log.info(
        "%d series of at most %d steps of %s, %d features; %s",
        len(dataset.panel),
        dataset.panel.longest,
        dataset.panel.settings.frequency,
        len(dataset.panel.features),
        dataset.objective,
    )
    # The six algorithms and their ensemble count as one (R49).
    criteria = completion_criteria(spec.criteria, MaxCandidates=1)
    events.resolved(PROBLEM_TYPE, dataset.objective, None, criteria)
    events.phase("PreTraining")
    usable = _usable(run, names)
    backtest = Backtest.over(dataset.panel)
    events.phase("TrainingModels")
    course = Course(run, PROBLEM_TYPE, dataset.objective, criteria)
    training = _Training(course, dataset, backtest)
    combined = len(usable) > 1
    for place, name in enumerate(usable):
        course.make(name, training.steps(name), partial(training.train, name, len(usable) - place + combined))
    if training.trained and combined:
        course.make(ENSEMBLE, training.steps(ENSEMBLE), training.combine)
    if (secondary := course.without_result()) is not None:
        return secondary
    best = course.best()
    trained = training.trained[best.name]
    return course.report(
        best, lambda: training.explain(best, trained), lambda: training.insights(best, trained), "Completed"
    )


class _Training:
    def __init__(self, course: Course, dataset: Dataset, backtest: Backtest) -> None:
        self._course = course
        self._dataset = dataset
        self._backtest = backtest
        self._members: dict[str, Forecaster] = {}
        self._forecasts: dict[str, list[np.ndarray]] = {}
        self._replaced: dict[str, int] = {}
        self.trained: dict[str, Results] = {}

    def steps(self, label: str) -> list[dict[str, str]]:
        spec = self._course.run.spec
        return [step(spec, "processing-job", "grid"), step(spec, "training-job", f"train-{label}")]

    def train(self, name: str, waiting: int, candidate: Candidate) -> dict[str, str]:
        """Measure one algorithm on the backtests and train it on everything; return the artefact's digest."""
        clock, threads = self._course.for_candidate(waiting), self._course.run.spec.threads
        algorithm, backtest, panel = forecaster(name), self._backtest, self._dataset.panel

        def work(ask: Any) -> tuple[list[np.ndarray], int, Forecaster]:
            measuring = Context(threads, clock.part(_BACKTEST_SHARE))
            forecasts, replaced = backtest.run(algorithm, measuring)
            return forecasts, replaced, algorithm.fit(panel, Context(threads, clock))

        # Networks check the clock at every step; the others may hang in one series.
        share = None if ALGORITHMS[name].needs else clock.left
        self._forecasts[name], self._replaced[name], self._members[name] = self._course.limited(work, share=share)
        return self._publish(candidate, name, {name: 1.0}, self._forecasts[name])

    def combine(self, candidate: Candidate) -> dict[str, str]:
        """Combine the algorithms and the baselines, or take the best baseline if it alone was better.

        Baselines for which there is no time are left out.
        """
        objective, quantiles = self._dataset.objective, self._dataset.panel.settings.quantiles
        forecasts = {each.label: self._forecasts[each.label] for each in self.trained.values()}
        choices = {}
        context = Context(self._course.run.spec.threads, self._course.for_candidate())
        for name in BASELINES:
            try:
                found, self._replaced[name] = self._backtest.run(forecaster(name), context)
                self._members[name] = forecaster(name).fit(self._dataset.panel, context)
            except TimeIsUp:
                log.warning("%s is not a member of the ensemble: there is no time left for it", name)
                continue
            if 2 * self._replaced[name] < sum(len(past) for past in self._backtest.pasts):
                forecasts[name] = choices[name] = found
        mixed = weigh(self._backtest.windows, forecasts, objective, quantiles)
        places = range(len(self._backtest.windows))
        choices[ENSEMBLE] = [blend({name: forecasts[name][place] for name in mixed}, mixed) for place in places]
        chosen = min(choices, key=lambda name: self._backtest.measure(choices[name]).get(objective, np.inf))
        weights = mixed if chosen == ENSEMBLE else {chosen: 1.0}
        return self._publish(candidate, ENSEMBLE, weights, choices[chosen])

    def explain(self, candidate: Candidate, trained: Results) -> Files | None:
        """Explain additional columns and holidays; ``None`` if there are none."""
        if not self._dataset.panel.features:
            return None
        seconds = self._course.for_report(EXPLAIN_SECONDS, 0.3)
        return explain(self._dataset, candidate.name, self._model(trained).of, seconds)

    def insights(self, candidate: Candidate, trained: Results) -> Files:
        """Make the insights, and add the series that the report draws to the backtest results."""
        panel, facts, summary = self._dataset.panel, dict(self._dataset.facts), trained.summary()
        log.info("%s", verdict(summary))
        by_key = {series.key: series for series in panel.series}
        chosen = panel.of(by_key[key] for key in trained.shown())
        examples = trained.examples(chosen, self._model(trained).of(chosen))
        self._write(candidate, trained.files(examples=examples, items=trained.largest(), data=facts))
        return insights(candidate.name, summary, facts)

    def _model(self, trained: Results) -> ForecastModel:
        dataset = self._dataset
        return ForecastModel(
            dataset.panel.settings,
            dataset.panel.calendar,
            dataset.related,
            dataset.columns,
            dataset.reader,
            trained.weights,
            self._members,
            trained.calibration,
            self._course.run.spec.threads,
            dataset.escaped,
        )

    def _write(self, candidate: Candidate, files: Files) -> None:
        candidate.backtest = self._course.write(f"backtest-results/{candidate.name}", files)

    def _publish(
        self,
        candidate: Candidate,
        label: str,
        weights: Mapping[str, float],
        forecasts: Sequence[np.ndarray],
    ) -> dict[str, str]:
        panel, dataset = self._dataset.panel, self._dataset
        calibration, forecasts = calibrate(self._backtest, forecasts, dataset.objective)
        replaced = sum(self._replaced[name] for name in weights)
        trained = Results(label, dataset.objective, self._backtest, weights, calibration, forecasts, replaced)
        candidate.validation = _required(self._backtest.measure(forecasts), dataset.objective)
        model = self._model(trained)
        candidate.parameters = {"algorithm": trained.label, "weights": dict(trained.weights)}
        one = panel.of(panel.series[:1])
        began = time.monotonic()
        # With more threads, torch starts a pool, for which copies of this process would wait forever.
        replace(model, threads=1).of(one)
        candidate.validation["InferenceLatency"] = time.monotonic() - began
        names = [*panel.settings.reserved, *(codec.name for codec in dataset.columns)]
        metadata = {
            "engine": "timeseries",
            "algorithm": label,
            "weights": dict(weights),
            "calibration": list(calibration.moves),
            "settings": panel.settings.as_json(),
            "calendar": panel.calendar.as_json(),
            "related": dataset.related.as_json(),
            "reader": dataset.reader.as_json(),
            "escaped": dataset.escaped,
            "features": [{"name": name} for name in names],
            "columns": [feature.as_json() for feature in dataset.columns],
            # Other versions can open the files, too; these are recorded for comparison.
            "written_with": artifacts.versions(["numpy", "statsforecast", "prophet", "torch"]),
        }

        def save(folder: Path) -> None:
            for name in weights:
                (folder / name).mkdir()
                self._members[name].save(folder / name)

        name = candidate.steps[1]["CandidateStepName"]
        uri, digest = self._course.publish(f"training/{name}/output/model.tar.gz", metadata, save)
        candidate.containers = [{"Image": image("forecasting"), "ModelDataUrl": uri, "Environment": {}}]
        self._write(candidate, trained.files())
        self.trained[candidate.name] = trained
        return {uri: digest}


def _named(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    unknown = [name for name in names or () if name not in ALGORITHMS]
    if unknown:
        raise JobFailure(f"{listing(unknown)} does not forecast; algorithms are {listing(ALGORITHMS)} (R58).")
    return names


def _usable(run: Run, names: tuple[str, ...] | None) -> list[str]:
    """Return the algorithms to train; report those of the request that can't be trained here (R57, R58)."""
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
    why = "no series ever changes" if objective == "MASE" else "all values of the backtests are zero"
    raise JobFailure(f"the objective {objective} is undefined, because {why}; choose RMSE")
