"""The metrics of tabular candidates, as the API defines them (R102 to R106)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from airflow_automl.contract import metrics as contract
from airflow_automl.local.models.artifacts import Threshold, chosen
from airflow_automl.local.training.data.split import SEED
from airflow_automl.local.training.data.target import BINARY, REGRESSION

THRESHOLD_METRICS = frozenset({"F1", "BalancedAccuracy", "F1macro", "RecallMacro"})
"""Objectives for which the most probable class is rarely the best answer."""

_LEAST = 50
"""Rows of a class in a sample, if it has them."""

_POWERS = np.arange(11) / 10
_RESAMPLES = 40
_DECISION_ROWS = 100_000
"""Rows from which thresholds are learned; a class of one row in a thousand has a hundred of them."""

OBJECTIVES = frozenset(name for names in contract.OBJECTIVES.values() for name in names)
"""Metrics that a request, and the final metric of a candidate, can name."""

Array = np.ndarray


def sample(count: int, most: int) -> Array:
    """Return the positions of some rows, ascending, the same ones every time.

    :param count: rows that there are.
    :param most: rows to draw; all of them if there are no more.
    """
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, most, replace=False))


def draw(truth: Array, most: int, weights: Array | None, classes: bool) -> tuple[Array, Array | None]:
    """Return the positions of some rows, ascending, the same ones every time, and the weights of these.

    Each class gives its share of the rows, but at least 50 if it has them. Its rows then weigh less, so that with the
    weights the classes have the shares that they have in all rows.

    :param truth: the target's values.
    :param most: rows to draw, beside those that rare classes give; all of them if there are no more.
    :param weights: of all rows, or ``None``.
    :param classes: whether the target holds classes.
    """
    if not classes or len(truth) <= most:
        some = sample(len(truth), most)
        return some, None if weights is None else weights[some]
    _, codes, counts = np.unique(truth, return_inverse=True, return_counts=True)
    wanted = np.minimum(counts, np.maximum(counts * most // len(truth), min(_LEAST, most // len(counts))))
    order = np.random.default_rng(SEED).permutation(len(truth))
    place = pd.Series(codes[order]).groupby(codes[order]).cumcount().to_numpy()
    some = np.sort(order[place < wanted[codes[order]]])
    stands_for = (counts / np.maximum(wanted, 1))[codes[some]]
    return some, stands_for if weights is None else stands_for * weights[some]


def scores(
    problem_type: str,
    truth: Array,
    predicted: Array,
    labels: Sequence[float | str] = (),
    weights: Array | None = None,
    threshold: Threshold = 0.5,
) -> dict[str, float]:
    """Return all metrics that apply to a problem.

    :param problem_type: ``BinaryClassification``, ``MulticlassClassification`` or ``Regression``.
    :param truth: the target's values.
    :param predicted: regression: the predictions; classification: a row of probabilities for each row, in the order of
        ``labels``.
    :param labels: the classes; of two, the second is the positive one.
    :param weights: sample weights, or ``None``.
    :param threshold: how a row's class is chosen.
    :return: metric → value; metrics that are undefined for the data are left out.
    """
    weights = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype="float64")
    if not weights.any():
        return {}
    if problem_type == REGRESSION:
        found = _regression(np.asarray(truth, dtype="float64"), np.asarray(predicted, dtype="float64"), weights)
    else:
        position = {label: index for index, label in enumerate(labels)}
        actual = np.array([position[label] for label in truth.tolist()])
        found = _classification(problem_type, actual, np.asarray(predicted, dtype="float64"), weights, threshold)
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def _regression(truth: Array, predicted: Array, weights: Array) -> dict[str, float]:
    error = predicted - truth
    mse = float(np.average(error**2, weights=weights))
    variance = float(np.average((truth - np.average(truth, weights=weights)) ** 2, weights=weights))
    return {
        "MSE": mse,
        "RMSE": mse**0.5,
        "MAE": float(np.average(np.abs(error), weights=weights)),
        "R2": 1 - mse / variance if variance else float("nan"),
    }


def _classification(
    problem_type: str, actual: Array, probabilities: Array, weights: Array, threshold: Threshold
) -> dict[str, float]:
    classes = probabilities.shape[1]
    guess = chosen(probabilities, threshold)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (actual, guess), weights)
    hits, real, said = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.where(real > 0, hits / real, np.nan)
        precision = np.where(said > 0, hits / said, 0.0)
        f1 = np.where(real + said > 0, 2 * hits / (real + said), np.nan)
    likelihood = np.clip(probabilities[np.arange(len(actual)), actual], 1e-15, 1)
    found = {
        "Accuracy": hits.sum() / confusion.sum(),
        "BalancedAccuracy": float(np.nanmean(recall)),
        "LogLoss": float(np.average(-np.log(likelihood), weights=weights)),
    }
    if problem_type == BINARY:
        found |= {"F1": f1[1], "Precision": precision[1], "Recall": recall[1]}
        found["AUC"] = _auc(actual, probabilities[:, 1], weights)
    else:
        # Classes that neither occur nor are predicted in these rows do not count.
        seen = (real > 0) | (said > 0)
        found |= {
            "F1macro": float(np.nanmean(f1)),
            "PrecisionMacro": float(precision[seen].mean()),
            "RecallMacro": float(np.nan_to_num(recall[seen]).mean()),
        }
    return found


def _auc(actual: Array, score: Array, weights: Array) -> float:
    # Reports measure on thousands of resamples: scikit-learn's takes twenty times as long.
    _, ranks = np.unique(score, return_inverse=True)
    positive = np.bincount(ranks, np.where(actual == 1, weights, 0.0))
    negative = np.bincount(ranks, np.where(actual == 1, 0.0, weights))
    pairs = positive.sum() * negative.sum()
    return float(positive @ (negative.cumsum() - negative / 2) / pairs) if pairs else float("nan")


def decide(objective: str, actual: Array, probabilities: Array, weights: Array | None = None) -> Threshold:
    """Return how to choose the class of a row, so that the objective is good on rows like these.

    Of two classes, it is a threshold, halfway between two of the probabilities: the mean of those that are best on
    resamples, which does better on other rows than the one that is best on just these. Of more classes, the rare ones
    are favoured: their probabilities are divided by a power of their share, from 0 (the most probable class) to 1 (best
    for BalancedAccuracy, if the probabilities are right). One number is learned, not one for each class: rare classes
    have few rows to learn from.

    :param objective: for those that are not in :data:`THRESHOLD_METRICS`, the most probable class is chosen.
    :param actual: position of each row's class.
    :param probabilities: of the classes, for models that had not seen the row.
    :param weights: sample weights, or ``None``.
    """
    if objective not in THRESHOLD_METRICS:
        return 0.5
    some = sample(len(actual), _DECISION_ROWS)
    actual, probabilities = actual[some], probabilities[some]
    rows, classes = probabilities.shape
    weights = np.ones(rows) if weights is None else np.asarray(weights, dtype="float64")[some]
    if classes == 2:
        resamples = weights * np.random.default_rng(SEED).multinomial(rows, np.full(rows, 1 / rows), _RESAMPLES)
        positive = probabilities[:, 1]
        mean = best_thresholds(objective, actual == 1, positive, resamples).mean()
        grid = _thresholds(positive)
        return float(grid[np.argmin(np.abs(grid - mean))])
    shares = np.maximum(np.bincount(actual, weights, minlength=classes), 1e-9 * weights.sum()) / weights.sum()
    tried = [tuple((shares**-power).round(6).tolist()) for power in _POWERS]
    values = [_classification("", actual, probabilities, weights, factors)[objective] for factors in tried]
    return tried[int(np.argmax(values))]


def _thresholds(positive: Array) -> Array:
    # Halfway between neighbours, so that the last bit of a probability does not decide.
    distinct = np.unique(positive)
    return np.append((distinct[1:] + distinct[:-1]) / 2, [0.0, 0.5])


def best_thresholds(objective: str, truth: Array, positive: Array, weights: Array) -> Array:
    """Return the thresholds at which a binary objective is best on some rows.

    :param objective: ``F1`` or ``BalancedAccuracy``.
    :param truth: booleans: is the row positive?
    :param positive: probability of that.
    :param weights: the rows' weights, once for each threshold that is wanted.
    :return: thresholds between 0 and 1, each halfway between two of the probabilities, or 0.5, or 0, with which every
        row is positive; among equally good ones that closest to 0.5.
    """
    order = np.argsort(positive)
    grid, truth = _thresholds(positive), truth[order]
    below = np.searchsorted(positive[order], grid, side="left")
    found = []
    for each in weights:
        # Weight of the rows below each threshold, by class.
        missed, rejected = (
            np.concatenate([[0.0], np.cumsum(np.where(rows, each[order], 0.0))]) for rows in (truth, ~truth)
        )
        hits, false_alarms = missed[-1] - missed[below], rejected[-1] - rejected[below]
        if objective == "F1":
            value = 2 * hits / np.maximum(hits + false_alarms + missed[-1], 1e-12)
        else:
            value = hits / max(missed[-1], 1e-12) - false_alarms / max(rejected[-1], 1e-12)
        ties = np.flatnonzero(value >= value.max() - 1e-12)
        found.append(grid[ties[np.argmin(np.abs(grid[ties] - 0.5))]])
    return np.array(found)


def data(values: dict[str, float], source: str) -> list[dict[str, Any]]:
    """Return metrics as the API lists them.

    Metrics that can't be objectives go by their standard name alone (R97).

    :param values: metric → value.
    :param source: ``Train``, ``Validation`` or ``Test``.
    """
    return [
        ({"MetricName": name} if name in OBJECTIVES else {})
        | {"StandardMetricName": name, "Value": value, "Set": source}
        for name, value in values.items()
    ]
