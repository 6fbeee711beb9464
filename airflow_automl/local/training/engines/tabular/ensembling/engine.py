"""Trains ENSEMBLING jobs with AutoGluon, which Autopilot's ensembling mode itself uses."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np

from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.data.failures import JobFailure, listing
from airflow_automl.local.training.data.target import BINARY, MULTICLASS, REGRESSION
from airflow_automl.local.training.engines.base import DEFAULT_RUNTIME, Run
from airflow_automl.local.training.engines.budget import Budget
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.reports import best
from airflow_automl.local.training.engines.tabular import crossing
from airflow_automl.local.training.engines.tabular.ensembling import measure
from airflow_automl.local.training.engines.tabular.ensembling import plan as planning
from airflow_automl.local.training.engines.tabular.ensembling.export import Exporter
from airflow_automl.local.training.engines.tabular.ensembling.model import TARGET, WEIGHT, prepare

__all__ = ["completion_criteria", "fit", "run", "train"]

log = logging.getLogger(__name__)

REPORTS = 3.0
"""Seconds that must be left for a report to be worth beginning."""

OUT_OF_TIME = "MaxAutoMLJobRuntimeReached"

_PROBLEMS = {BINARY: "binary", MULTICLASS: "multiclass", REGRESSION: "regression"}


def completion_criteria(given: dict[str, int]) -> dict[str, int]:
    """The limits that a job runs under: what the request says, and where it says nothing at all, an hour (R47)."""
    criteria = {"MaxCandidates": planning.DEFAULT_CANDIDATES, **given}
    if not given:
        criteria["MaxAutoMLJobRuntimeInSeconds"] = DEFAULT_RUNTIME
    return criteria


def run(
    run: Run, dataset: TabularDataset, algorithms: tuple[str, ...] | None, criteria: dict[str, int], budget: Budget
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
    run.events.phase("PreTraining")
    seconds = budget.for_training()
    enough = seconds is None or seconds >= planning.CROSSING_SECONDS
    if enough and crossing.may_cross(run.spec.request, dataset, crossing.FOLDS):
        dataset = crossing.join(dataset)
    predictor, candidates, answers = train(run, dataset, algorithms, criteria, budget)
    if not candidates or not budget.allows(REPORTS):
        return OUT_OF_TIME
    run.events.phase("GeneratingExplainabilityReport")
    measure.measure(run, dataset, predictor, candidates, budget)
    if not budget.allows(REPORTS):
        return OUT_OF_TIME
    chosen = best.best_of(candidates.values(), dataset.objective)
    name = next(name for name, entry in candidates.items() if entry is chosen)
    best.explain(run, dataset, chosen, measure.scores(dataset, predictor, name), budget)
    run.events.phase("GeneratingModelInsightsReport")
    if not budget.allows(REPORTS):
        return OUT_OF_TIME
    best.give_insights(run, dataset, chosen, dataset.validation[dataset.target].to_numpy(), answers[name])
    return "Completed"


def train(
    run: Run, dataset: TabularDataset, algorithms: tuple[str, ...] | None, criteria: dict[str, int], budget: Budget
) -> tuple[Any, dict[str, Candidate], dict[str, np.ndarray]]:
    """Train and report the candidates; their artefacts lie in S3 when this returns.

    :param run: the job.
    :param dataset: what to train on; the same rows to learn from and to measure on are cross-validated.
    :param algorithms: what the request names, ``None`` for all.
    :param criteria: the resolved CompletionCriteria.
    :param budget: how much time there is.
    :return: AutoGluon's predictor, its name of a model → the completed candidate (none if the time was over first), and
        its name → the answers for the validation rows, given by models that had not seen the row.
    :raises JobFailure: no candidate could be trained.
    """
    plan = planning.make(
        rows=len(dataset.train),
        problem_type=dataset.problem_type,
        algorithms=algorithms,
        max_candidates=criteria.get("MaxCandidates"),
        seconds=budget.for_training(),
        seconds_per_model=criteria.get("MaxRuntimePerTrainingJobInSeconds"),
        threads=run.spec.threads,
        memory_limit=run.spec.memory_limit,
        crossed=dataset.train is dataset.validation,
    )
    for algorithm, packages in plan.missing.items():
        log.warning("Algorithm %s is not trained: %s not installed", algorithm, listing(packages))
    if requested := [name for name in plan.missing if algorithms and name in algorithms]:
        lacking = dict.fromkeys(package for name in requested for package in plan.missing[name])
        run.events.partial_failure(
            f"The algorithms {listing(requested)} were not trained: {listing(lacking)} not installed. "
            "Run `pip install 'airflow-automl[torch]'` where the embedded Autopilot runs.",
            "Candidate",
        )
    # Not at the top: importing AutoGluon takes seconds, which a job that fails on its data need not wait for.
    import autogluon.tabular  # noqa: F401

    from airflow_automl.local.training.engines.tabular.ensembling.watch import CandidateWatch

    run.events.phase("TrainingModels")
    exporter = Exporter(run.store, dataset, {"job": run.spec.name})
    watch = CandidateWatch(run, dataset, exporter, criteria.get("MaxRuntimePerTrainingJobInSeconds"))
    try:
        began, worked = time.monotonic(), time.process_time()
        predictor = fit(dataset, plan, str(run.folder / "predictor"), callbacks=[watch])
        exporter.wait()
        log.info("TrainingModels took %.1f s, %.1f s of CPU", time.monotonic() - began, time.process_time() - worked)
    finally:
        exporter.close()
    completed = {name: entry for name, entry in watch.candidates.items() if entry.status == "Completed"}
    if not completed:
        if budget.limited and any(entry.status == "Stopped" for entry in watch.candidates.values()):
            # The limit came before the first candidate: the job is complete without one (R52).
            return predictor, {}, {}
        reasons = [entry.failure for entry in watch.candidates.values() if entry.failure]
        raise JobFailure("No candidate could be trained" + (f": {reasons[0]}" if reasons else "."))
    return predictor, completed, watch.answers


def fit(dataset: TabularDataset, plan: planning.Plan, path: str, callbacks: list[Any] | None = None) -> Any:
    """Run AutoGluon as planned.

    :param dataset: what to train on.
    :param plan: models and limits.
    :param path: where AutoGluon keeps its files.
    :param callbacks: AutoGluon's.
    :return: the ``TabularPredictor``.
    """
    from autogluon.tabular import TabularPredictor

    predictor = TabularPredictor(
        label=TARGET,
        problem_type=_PROBLEMS[dataset.problem_type],
        eval_metric=planning.metric_for(dataset.objective, dataset.problem_type),
        path=path,
        sample_weight=None if dataset.weight is None else WEIGHT,
        weight_evaluation=dataset.weight is not None,
        positive_class=dataset.labels[1] if dataset.problem_type == BINARY else None,
        # A rare class is a class: AutoGluon would drop its rows.
        learner_kwargs={"label_count_threshold": 1},
        verbosity=2,
    )
    options = dict(plan.fit)
    crossed = dataset.train is dataset.validation
    text = [f"c{place}" for place, feature in enumerate(dataset.features) if feature.role == "text"]
    others = (dataset.target, dataset.weight)
    train = prepare(dataset.train, dataset.features, others)
    if text:
        from autogluon.tabular import FeatureMetadata

        inferred = FeatureMetadata.from_df(prepare(dataset.train, dataset.features))
        options["feature_metadata"] = inferred.add_special_types({name: ["text"] for name in text})
    return predictor.fit(
        train_data=train,
        tuning_data=None if crossed else prepare(dataset.validation, dataset.features, others),
        hyperparameters=dict(plan.hyperparameters),
        callbacks=callbacks,
        **options,
    )
