"""Trains ENSEMBLING jobs with AutoGluon, which Autopilot's ensembling mode uses too."""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.errors import listing
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.data.target import BINARY, MULTICLASS, REGRESSION
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.course import (
    OUT_OF_TIME,
    PER_CANDIDATE,
    PER_JOB,
    Clock,
    Course,
    median_seconds,
)
from airflow_automl.local.training.engines.course import completion_criteria as criteria_with
from airflow_automl.local.training.engines.tabular import modes
from airflow_automl.local.training.engines.tabular import reports as reports
from airflow_automl.local.training.engines.tabular.ensembling import plan as planning
from airflow_automl.local.training.engines.tabular.ensembling.features import TARGET, WEIGHT, prepare
from airflow_automl.local.training.engines.tabular.ensembling.model import answers
from airflow_automl.local.training.engines.tabular.tuning.engine import linear_answers, workbench
from airflow_automl.local.training.engines.tabular.tuning.features import FeatureTransformer

log = logging.getLogger(__name__)

_PROBLEMS = {BINARY: "binary", MULTICLASS: "multiclass", REGRESSION: "regression"}

_DATE_PARTS = ("year", "month", "day", "dayofweek", "dayofyear", "hour", "minute")

LINEAR_ROWS = 20_000
"""Rows that the linear model learns from, which the best candidate is compared with."""

TRAIN_SAMPLE = 5000
"""Rows of the training data that the Train metrics are measured on."""


def measure(
    course: Course, dataset: TabularDataset, predictor: Any, candidates: Mapping[str, Candidate], best: Candidate
) -> None:
    """Complete the candidates' metrics: Train, and InferenceLatency in seconds for one row.

    :param course: of the job; what does not fit into its time is left out.
    :param candidates: AutoGluon's name of a model → its candidate.
    :param best: the best candidate, which comes first.
    """
    from autogluon.common.utils.log_utils import set_logger_verbosity

    set_logger_verbosity(0)
    sample = dataset.train.iloc[metrics.sample(len(dataset.train), TRAIN_SAMPLE)]
    rows = prepare(sample, dataset.features)
    transformed = predictor.transform_features(rows)
    truth, weights = sample[dataset.target].to_numpy(), dataset.weights(sample)
    clock = Clock(course.for_report(60.0))
    for name, candidate in sorted(candidates.items(), key=lambda entry: entry[1] is not best):
        if clock.passed:
            log.warning("No time left to measure %s on the training data", name)
            break
        # One at a time: all of them may be more than fits into memory, and take longer to load than there is time.
        # AutoGluon's own check of the memory would take longer than the measurement.
        predictor.persist(models=[name], max_memory=None)
        predicted = answers(predictor, transformed, name, dataset.labels, transformed=True)
        candidate.train = metrics.scores(
            dataset.problem_type, truth, predicted, dataset.labels, weights, candidate.threshold
        )
        candidate.validation["InferenceLatency"] = median_seconds(partial(predictor.predict, rows.iloc[:1], model=name))
        predictor.unpersist()
        course.run.events.candidate(candidate.document())


def completion_criteria(given: dict[str, int]) -> dict[str, int]:
    """Return the limits that a job runs under: the request's; if it has none, an hour (R47).

    With a time for the job, the plan decides how many candidates there are.
    """
    return given if PER_JOB in given else criteria_with(given, MaxCandidates=planning.DEFAULT_CANDIDATES)


def arrange(course: Course, dataset: TabularDataset) -> TabularDataset:
    """Return the dataset with the rows divided as the job trains on them."""
    sizes = (len(dataset.train), len(dataset.features), len(dataset.labels))
    crossed = modes.may_cross(*sizes, course.for_training(), course.run.spec.threads)
    return modes.arrange(course.run.spec.request, dataset, modes.FOLDS, crossed)


