"""Reports as one HTML file each, without external resources, and the model quality statistics that they show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import escape

from airflow_automl.local.models.artifacts import Threshold, chosen
from airflow_automl.local.training.data.target import BINARY, REGRESSION

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #d0d7de;padding:.3rem .6rem;text-align:right}"
    "th{background:#f6f8fa}td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}"
    "figure{margin:1rem 0}figcaption{color:#57606a}"
)
_INK, _MUTED = "#0b6bcb", "#d0d7de"


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """Return a whole page.

    :param sections: heading (plain text) and content (HTML made by this module).
    """
    body = "".join(f"<h2>{escape(heading)}</h2>{content}" for heading, content in sections)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )


def encode(document: Mapping[str, Any]) -> str:
    """Return a document as JSON; numbers that are not finite become ``null``, since JSON has none."""
    return json.dumps(json.loads(json.dumps(document), parse_constant=lambda name: None), indent=1)


def notes(sentences: Sequence[str]) -> list[tuple[str, str]]:
    """The section on what a person should know about the data; none without a sentence."""
    return [("Notes", table([[sentence] for sentence in sentences], ["on the data"]))] if sentences else []


def explanation(
    name: str,
    heading: str,
    contributions: Mapping[str, float],
    method: str,
    sentences: Sequence[str] = (),
    more: Sequence[tuple[str, str]] = (),
    **document: Any,
) -> dict[str, str]:
    """Return the files of an explainability report: ``analysis.json`` in Clarify's layout, and a page.

    :param heading: of the page's chart.
    :param contributions: feature → its contribution, for the chart.
    :param method: how they were measured, in a sentence.
    :param sentences: what a person should know about the data.
    :param more: further parts of the page.
    :param document: the rest of ``analysis.json``.
    """
    parts = [(heading, bars(contributions)), ("Method", f"<p>{escape(method)}</p>"), *more, *notes(sentences)]
    return {
        "analysis.json": encode({"version": "1.0", "method": method, **document}),
        "report.html": page(f"Explainability: {name}", parts),
    }


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Return a table; floats are shown with four significant digits."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{_shown(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def matrix(labels: Sequence[str], rows: Sequence[Sequence[float]]) -> str:
    """Return a confusion matrix: actual classes down, predicted ones across."""
    return table([[label, *row] for label, row in zip(labels, rows, strict=True)], ["actual \\ predicted", *labels])


def bars(values: Mapping[str, float], limit: int = 30) -> str:
    """Horizontal bars, the longest first, equal ones by name."""
    shown = sorted(values.items(), key=lambda item: (-abs(item[1]), item[0]))[:limit]
    largest = max((abs(value) for _, value in shown), default=0) or 1
    parts = []
    for line, (name, value) in enumerate(shown):
        top = line * 24
        parts.append(
            f'<text x="240" y="{top + 16}" text-anchor="end" font-size="13">{escape(name[:34])}</text>'
            f'<rect x="250" y="{top + 4}" width="{abs(value) / largest * 330:.1f}" height="16" fill="{_INK}"/>'
            f'<text x="{256 + abs(value) / largest * 330:.1f}" y="{top + 16}" font-size="12">{_shown(value)}</text>'
        )
    return f'<svg viewBox="0 0 680 {len(shown) * 24 + 4}" width="680" role="img">{"".join(parts)}</svg>'


def plot(
    points: Sequence[tuple[float, float]], across: str, up: str, *, line: bool = True, diagonal: bool = False
) -> str:
    """Return a curve or a cloud of points.

    :param points: pairs of numbers.
    :param diagonal: whether the line of equal values is drawn too.
    """
    if not points:
        return "<p>No data.</p>"
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    if diagonal:
        left = low = min(left, low)
        right = high = max(right, high)
    width, height = (right - left) or 1.0, (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return 60 + (x - left) / width * 400, 320 - (y - low) / height * 300

    marks = [f'<rect x="60" y="20" width="400" height="300" fill="none" stroke="{_MUTED}"/>']
    if diagonal:
        (x1, y1), (x2, y2) = place(left, left), place(right, right)
        marks.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{_MUTED}"/>')
    placed = [place(x, y) for x, y in points]
    if line:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        marks.append(f'<polyline points="{path}" fill="none" stroke="{_INK}" stroke-width="2"/>')
    else:
        marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{_INK}" fill-opacity=".5"/>' for x, y in placed]
    marks += [
        f'<text x="60" y="338" font-size="12">{_shown(left)}</text>',
        f'<text x="460" y="338" font-size="12" text-anchor="end">{_shown(right)}</text>',
        f'<text x="54" y="320" font-size="12" text-anchor="end">{_shown(low)}</text>',
        f'<text x="54" y="30" font-size="12" text-anchor="end">{_shown(high)}</text>',
        f'<text x="260" y="356" font-size="13" text-anchor="middle">{escape(across)}</text>',
        f'<text x="16" y="170" font-size="13" text-anchor="middle" transform="rotate(-90 16 170)">{escape(up)}</text>',
    ]
    return f'<svg viewBox="0 0 480 364" width="480" role="img">{"".join(marks)}</svg>'


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape(value)


CURVE_POINTS = 200
SHOWN_CLASSES = 30
RESIDUALS = 500


def statistics(
    problem_type: str,
    truth: np.ndarray,
    scores: np.ndarray,
    labels: Sequence[float | str],
    threshold: Threshold,
    metrics: Mapping[str, float],
) -> dict[str, Any]:
    """Return the insights as a program reads them, laid out as Model Monitor's ``statistics.json`` for model quality.

    :param truth: the target's values on the validation data.
    :param scores: predictions, or probabilities in the order of ``labels``.
    :param labels: the classes; empty for regression.
    :param threshold: how a row's class is chosen.
    :param metrics: the candidate's validation metrics.
    """
    named = {_snake(name): {"value": value} for name, value in metrics.items() if name != "InferenceLatency"}
    document: dict[str, Any] = {"version": 0.0, "dataset": {"item_count": len(truth)}}
    if problem_type == REGRESSION:
        residuals = truth - scores
        order = spread(len(truth), RESIDUALS)
        # Residuals that hardly differ do not fill 30 bins.
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
    guess = chosen(scores, threshold)
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(counts, (actual, guess), 1)
    section: dict[str, Any] = named | {
        "confusion_matrix": {
            str(label): {str(other): int(counts[row, column]) for column, other in enumerate(labels)}
            for row, label in enumerate(labels)
        }
    }
    if problem_type == BINARY:
        # Without rows of both classes there are no rates.
        section |= _curves(actual, scores[:, 1]) if len(np.unique(actual)) == 2 else {}
        section["threshold"] = {"value": threshold}
        document["binary_classification_metrics"] = section
    else:
        document["multiclass_classification_metrics"] = section
    return document


def sections(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the parts of the page: heading and content, for :func:`page`."""
    section = next(value for key, value in document.items() if key.endswith("_metrics"))
    values = [[key, entry["value"]] for key, entry in section.items() if isinstance(entry, dict) and "value" in entry]
    parts = [("Metrics on the validation data", table(values, ["metric", "value"]))]
    if "confusion_matrix" in section:
        labels = list(section["confusion_matrix"])
        if len(labels) <= SHOWN_CLASSES:
            rows = [[section["confusion_matrix"][actual][guess] for guess in labels] for actual in labels]
            parts.append(("Confusion matrix", matrix(labels, rows)))
        else:
            parts.append(("Confusion matrix", f"<p>{len(labels)} classes: see statistics.json.</p>"))
    if "receiver_operating_characteristic_curve" in section:
        curve = section["receiver_operating_characteristic_curve"]
        points = list(zip(curve["false_positive_rates"], curve["true_positive_rates"], strict=True))
        parts.append(("ROC", plot(points, "false positive rate", "true positive rate", diagonal=True)))
        curve = section["precision_recall_curve"]
        points = list(zip(curve["recalls"], curve["precisions"], strict=True))
        parts.append(("Precision and recall", plot(points, "recall", "precision")))
    if "residuals" in section:
        residuals = section["residuals"]
        points = list(zip(residuals["actual"], residuals["predicted"], strict=True))
        parts.append(("Predicted and actual", plot(points, "actual", "predicted", line=False, diagonal=True)))
        points = [(p, a - p) for a, p in points]
        parts.append(("Residuals", plot(points, "predicted", "actual minus predicted", line=False)))
    return parts


def _curves(actual: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    from sklearn.metrics import precision_recall_curve, roc_curve

    false_rate, true_rate, _ = roc_curve(actual, positive)
    precision, recall, _ = precision_recall_curve(actual, positive)
    some, others = spread(len(false_rate), CURVE_POINTS), spread(len(recall), CURVE_POINTS)
    return {
        "receiver_operating_characteristic_curve": {
            "false_positive_rates": false_rate[some].tolist(),
            "true_positive_rates": true_rate[some].tolist(),
        },
        "precision_recall_curve": {"precisions": precision[others].tolist(), "recalls": recall[others].tolist()},
    }


def spread(count: int, most: int) -> np.ndarray:
    """Return at most so many positions, evenly spread over all and in ascending order.

    :param count: number of positions.
    """
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(int))


def _snake(name: str) -> str:
    return "".join(
        f"_{letter.lower()}" if letter.isupper() and index and not name[index - 1].isupper() else letter.lower()
        for index, letter in enumerate(name)
    )
