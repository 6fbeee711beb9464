"""What lies beside a candidate in S3: the explainability report and the model insights, read as far as they are there.

AWS documents neither file as part of the API, so nothing is taken for granted: what is missing or has another shape
becomes a note, never an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["Lister", "Reader", "read"]

#: Returns the content of an object.
Reader = Callable[[str], bytes]
#: Returns the addresses of the objects under a prefix.
Lister = Callable[[str], Iterable[str]]

_LIMIT = 5_000_000


def read(candidate: Mapping[str, Any] | None, list_objects: Lister, read_object: Reader) -> dict[str, Any]:
    """Read the reports that a candidate points to.

    :param candidate: the candidate's document.
    :param list_objects: lists the addresses under an S3 prefix.
    :param read_object: reads one of them.
    :return: any of ``feature_importance`` (feature → mean absolute SHAP value), ``confusion_matrix``
        (``{"labels", "rows"}``), ``roc`` (``{"fpr", "tpr"}``), and ``notes`` on what could not be read.
    """
    locations = ((candidate or {}).get("CandidateProperties") or {}).get("CandidateArtifactLocations") or {}
    found: dict[str, Any] = {}
    notes = []
    for key, take in (("Explainability", _explainability), ("ModelInsights", _model_insights)):
        prefix = locations.get(key)
        if not prefix:
            continue
        try:
            for content in _documents(prefix, list_objects, read_object):
                take(content, found)
        except Exception as error:  # whatever storage raises, the rest of the report is worth having
            notes.append(f"{key} at {prefix} could not be read: {error}")
    if notes:
        found["notes"] = notes
    return found


def _documents(prefix: str, list_objects: Lister, read_object: Reader) -> Iterable[Mapping[str, Any]]:
    for address in sorted(list_objects(prefix)):
        if not address.endswith(".json"):
            continue
        raw = read_object(address)
        if len(raw) > _LIMIT:
            continue
        try:
            content = json.loads(raw)
        except ValueError:
            continue
        if isinstance(content, Mapping):
            yield content


def _numbers(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        return {}
    return {
        str(key): float(item)
        for key, item in value.items()
        if isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item)
    }


def _explainability(content: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Take the global SHAP values of Clarify's ``analysis.json``; several labels are averaged."""
    explanations = content.get("explanations")
    shap = explanations.get("kernel_shap") if isinstance(explanations, Mapping) else None
    if not isinstance(shap, Mapping):
        return
    by_label = [
        values
        for label in shap.values()
        if isinstance(label, Mapping) and (values := _numbers(label.get("global_shap_values")))
    ]
    if by_label:
        names = {name for values in by_label for name in values}
        found["feature_importance"] = {
            name: sum(abs(values.get(name, 0.0)) for values in by_label) / len(by_label) for name in sorted(names)
        }


def _model_insights(content: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Take confusion matrix and ROC of Model Monitor's ``statistics.json``."""
    for kind in ("binary_classification_metrics", "multiclass_classification_metrics"):
        section = content.get(kind)
        if not isinstance(section, Mapping):
            continue
        matrix = section.get("confusion_matrix")
        if isinstance(matrix, Mapping) and matrix and all(isinstance(row, Mapping) for row in matrix.values()):
            labels = sorted({str(label) for label in matrix} | {str(label) for row in matrix.values() for label in row})
            found["confusion_matrix"] = {
                "labels": labels,
                "rows": [[_numbers(matrix.get(actual)).get(guess, 0.0) for guess in labels] for actual in labels],
            }
        curve = section.get("receiver_operating_characteristic_curve")
        if isinstance(curve, Mapping):
            fpr, tpr = curve.get("false_positive_rates"), curve.get("true_positive_rates")
            if isinstance(fpr, list) and isinstance(tpr, list) and len(fpr) == len(tpr) > 1:
                found["roc"] = {"fpr": [float(each) for each in fpr], "tpr": [float(each) for each in tpr]}
