"""What is measured once training is over: metrics on the training data, and how long one prediction takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.engines import metrics
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.course import Clock, Course, median_seconds
from airflow_automl.local.training.engines.tabular.ensembling.model import prepare

log = logging.getLogger(__name__)

TRAIN_SAMPLE = 5000
"""Rows of the training data that the Train metrics are measured on."""


def measure(
    course: Course, dataset: TabularDataset, predictor: Any, candidates: Mapping[str, Candidate], best: Candidate
) -> None:
    """Complete the candidates' metrics: Train, and InferenceLatency in seconds for one row.

    :param course: of the job; what does not fit into its time is left out.
    :param dataset: what was trained on.
    :param predictor: AutoGluon's.
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
        predicted = _predictions(predictor, transformed, name)
        if dataset.classification:
            predicted = predicted[list(dataset.labels)]
        candidate.train = metrics.scores(
            dataset.problem_type, truth, predicted.to_numpy(), dataset.labels, weights, candidate.threshold
        )
        candidate.validation["InferenceLatency"] = median_seconds(partial(predictor.predict, rows.iloc[:1], model=name))
        predictor.unpersist()
        course.run.events.candidate(candidate.document())


def scores(dataset: TabularDataset, predictor: Any, model: str) -> Callable[[pd.DataFrame], np.ndarray]:
    """What a model says about rows: predictions, or probabilities in the order of the labels.

    :param dataset: what was trained on.
    :param predictor: AutoGluon's.
    :param model: AutoGluon's name of the model.
    """

    def predict(rows: pd.DataFrame) -> np.ndarray:
        frame = prepare(rows, dataset.features)
        if not dataset.labels:
            return np.asarray(predictor.predict(frame, model=model, as_pandas=False), dtype="float64")
        found = predictor.predict_proba(frame, model=model)
        return np.asarray(found[list(dataset.labels)].to_numpy(), dtype="float64")

    return predict


def _predictions(predictor: Any, transformed: Any, model: str) -> Any:
    predict = predictor.predict_multi if predictor.problem_type == "regression" else predictor.predict_proba_multi
    return predict(transformed, models=[model], transform_features=False)[model]
