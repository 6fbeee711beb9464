"""The explainability report and the model insights of the best candidate of a tabular job."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import escape

from airflow_automl.local.errors import cause
from airflow_automl.local.training.data.dataset import TabularDataset
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.engines import isolation, metrics, reports
from airflow_automl.local.training.engines.candidates import Candidate
from airflow_automl.local.training.engines.comparison import (
    CONSTANT,
    LINEAR,
    Measure,
    compare,
    constant,
    interval,
    section,
)
from airflow_automl.local.training.engines.course import Clock, Course, Files

log = logging.getLogger(__name__)

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

_PERMUTATIONS = 2
_PERMUTED = 30_000
"""Predictions for the permutation importance, of at least 100 and at most 1,000 rows, beside those of rare classes."""

LINEAR_SECONDS = 15.0

FIRST_FOLD = "Measured on the rows of the first fold, with the models that did not learn from them."


@dataclass(frozen=True)
class Unseen:
    """Validation rows, and a model that did not learn from them.

    :param scores: its answers for rows.
    :param note: what a person should know about it.
    """

    rows: pd.DataFrame
    scores: Scores
    note: str = ""


def permutation(
    dataset: TabularDataset, unseen: Unseen, candidate: Candidate, order: Sequence[str], clock: Clock
) -> dict[str, dict[str, Any]]:
    """Measure how much worse the objective gets when the values of a feature are shuffled.

    Rows of rare classes are measured more often, and weigh less, so that the objective is that of all rows.

    :param order: the features; those at the end are left out if there is no time.
    :return: feature → ``value`` and the ``interval`` that 95 % of the resampled rows and shuffles give; the largest
        value first, equal ones by name. None if the rows leave the objective undefined.
    """
    most = min(max(_PERMUTED // (_PERMUTATIONS * len(order)), 100), 1000)
    truth = unseen.rows[dataset.target].to_numpy()
    some, weights = metrics.draw(truth, most, dataset.weights(unseen.rows), dataset.classification)
    rows = unseen.rows.iloc[some]
    features = rows[dataset.columns].reset_index(drop=True)
    measure = Measure(dataset.problem_type, dataset.objective, truth[some], dataset.labels, weights)
    whole = measure.values(unseen.scores(features), candidate.threshold)
    step = max(1, _ROWS_PER_ROUND // (_PERMUTATIONS * len(rows)))
    found: dict[str, dict[str, Any]] = {}
    for begin in range(0, len(order), step):
        if clock.passed:
            break
        names = order[begin : begin + step]
        shuffled = []
        for name in names:
            random = np.random.default_rng([SEED, dataset.columns.index(name)])
            for _ in range(_PERMUTATIONS):
                values = features[name].take(random.permutation(len(features))).reset_index(drop=True)
                shuffled.append(features.copy(deep=False))
                shuffled[-1][name] = values
        answers = unseen.scores(pd.concat(shuffled, ignore_index=True))
        parts = np.split(answers, len(shuffled))
        for place, name in enumerate(names):
            losses = []
            for number in range(_PERMUTATIONS):
                every = slice(number, None, _PERMUTATIONS)
                part = parts[place * _PERMUTATIONS + number]
                now = measure.values(part, candidate.threshold, every)
                losses.append(np.append(whole[0], whole[1:][every]) - now)
            value = float(np.mean([loss[0] for loss in losses]))
            if np.isfinite(value):
                found[name] = {"value": value, "interval": interval(np.concatenate([loss[1:] for loss in losses]))}
    return dict(sorted(found.items(), key=lambda entry: (-entry[1]["value"], entry[0])))


def report(
    course: Course,
    dataset: TabularDataset,
    candidate: Candidate,
    scores: Scores,
    known: np.ndarray,
    unseen: Callable[[], AbstractContextManager[Unseen]],
    linear: Callable[[Clock], np.ndarray],
    secondary: str,
) -> str:
    """Report on the best candidate.

    :param scores: rows → predictions, or probabilities in the order of the labels.
    :param known: the answers for the validation rows, by models that had not seen the row.
    :param unseen: opens the candidate for rows that it has not seen.
    :param linear: trains a linear model, within a time limit, and answers for the validation rows likewise.
    :param secondary: the secondary status that the training ended with.
    :return: the secondary status that the job ends with.
    """
    return course.report(
        candidate,
        lambda: _explain(dataset, candidate, scores, unseen, course.for_report(MAX_SECONDS, 0.4)),
        lambda: _insights(dataset, candidate, known, linear, course.for_report(LINEAR_SECONDS, 0.4)),
        secondary,
    )


def _explain(
    dataset: TabularDataset,
    candidate: Candidate,
    scores: Scores,
    unseen: Callable[[], AbstractContextManager[Unseen]],
    seconds: float,
) -> Files:
    clock = Clock(seconds)
    # Binary problems are explained by the positive class alone: the other one moves by the opposite.
    first = 1 if len(dataset.labels) == 2 else 0
    outputs = [str(label) for label in dataset.labels[first:]] or [dataset.target]
    result = contributions(
        dataset.validation[dataset.columns], lambda rows: scores(rows).reshape(len(rows), -1)[:, first:], 0.6 * seconds
    )
    mean = dict(zip(dataset.columns, result.values.mean(axis=0).tolist(), strict=True))
    with unseen() as opened:
        shuffled = permutation(dataset, opened, candidate, sorted(mean, key=lambda name: (-mean[name], name)), clock)
        note = opened.note
    method = f"Shapley values by sampling: {result.rows} validation rows, {result.rounds} feature orders each"
    how = f"{dataset.objective} is worse by so much when the values of the feature are shuffled. {note}".strip()
    rows = [[name, each["value"], *each["interval"]] for name, each in shuffled.items()]
    names = [f"label{index}" for index in range(len(outputs))]
    explained = {
        label: {
            "global_shap_values": dict(zip(dataset.columns, values.tolist(), strict=True)),
            "expected_value": float(expected),
        }
        for label, values, expected in zip(names, result.values, result.expected, strict=True)
    }
    return reports.explanation(
        candidate.name,
        "Mean absolute contribution to the prediction",
        mean,
        method,
        dataset.notes,
        [
            (
                "Permutation importance on validation rows",
                reports.table(rows, ["feature", "importance", "95 %: from", "to"]) + f"<p>{escape(how)}</p>",
            )
        ],
        labels=dict(zip(names, outputs, strict=True)),
        explanations={
            "kernel_shap": explained,
            "permutation": {"metric": dataset.objective, "method": how, "global_importance": shuffled},
        },
    )


def _insights(
    dataset: TabularDataset,
    candidate: Candidate,
    scores: np.ndarray,
    linear: Callable[[Clock], np.ndarray],
    seconds: float,
) -> Files:
    truth = dataset.validation[dataset.target].to_numpy()
    some = metrics.sample(len(truth), MAX_ROWS)
    document = reports.statistics(
        dataset.problem_type, truth[some], scores[some], dataset.labels, candidate.threshold, candidate.validation
    )
    notes = list(dataset.notes)
    if len(some) < len(truth) or dataset.weight is not None:
        weighted = "" if dataset.weight is None else ", weighted"
        notes.append(
            f"The metrics are of all {len(truth)} validation rows{weighted}; counts, curves and residuals are of "
            f"{len(some)}, unweighted."
        )
        document["dataset"]["note"] = notes[-1]
    learned = dataset.train[dataset.target].to_numpy()
    weights = dataset.weights(dataset.train)
    others = {CONSTANT: constant(dataset.objective, learned, len(truth), dataset.labels, weights)}
    try:
        # What has hardly any time is not begun, and what takes longer is ended.
        clock = Clock(seconds if seconds > isolation.GRACE else 0)
        clock.check()
        others[LINEAR] = isolation.run(lambda ask: linear(clock), seconds)
    except Exception as error:
        log.warning("No linear model to compare with: %s", cause(error))
    measure = Measure(
        dataset.problem_type, dataset.objective, truth, dataset.labels, dataset.weights(dataset.validation)
    )
    document["comparison"] = compare(measure, scores, candidate.threshold, others)
    parts = [*reports.notes(notes), *section(document["comparison"]), *reports.sections(document)]
    page = reports.page(f"Model insights: {candidate.name}", parts)
    return {"statistics.json": reports.encode(document), "report.html": page}
