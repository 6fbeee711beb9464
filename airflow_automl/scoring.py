"""Metrics of predictions, computed from what a model answers, and how far they may be off by chance.

Plain Python, because an Airflow worker need not have any library for it. Definitions are the API's (R102 to R106); of
two classes, the last one in sort order is the positive class (``No`` < ``Yes``, ``0`` < ``1``).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

_Unit = TypeVar("_Unit")

NUMBER_METRICS = frozenset({"MAE", "MSE", "R2", "RMSE"})

#: The metrics of a classification that need the classes' probabilities.
PROBABILITY_METRICS = frozenset({"AUC", "LogLoss"})


def label_of(value: str) -> str:
    """Return a class's name in one spelling: ``1``, ``1.0`` and `` 1 `` are the same class."""
    text = value.strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if math.isfinite(number) and number.is_integer() else text


def number_metrics(actual: Sequence[float], predicted: Sequence[float]) -> dict[str, float]:
    """Return MSE, RMSE, MAE and R2 of a regression."""
    count = len(actual)
    errors = [guess - real for real, guess in zip(actual, predicted, strict=True)]
    squares = math.fsum(error * error for error in errors)
    mean = math.fsum(actual) / count
    spread = math.fsum((real - mean) ** 2 for real in actual)
    found = {
        "MSE": squares / count,
        "RMSE": math.sqrt(squares / count),
        "MAE": math.fsum(map(abs, errors)) / count,
    }
    return {**found, "R2": 1 - squares / spread} if spread else found


def class_metrics(
    actual: Sequence[str],
    predicted: Sequence[str],
    probabilities: Sequence[Sequence[float]] | None = None,
    labels: Sequence[str] = (),
    binary: bool | None = None,
) -> dict[str, float]:
    """Return the metrics of a classification.

    :param actual: each row's class, as :func:`label_of` writes it; so ``predicted``.
    :param probabilities: of each row, in the order of ``labels``; ``None`` leaves AUC and LogLoss out.
    :param labels: the classes that there are, as far as they are known.
    :param binary: whether the metrics are those of two classes; default: if there are two.
    """
    classes = sorted({*actual, *predicted, *labels}, key=_order)
    binary = len(classes) == 2 if binary is None else binary and len(classes) == 2
    pairs = list(zip(actual, predicted, strict=True))
    hits = {name: sum(real == guess == name for real, guess in pairs) for name in classes}
    real = {name: sum(each == name for each in actual) for name in classes}
    said = {name: sum(each == name for each in predicted) for name in classes}
    recall = {name: hits[name] / real[name] for name in classes if real[name]}
    precision = {name: hits[name] / said[name] if said[name] else 0.0 for name in classes}
    f1 = {name: 2 * hits[name] / (real[name] + said[name]) for name in classes if real[name] + said[name]}
    found = {"Accuracy": sum(hits.values()) / len(pairs), "BalancedAccuracy": _mean(recall.values())}
    if binary:
        positive = classes[1]
        found |= {"F1": f1.get(positive, 0.0), "Precision": precision[positive], "Recall": recall.get(positive, 0.0)}
    else:
        found |= {
            "F1macro": _mean(f1.values()),
            "PrecisionMacro": _mean(precision[name] for name in f1),
            "RecallMacro": _mean(recall.get(name, 0.0) for name in f1),
        }
    if probabilities is not None:
        place = {name: position for position, name in enumerate(labels)}
        chosen = [row[place[name]] if name in place else 0.0 for name, row in zip(actual, probabilities, strict=True)]
        found["LogLoss"] = -math.fsum(math.log(max(each, 1e-15)) for each in chosen) / len(chosen)
        if binary and len(recall) == 2 and classes[1] in place:
            found["AUC"] = _auc(
                [each == classes[1] for each in actual], [row[place[classes[1]]] for row in probabilities]
            )
    return found


def confusion_matrix(actual: Sequence[str], predicted: Sequence[str]) -> dict[str, list[object]]:
    """Return ``{"labels", "counts"}``: a row of counts for each true class, a column for each predicted one."""
    classes = sorted({*actual, *predicted}, key=_order)
    place = {name: position for position, name in enumerate(classes)}
    counts = [[0] * len(classes) for _ in classes]
    for real, guess in zip(actual, predicted, strict=True):
        counts[place[real]][place[guess]] += 1
    return {"labels": [*classes], "counts": [*counts]}


def intervals(
    units: Sequence[_Unit],
    measure: Callable[[Sequence[_Unit]], dict[str, float]],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> dict[str, list[float]]:
    """Return each metric's confidence interval: the percentile bootstrap, the same for the same units and seed.

    :param units: what was drawn at random: rows, or whole series.
    :param measure: computes the metrics of some units.
    :param resamples: how often to draw; ``0`` gives no intervals.
    :param confidence: such as ``0.95``.
    :return: metric → ``[low, high]``; without those that are undefined in half of the draws.
    """
    draw, values = random.Random(seed), dict[str, list[float]]()  # noqa: S311  # a sample, no secret
    for _ in range(resamples):
        for name, value in measure(draw.choices(units, k=len(units))).items():
            values.setdefault(name, []).append(value)
    found = {name: sorted(each) for name, each in values.items() if 2 * len(each) > resamples}
    tail = (1 - confidence) / 2
    return {
        name: [each[int(tail * (len(each) - 1))], each[math.ceil((1 - tail) * (len(each) - 1))]]
        for name, each in found.items()
    }


def _order(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else 0.0


def _auc(positive: Sequence[bool], scores: Sequence[float]) -> float:
    ranked = sorted(zip(scores, positive, strict=True))
    count, wins, below, at = sum(positive), 0.0, 0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        up = sum(is_positive for _, is_positive in ranked[at:end])
        down = end - at - up
        wins += up * (below + down / 2)
        below += down
        at = end
    return wins / (count * (len(ranked) - count))
