"""Where the best candidate errs: confusion matrix, curves and residuals, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from airflow_automl.local.training.data.target import BINARY, REGRESSION
from airflow_automl.local.training.engines.reports import html

CURVE_POINTS = 200
SHOWN_CLASSES = 30
RESIDUALS = 500


def statistics(
    problem_type: str,
    truth: np.ndarray,
    scores: np.ndarray,
    labels: Sequence[int | str],
    threshold: float,
    metrics: Mapping[str, float],
) -> dict[str, Any]:
    """The insights as a program reads them, laid out as Model Monitor's ``statistics.json`` for model quality.

    :param problem_type: the API's name.
    :param truth: the target's values on the validation data.
    :param scores: predictions, or probabilities in the order of ``labels``.
    :param labels: the classes; empty for regression.
    :param threshold: binary: probability from which a row is positive.
    :param metrics: the candidate's validation metrics.
    """
    named = {_snake(name): {"value": value} for name, value in metrics.items() if name != "InferenceLatency"}
    document: dict[str, Any] = {"version": 0.0, "dataset": {"item_count": len(truth)}}
    if problem_type == REGRESSION:
        residuals = truth - scores
        order = np.linspace(0, len(truth) - 1, min(RESIDUALS, len(truth))).astype(int)
        # Residuals that hardly differ have no 30 bins between them.
        margin = max(1e-6 * float(np.abs(residuals).max()), 1e-12)
        bounds = (float(residuals.min()) - margin, float(residuals.max()) + margin)
        counts, edges = np.histogram(residuals, bins=min(30, max(5, len(truth) // 20)), range=bounds)
        document["regression_metrics"] = named | {
            "residuals": {
                "mean": float(residuals.mean()),
                "standard_deviation": float(residuals.std()),
                "quantiles": {str(q): float(np.quantile(residuals, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
                "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
                "predicted": scores[order].tolist(),
                "actual": truth[order].tolist(),
            }
        }
        return document
    position = {label: index for index, label in enumerate(labels)}
    actual = np.array([position[label] for label in truth.tolist()])
    guess = (scores[:, 1] >= threshold).astype(int) if len(labels) == 2 else scores.argmax(axis=1)
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(counts, (actual, guess), 1)
    section = named | {
        "confusion_matrix": {
            str(label): {str(other): int(counts[row, column]) for column, other in enumerate(labels)}
            for row, label in enumerate(labels)
        }
    }
    if problem_type == BINARY:
        section |= _curves(actual, scores[:, 1])
        section["threshold"] = {"value": threshold}
        document["binary_classification_metrics"] = section
    else:
        document["multiclass_classification_metrics"] = section
    return document


def page(name: str, document: Mapping[str, Any]) -> str:
    """The insights as a person reads them.

    :param name: the candidate's.
    :param document: what :func:`statistics` returned.
    """
    return html.page(f"Model insights: {name}", sections(document))


def sections(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The parts of the page: heading and content, for :func:`html.page`.

    :param document: what :func:`statistics` returned.
    """
    section = next(value for key, value in document.items() if key.endswith("_metrics"))
    values = [[key, entry["value"]] for key, entry in section.items() if isinstance(entry, dict) and "value" in entry]
    parts = [("Metrics on the validation data", html.table(values, ["metric", "value"]))]
    if "confusion_matrix" in section:
        labels = list(section["confusion_matrix"])
        if len(labels) <= SHOWN_CLASSES:
            rows = [[section["confusion_matrix"][actual][guess] for guess in labels] for actual in labels]
            parts.append(("Confusion matrix", html.matrix(labels, rows)))
        else:
            parts.append(("Confusion matrix", f"<p>{len(labels)} classes: see statistics.json.</p>"))
    if "receiver_operating_characteristic_curve" in section:
        curve = section["receiver_operating_characteristic_curve"]
        points = list(zip(curve["false_positive_rates"], curve["true_positive_rates"], strict=True))
        parts.append(("ROC", html.plot(points, "false positive rate", "true positive rate", diagonal=True)))
        curve = section["precision_recall_curve"]
        points = list(zip(curve["recalls"], curve["precisions"], strict=True))
        parts.append(("Precision and recall", html.plot(points, "recall", "precision")))
    if "residuals" in section:
        residuals = section["residuals"]
        points = list(zip(residuals["actual"], residuals["predicted"], strict=True))
        parts.append(("Predicted and actual", html.plot(points, "actual", "predicted", line=False, diagonal=True)))
        points = [(p, a - p) for a, p in points]
        parts.append(("Residuals", html.plot(points, "predicted", "actual minus predicted", line=False)))
    return parts


def _curves(actual: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics import precision_recall_curve, roc_curve

    false_rate, true_rate, _ = roc_curve(actual, positive)
    precision, recall, _ = precision_recall_curve(actual, positive)
    some, others = _thin(len(false_rate)), _thin(len(recall))
    return {
        "receiver_operating_characteristic_curve": {
            "false_positive_rates": false_rate[some].tolist(),
            "true_positive_rates": true_rate[some].tolist(),
        },
        "precision_recall_curve": {"precisions": precision[others].tolist(), "recalls": recall[others].tolist()},
    }


def _thin(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, CURVE_POINTS)).astype(int))


def _snake(name: str) -> str:
    return "".join(
        f"_{letter.lower()}" if letter.isupper() and index and not name[index - 1].isupper() else letter.lower()
        for index, letter in enumerate(name)
    )
