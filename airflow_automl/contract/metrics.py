"""The metrics of AutoML jobs: which may be objectives, which way is better, and how to read them from candidates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from airflow_automl.contract.model import shapes

Direction = Literal["Maximize", "Minimize"]

#: Problem type → metrics that AutoMLJobObjective.MetricName may name (R40, R42, R43, R44).
OBJECTIVES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Regression": ("MAE", "MSE", "R2", "RMSE"),
        "BinaryClassification": ("Accuracy", "AUC", "BalancedAccuracy", "F1", "Precision", "Recall"),
        "MulticlassClassification": ("Accuracy", "BalancedAccuracy", "F1macro", "PrecisionMacro", "RecallMacro"),
        "ImageClassification": ("Accuracy",),
        "TextClassification": ("Accuracy",),
        "TimeSeriesForecasting": ("RMSE", "MASE", "MAPE", "WAPE", "AverageWeightedQuantileLoss"),
        "TextGeneration": (),
    }
)

#: Problem type → the objective when a request names none (R42, R43, R45). Text generation minimizes its
#: cross-entropy loss, which is not an objective that a request could name (R44).
DEFAULT_OBJECTIVE: Mapping[str, str] = MappingProxyType(
    {
        "Regression": "MSE",
        "BinaryClassification": "F1",
        "MulticlassClassification": "Accuracy",
        "ImageClassification": "Accuracy",
        "TextClassification": "Accuracy",
        "TimeSeriesForecasting": "AverageWeightedQuantileLoss",
    }
)

_MINIMIZED = frozenset(
    {
        "MSE",
        "RMSE",
        "MAE",
        "MAPE",
        "MASE",
        "WAPE",
        "AverageWeightedQuantileLoss",
        "LogLoss",
        "InferenceLatency",
        "Perplexity",
        "ValidationLoss",
        "TrainingLoss",
    }
)

# Spellings in answers of older jobs and in the algorithms' logs.
_ALIASES = {
    "f1binary": "F1",
    "binaryf1": "F1",
    "macrof1": "F1macro",
    "macroprecision": "PrecisionMacro",
    "macrorecall": "RecallMacro",
    "rocauc": "AUC",
    "wql": "AverageWeightedQuantileLoss",
    "averagewql": "AverageWeightedQuantileLoss",
    "meanwql": "AverageWeightedQuantileLoss",
    "meanweightedquantileloss": "AverageWeightedQuantileLoss",
    "crossentropyloss": "LogLoss",
}

# A metric without a Set was measured on the validation data.
_SET_PREFERENCE = {"Validation": 0, None: 1, "Test": 2, "Train": 3}


@cache
def standard_metrics() -> tuple[str, ...]:
    """Return every name that StandardMetricName can take."""
    return tuple(shapes()["AutoMLMetricExtendedEnum"]["enum"])


@cache
def _by_spelling() -> dict[str, str]:
    return {name.lower(): name for name in standard_metrics()} | _ALIASES


def standard_name(metric: Mapping[str, Any] | str) -> str:
    """Name a metric in the API's own spelling.

    Old jobs answer ``validation:f1`` where newer ones answer ``F1``; case, underscores, hyphens, blanks and a prefix
    up to a colon make no difference. An unknown name is returned unchanged.

    :param metric: a name, or a metric of an answer (``StandardMetricName`` is preferred to ``MetricName``).
    :return: the name, empty when the metric has none.
    """
    if isinstance(metric, Mapping):
        for key in ("StandardMetricName", "MetricName"):
            if isinstance(name := metric.get(key), str) and name:
                return standard_name(name)
        return ""
    spelling = re.sub(r"[\s_-]", "", metric.rpartition(":")[2]).lower()
    return _by_spelling().get(spelling, metric)


def direction(metric: str) -> Direction:
    """Return whether a metric is to be minimized or maximized (R46).

    :param metric: a metric's name, in any spelling that :func:`standard_name` knows.
    :return: ``Minimize`` for errors, losses and latencies, else ``Maximize``.
    """
    return "Minimize" if standard_name(metric) in _MINIMIZED else "Maximize"


def candidate_metrics(candidate: Mapping[str, Any]) -> dict[str, float]:
    """Collect a candidate's metrics, one value for each name.

    The value measured on the validation data is preferred to one without a set, that to the test data's, and that to
    the training data's. The final objective metric is added where the list lacks it.

    :param candidate: an AutoMLCandidate, as answered by the service or taken from XCom.
    :return: standard metric name → value.
    """
    chosen: dict[str, tuple[int, float]] = {}
    properties = candidate.get("CandidateProperties")
    listed = properties.get("CandidateMetrics") if isinstance(properties, Mapping) else None
    for metric in listed if isinstance(listed, list | tuple) else ():
        if not isinstance(metric, Mapping):
            continue
        name, value = standard_name(metric), _number(metric.get("Value"))
        if not name or value is None:
            continue
        source = metric.get("Set")
        rank = _SET_PREFERENCE.get(source if isinstance(source, str) else None, len(_SET_PREFERENCE))
        if name not in chosen or rank < chosen[name][0]:
            chosen[name] = (rank, value)
    metrics = {name: value for name, (_, value) in chosen.items()}
    objective, final = objective_name(candidate), objective_value(candidate)
    if objective and final is not None:
        metrics.setdefault(objective, final)
    return metrics


def objective_name(candidate: Mapping[str, Any]) -> str | None:
    """Name the metric that the candidate's job optimized, ``None`` if the answer does not say."""
    final = candidate.get("FinalAutoMLJobObjectiveMetric")
    return (standard_name(final) or None) if isinstance(final, Mapping) else None


def objective_value(candidate: Mapping[str, Any]) -> float | None:
    """Read ``FinalAutoMLJobObjectiveMetric.Value``, ``None`` if there is none yet."""
    final = candidate.get("FinalAutoMLJobObjectiveMetric")
    return _number(final.get("Value")) if isinstance(final, Mapping) else None


def rank(
    candidate: Mapping[str, Any], objective: str | None = None, then: str | None = None
) -> tuple[float, float, float] | None:
    """Return what sorts candidates, the best first: the objective, then InferenceLatency (R94).

    :param candidate: an AutoMLCandidate.
    :param objective: the metric to compare by; by default that of the candidate's final objective metric.
    :param then: a loss that decides before InferenceLatency if the objectives are equal.
    :return: a sort key, ``None`` if the candidate lacks the objective.
    """
    final, measured = objective_name(candidate), candidate_metrics(candidate)
    name = standard_name(objective) if objective else final
    value = objective_value(candidate) if name == final else None
    if value is None:
        value = measured.get(name or "")
    if name is None or value is None:
        return None
    latency = measured.get("InferenceLatency", math.inf)
    loss = measured.get(then, math.inf) if then else latency
    return (value if direction(name) == "Minimize" else -value, loss, latency)


def best(
    candidates: Iterable[Mapping[str, Any]], objective: str | None = None, then: str | None = None
) -> Mapping[str, Any] | None:
    """Choose the best candidate: best objective, then lowest InferenceLatency, then the first of them (R94).

    :param candidates: AutoMLCandidates; those that are not ``Completed`` or lack the objective are passed over.
    :param objective: the metric to compare by; by default that of each candidate's final objective metric.
    :param then: a loss that decides before InferenceLatency if the objectives are equal.
    :return: one of the candidates, or ``None`` if none qualifies.
    """
    completed = (each for each in candidates if each.get("CandidateStatus", "Completed") == "Completed")
    ranked = [(key, each) for each in completed if (key := rank(each, objective, then)) is not None]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