def plan_for(course: Course, dataset: TabularDataset, algorithms: tuple[str, ...] | None) -> planning.Plan:
    """Return what the job trains in the time that it has.

    :param dataset: as :func:`arrange` returns it.
    """
    return planning.make(
        rows=len(dataset.train),
        features=len(dataset.features),
        classes=len(dataset.labels),
        algorithms=algorithms,
        max_candidates=course.criteria.get("MaxCandidates"),
        seconds=course.for_training(),
        seconds_per_model=course.criteria.get(PER_CANDIDATE),
        threads=course.run.spec.threads,
        memory_limit=course.run.spec.memory_limit,
        crossed=dataset.crossed,
        objective=dataset.objective,
    )


def run(course: Course, dataset: TabularDataset, algorithms: tuple[str, ...] | None) -> str:
    """Train the candidates of a job and report on the best one.

    :return: the secondary status that the job ends with.
    :raises JobFailure: no candidate could be trained.
    """
    course.run.events.phase("PreTraining")
    dataset = arrange(course, dataset)
    predictor, candidates, known = train(course, dataset, algorithms)
    if not candidates or not course.time_for_report():
        return OUT_OF_TIME
    best = course.best()
    measure(course, dataset, predictor, candidates, best)
    name = next(name for name, entry in candidates.items() if entry is best)

    def scores(rows: pd.DataFrame) -> np.ndarray:
        return answers(predictor, prepare(rows, dataset.features), name, dataset.labels)

    def linear(clock: Clock) -> np.ndarray:
        learned = dataset if dataset.crossed else _sampled(dataset)
        transformer = FeatureTransformer.fit(learned.train[learned.columns], learned.features)
        return linear_answers(workbench(course.run, learned, transformer), clock)

    opened = partial(unseen, predictor, name, dataset, scores)
    return reports.report(course, dataset, best, scores, known[name], opened, linear, "Completed")


def _sampled(dataset: TabularDataset) -> TabularDataset:
    """Return the dataset with no more rows to learn from than a linear model needs; no class is lost."""
    some = metrics.sample(len(dataset.train), LINEAR_ROWS)
    if dataset.classification:
        some = np.union1d(some, np.flatnonzero(~dataset.train[dataset.target].duplicated()))
    return dataclasses.replace(dataset, train=dataset.train.iloc[some])


@contextmanager
def unseen(predictor: Any, name: str, dataset: TabularDataset, scores: reports.Scores) -> Iterator[reports.Unseen]:
    """Open a model for validation rows that it has not seen: in a cross-validation, for those of the first fold.

    :param name: AutoGluon's, of the model.
    :param scores: the model's answers for rows.
    """
    predictor.persist(models=[name], max_memory=None)
    try:
        if not dataset.crossed:
            yield reports.Unseen(dataset.validation, scores)
            return
        from autogluon.core.models import WeightedEnsembleModel

        trainer = predictor._trainer
        bags = [bag for bag in trainer.models.values() if not isinstance(bag, WeightedEnsembleModel)]
        divided = [bag for bag in bags if bag.n_children > 1]
        note = reports.FIRST_FOLD if divided else ""
        if len(divided) < len(bags):
            note += " Forests learned from all rows, so what they rely on seems more important than it is."
        rows = dataset.validation
        if divided:
            folds = divided[0]._cv_splitters[0].split(X=trainer.load_X(), y=trainer.load_y())
            rows = rows.iloc[next(iter(folds))[1]]
        for bag in divided:
            # Only in memory; what was published is not touched.
            bag.models = bag.models[:1]
        yield reports.Unseen(rows, scores, note.strip())
    finally:
        predictor.unpersist()


