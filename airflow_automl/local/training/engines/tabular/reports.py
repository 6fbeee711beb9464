"""The explainability report and the model insights of the best candidate of a tabular job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines import metrics, reports
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.course import Course, Files

ROWS = 40
MAX_ROUNDS = 12
_ROWS_PER_ROUND = 4000
"""Rounds are made of so many predictions, so that the clock is read often enough."""


@dataclass(frozen=True)
class Contributions:
    """Mean absolute contribution of each feature.

    :param values: array of shape (outputs, features): one output for regression and binary problems, else one for each
        class.
    :param expected: mean prediction over the background, for each output.
    :param rows: how many rows were explained.
    :param rounds: how many orders of the features were walked for each row.
    """

    values: np.ndarray
    expected: np.ndarray
    rows: int
    rounds: int


def contributions(frame: pd.DataFrame, predict: Callable[[pd.DataFrame], np.ndarray], seconds: float) -> Contributions:
    """Estimate the contributions on some rows.

    :param frame: rows with the features only; some of them are explained, all are the background.
    :param predict: rows → array of shape (rows, outputs).
    :param seconds: after this no further round is begun; one round is always made.
    """
    until = time.monotonic() + seconds
    random = np.random.default_rng(SEED)
    features = frame.shape[1]
    count = max(4, min(ROWS, len(frame), _ROWS_PER_ROUND // (features + 1)))
    explained = random.choice(len(frame), min(count, len(frame)), replace=False)
    background = frame.iloc[random.choice(len(frame), min(200, len(frame)), replace=False)]
    expected = predict(background).mean(axis=0)
    total = np.zeros((len(explained), features, len(expected)))
    rounds = 0
    order = np.empty(0)
    while rounds < MAX_ROUNDS and (rounds == 0 or time.monotonic() < until):
        if rounds % 2 == 0:
            order = random.permuted(np.tile(np.arange(features), (len(explained), 1)), axis=1)
            other = random.choice(len(frame), len(explained))
        else:
            order = order[:, ::-1]
        total += _walk(frame, explained, other, order, predict)
        rounds += 1
    values = np.abs(total / rounds).mean(axis=0).T
    return Contributions(values, expected, len(explained), rounds)


def _walk(
    frame: pd.DataFrame,
    explained: np.ndarray,
    other: np.ndarray,
    order: np.ndarray,
    predict: Callable[[pd.DataFrame], np.ndarray],
) -> np.ndarray:
    """Contributions of one walk from the other rows to the explained ones: shape (rows, features, outputs)."""
    rows, features = order.shape
    position = np.argsort(order, axis=1)
    steps = np.arange(features + 1)
    columns = {}
    for index, name in enumerate(frame.columns):
        arrived = position[:, index][:, None] < steps[None, :]
        source = np.where(arrived, explained[:, None], other[:, None]).ravel()
        columns[name] = frame[name].take(source).reset_index(drop=True)
    predicted = predict(pd.DataFrame(columns, copy=False)).reshape(rows, features + 1, -1)
    moves = np.diff(predicted, axis=1)
    return np.take_along_axis(moves, position[:, :, None], axis=1)


MAX_SECONDS = 45.0
MAX_ROWS = 20_000
"""Validation rows that the insights are computed on."""

Scores = Callable[[pd.DataFrame], np.ndarray]


def report(
    course: Course, dataset: TabularDataset, candidate: Candidate, scores: Scores, known: np.ndarray, secondary: str
) -> str:
    """Report on the best candidate.

    :param scores: rows → predictions, or probabilities in the order of the labels.
    :param known: the answers for the validation rows, by models that had not seen the row.
    :param secondary: the secondary status that the training ended with.
    :return: the secondary status that the job ends with.
    """
    return course.report(
        candidate,
        lambda: _explain(dataset, candidate.name, scores, course.for_report(MAX_SECONDS, 0.4)),
        lambda: _insights(dataset, candidate, known),
        secondary,
    )


def _explain(dataset: TabularDataset, name: str, scores: Scores, seconds: float) -> Files:
    # Binary problems are explained by the positive class alone: the other one moves by the opposite.
    first = 1 if len(dataset.labels) == 2 else 0
    outputs = [str(label) for label in dataset.labels[first:]] or [dataset.target]
    result = contributions(
        dataset.validation[dataset.columns], lambda rows: scores(rows).reshape(len(rows), -1)[:, first:], seconds
    )
    method = f"Shapley values by sampling: {result.rows} validation rows, {result.rounds} feature orders each"
    names = [f"label{index}" for index in range(len(outputs))]
    explained = {
        label: {
            "global_shap_values": dict(zip(dataset.columns, values.tolist(), strict=True)),
            "expected_value": float(expected),
        }
        for label, values, expected in zip(names, result.values, result.expected, strict=True)
    }
    return reports.explanation(
        name,
        "Mean absolute contribution to the prediction",
        dict(zip(dataset.columns, result.values.mean(axis=0).tolist(), strict=True)),
        method,
        dataset.notes,
        labels=dict(zip(names, outputs, strict=True)),
        explanations={"kernel_shap": explained},
    )


def _insights(dataset: TabularDataset, candidate: Candidate, scores: np.ndarray) -> Files:
    truth = dataset.validation[dataset.target].to_numpy()
    some = metrics.sample(len(truth), MAX_ROWS)
    document = reports.statistics(
        dataset.problem_type, truth[some], scores[some], dataset.labels, candidate.threshold, candidate.validation
    )
    page = reports.page(
        f"Model insights: {candidate.name}", [*reports.notes(dataset.notes), *reports.sections(document)]
    )
    return {"statistics.json": json.dumps(document, indent=1), "report.html": page}
