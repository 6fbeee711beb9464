"""The reports of a candidate in S3: explainability and model insights, as far as they exist.

AWS documents neither file as part of the API, so nothing is taken for granted: what is missing or has another shape
becomes a note, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_automl.report.sections import Lister, Reader, json_objects, numbers, section_of, series


def read(
    candidate: Mapping[str, Any] | None,
    list_objects: Lister,
    read_object: Reader,
    problem_type: str | None = None,
) -> dict[str, Any]:
    """Read the reports that a candidate points to.

    :param candidate: the candidate's document.
    :param list_objects: lists the addresses under an S3 prefix.
    :param read_object: reads one of them.
    :param problem_type: that of the job; its section (:mod:`airflow_automl.report.sections`) reads what it shows.
    :return: any of ``feature_importance`` (feature → mean absolute SHAP value), ``confusion_matrix``
        (``{"labels", "rows"}``), ``roc`` (``{"fpr", "tpr"}``), ``precision_recall`` (``{"recall", "precision"}``),
        ``predictions`` (``{"actual", "predicted"}``), ``residuals`` (``{"counts", "edges"}``),
        ``comparison`` (sentences of the embedded Autopilot on simple models), what the problem type's
        section found under its name, and ``notes`` on what could not be read.
    """
    locations = ((candidate or {}).get("CandidateProperties") or {}).get("CandidateArtifactLocations") or {}
    found: dict[str, Any] = {}
    notes = []
    for key, take in (("Explainability", _explainability), ("ModelInsights", _model_insights)):
        prefix = locations.get(key)
        if not prefix:
            continue
        try:
            for content in json_objects(prefix, ".json", list_objects, read_object):
                take(content, found)
        except Exception as error:  # whatever storage raises, the rest of the report is worth having
            notes.append(f"{key} at {prefix} could not be read: {error}")
    section = section_of(problem_type)
    if candidate and section:
        name, module = section
        try:
            found[name] = module.read(candidate, list_objects, read_object)
        except Exception as error:
            notes.append(f"What belongs to {problem_type} could not be read: {error}")
    if notes:
        found["notes"] = notes
    return found


def _explainability(content: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Take the global SHAP values of Clarify's ``analysis.json``; several labels are averaged."""
    explanations = content.get("explanations")
    shap = explanations.get("kernel_shap") if isinstance(explanations, Mapping) else None
    if not isinstance(shap, Mapping):
        return
    by_label = [
        values
        for label in shap.values()
        if isinstance(label, Mapping) and (values := numbers(label.get("global_shap_values")))
    ]
    if by_label:
        names = {name for values in by_label for name in values}
        found["feature_importance"] = {
            name: sum(abs(values.get(name, 0.0)) for values in by_label) / len(by_label) for name in sorted(names)
        }


def _model_insights(content: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Take confusion matrix, curves and residuals of Model Monitor's ``statistics.json``."""
    for kind in ("binary_classification_metrics", "multiclass_classification_metrics"):
        section = content.get(kind)
        if not isinstance(section, Mapping):
            continue
        matrix = section.get("confusion_matrix")
        if isinstance(matrix, Mapping) and matrix and all(isinstance(row, Mapping) for row in matrix.values()):
            labels = sorted({str(label) for label in matrix} | {str(label) for row in matrix.values() for label in row})
            found["confusion_matrix"] = {
                "labels": labels,
                "rows": [[numbers(matrix.get(actual)).get(guess, 0.0) for guess in labels] for actual in labels],
            }
        roc = _series(section, "receiver_operating_characteristic_curve", "false_positive_rates", "true_positive_rates")
        if roc:
            found["roc"] = {"fpr": roc[0], "tpr": roc[1]}
        curve = _series(section, "precision_recall_curve", "recalls", "precisions")
        if curve:
            found["precision_recall"] = {"recall": curve[0], "precision": curve[1]}
    comparison = content.get("comparison")
    others = comparison.get("baselines") if isinstance(comparison, Mapping) else None
    if isinstance(others, Mapping) and (known := [each for each in others.values() if isinstance(each, Mapping)]):
        found["comparison"] = [str(each.get("verdict", "")) for each in known]
    section = content.get("regression_metrics")
    pairs = _series(section, "residuals", "actual", "predicted")
    if pairs:
        found["predictions"] = {"actual": pairs[0], "predicted": pairs[1]}
    if isinstance(section, Mapping) and isinstance(residuals := section.get("residuals"), Mapping):
        bins = residuals.get("histogram")
        counts, edges = (
            (series(bins.get(key)) for key in ("counts", "edges")) if isinstance(bins, Mapping) else ([], [])
        )
        if counts and len(edges) == len(counts) + 1:
            found["residuals"] = {"counts": counts, "edges": edges}


def _series(section: Any, name: str, first: str, second: str) -> tuple[list[float], list[float]] | None:
    both = section.get(name) if isinstance(section, Mapping) else None
    if not isinstance(both, Mapping):
        return None
    left, right = series(both.get(first)), series(both.get(second))
    return (left, right) if len(left) == len(right) > 1 else None