def train(
    course: Course, dataset: TabularDataset, algorithms: tuple[str, ...] | None
) -> tuple[Any, dict[str, Candidate], dict[str, np.ndarray]]:
    """Train and report the candidates; their artefacts are in S3 when this returns.

    :param dataset: what to train on.
    :return: AutoGluon's predictor, its name of a model → the completed candidate (none if the time was over first), and
        its name → the answers for the validation rows, given by models that had not seen the row.
    :raises JobFailure: no candidate could be trained.
    """
    # Not at the top: importing AutoGluon takes seconds, which a job that fails on its data need not wait for. Not after
    # the plan: AutoGluon would take these seconds for some of its own, and the ensemble, which comes last, be too late.
    import autogluon.tabular  # noqa: F401

    from airflow_automl.local.training.engines.tabular.ensembling.watch import CandidateWatch

    run = course.run
    plan = plan_for(course, dataset, algorithms)
    for algorithm, packages in plan.missing.items():
        log.warning("Algorithm %s is not trained: %s not installed", algorithm, listing(packages))
    if requested := [name for name in plan.missing if algorithms and name in algorithms]:
        lacking = dict.fromkeys(package for name in requested for package in plan.missing[name])
        run.events.partial_failure(
            f"The algorithms {listing(requested)} were not trained: {listing(lacking)} not installed. "
            "Run `pip install 'airflow-automl[torch]'` where the embedded Autopilot runs.",
            "Candidate",
        )
    run.events.phase("TrainingModels")
    watch = CandidateWatch(course, dataset)
    try:
        began, worked = time.monotonic(), time.process_time()
        predictor = fit(dataset, plan, str(run.folder / "predictor"), callbacks=[watch])
        watch.wait()
        log.info("TrainingModels took %.1f s, %.1f s of CPU", time.monotonic() - began, time.process_time() - worked)
    finally:
        watch.close()
    course.without_result()
    completed = {name: entry for name, entry in watch.candidates.items() if entry.status == "Completed"}
    return predictor, completed, watch.answers


def fit(dataset: TabularDataset, plan: planning.Plan, path: str, callbacks: list[Any] | None = None) -> Any:
    """Run AutoGluon as planned.

    :param plan: models and limits.
    :param path: where AutoGluon keeps its files.
    :param callbacks: AutoGluon's.
    :return: the ``TabularPredictor``.
    """
    from autogluon.common.features.infer_types import check_if_nlp_feature, get_type_map_raw
    from autogluon.features.generators import DatetimeFeatureGenerator
    from autogluon.tabular import FeatureMetadata, TabularPredictor
    from autogluon.tabular.registry import ag_model_registry

    from airflow_automl.local.training.engines.tabular.ensembling import tuner

    for kind in (tuner.Network, tuner.SparseLinear):
        if not ag_model_registry.exists(kind):
            ag_model_registry.add(kind)
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
    others = (dataset.target, dataset.weight)
    train = prepare(dataset.train, dataset.features, others)
    rows = train.drop(columns=[TARGET, WEIGHT], errors="ignore")
    if dataset.crossed and len(dataset.validation) < len(dataset.train):
        options["ag_args_ensemble"] = {**options["ag_args_ensemble"], "custom_splits": _folds(dataset)}
        # AutoGluon would drop a class of one row. Its copy is in no fold.
        train = pd.concat([train, train[~train[TARGET].duplicated(keep=False)]], ignore_index=True)
    text = [
        name
        for name, feature in zip(rows, dataset.features, strict=True)
        if feature.role == "text" or (feature.role == "auto" and check_if_nlp_feature(rows[name]))
    ]
    # What codecs call text stays text: AutoGluon would guess dates in it, one by one, and take 10:05 for one of today.
    options["feature_metadata"] = FeatureMetadata(get_type_map_raw(rows), {"text": text})
    # AutoGluon's own parts of a date lack the time of day.
    dates = DatetimeFeatureGenerator(features=[*_DATE_PARTS])
    options["_feature_generator_kwargs"] = {
        "enable_datetime_features": False,
        # Only the tuner's models read them.
        "enable_raw_text_features": True,
        "custom_feature_generators": [dates],
    }
    with nullcontext() if plan.neural else _without("torch"):
        return predictor.fit(
            train_data=train,
            tuning_data=None if dataset.crossed else prepare(dataset.validation, dataset.features, others),
            hyperparameters=dict(plan.hyperparameters),
            callbacks=callbacks,
            **options,
        )


def _folds(dataset: TabularDataset) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return positions to learn from and to measure on, where some rows only learn."""
    from sklearn.model_selection import StratifiedKFold

    measured, rows = dataset.validation, np.arange(len(dataset.train), dtype="int32")
    splitter = StratifiedKFold(modes.FOLDS, shuffle=True, random_state=0)
    return [
        (np.delete(rows, measure), rows[measure]) for _, measure in splitter.split(measured, measured[dataset.target])
    ]


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Keep AutoGluon from importing a package for seconds only to log its version."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
