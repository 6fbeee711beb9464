"""Tabular jobs: reads the data, settles what the request left open, and hands over to the mode's engine."""

from __future__ import annotations

import logging
from typing import Any

from airflow_automl.local.data import dataset as datasets
from airflow_automl.local.data.channels import resolve
from airflow_automl.local.data.failures import JobFailure
from airflow_automl.local.engines import modes
from airflow_automl.local.engines.base import Run
from airflow_automl.local.engines.budget import Budget
from airflow_automl.local.engines.ensembling import engine as ensembling
from airflow_automl.local.engines.ensembling import measure
from airflow_automl.local.engines.reports import best

__all__ = ["engine"]

log = logging.getLogger(__name__)

REPORTS = 3.0
"""Seconds that must be left for a report to be worth beginning."""


class TabularEngine:
    """Trains TabularJobConfig jobs."""

    def run(self, run: Run) -> str:
        """See :class:`airflow_automl.local.engines.base.Engine`."""
        spec, events = run.spec, run.events
        algorithms = _algorithms(spec.config)
        events.phase("AnalyzingData")
        channels = resolve(run.store, spec.request["AutoMLJobInputDataConfig"])
        mode = modes.resolve(spec.config, channels, algorithms)
        dataset = datasets.load(run.store, channels, spec.request, mode, run.folder / "download")
        log.info(
            "%d rows train, %d validate, %d features; %s, %s, %s",
            len(dataset.train),
            len(dataset.validation),
            len(dataset.features),
            dataset.problem_type,
            dataset.objective,
            mode,
        )
        if mode != modes.ENSEMBLING:
            raise JobFailure("HYPERPARAMETER_TUNING is not trained here yet: set Mode to ENSEMBLING.")
        criteria = ensembling.completion_criteria(dict(spec.criteria))
        events.resolved(dataset.problem_type, dataset.objective, mode, criteria)
        ends = None
        if spec.deadline is None and "MaxAutoMLJobRuntimeInSeconds" in criteria:
            ends = spec.started + criteria["MaxAutoMLJobRuntimeInSeconds"]
        budget = Budget(spec.deadline, ends)
        events.phase("PreTraining")
        predictor, candidates = ensembling.train(run, dataset, algorithms, criteria, budget)
        if not budget.allows(REPORTS):
            return "MaxAutoMLJobRuntimeReached"
        events.phase("GeneratingExplainabilityReport")
        measure.measure(run, dataset, predictor, candidates, budget)
        chosen = best.best_of(candidates.values(), dataset.objective)
        scores = measure.scores(dataset, predictor, next(name for name, entry in candidates.items() if entry is chosen))
        if not budget.allows(REPORTS):
            return "MaxAutoMLJobRuntimeReached"
        best.explain(run, dataset, chosen, scores, budget)
        events.phase("GeneratingModelInsightsReport")
        if not budget.allows(REPORTS):
            return "MaxAutoMLJobRuntimeReached"
        best.give_insights(run, dataset, chosen, scores)
        return "Completed"


def _algorithms(config: Any) -> tuple[str, ...] | None:
    generation = config.get("CandidateGenerationConfig") or {}
    named = [name for entry in generation.get("AlgorithmsConfig") or () for name in entry.get("AutoMLAlgorithms") or ()]
    return tuple(dict.fromkeys(named)) or None


engine = TabularEngine()
