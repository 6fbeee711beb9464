"""Reading the files beside a candidate, also damaged ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_automl.report import build, render
from airflow_automl.report.insights import read
from tests.unit.report.samples import candidate, describe

CANDIDATE = {
    "CandidateProperties": {"CandidateArtifactLocations": {"Explainability": "s3://b/e", "ModelInsights": "s3://b/m"}}
}


def reading(files: dict[str, Any], candidate: dict[str, Any] | None = None) -> dict[str, Any]:
    contents = {key: value if isinstance(value, bytes) else json.dumps(value).encode() for key, value in files.items()}
    return read(
        CANDIDATE if candidate is None else candidate,
        lambda prefix: [key for key in contents if key.startswith(prefix)],
        lambda key: contents[key],
    )


def test_shap_values_are_averaged_over_the_labels() -> None:
    labels = {"label0": {"global_shap_values": {"a": 1.0, "b": -2.0}}, "label1": {"global_shap_values": {"a": 3.0}}}
    found = reading({"s3://b/e/analysis.json": {"explanations": {"kernel_shap": labels}}})
    assert found == {"feature_importance": {"a": 2.0, "b": 1.0}}


def test_confusion_matrix_and_roc() -> None:
    metrics = {
        "confusion_matrix": {"No": {"No": 9, "Yes": 1}, "Yes": {"Yes": 4}},
        "receiver_operating_characteristic_curve": {"false_positive_rates": [0, 1], "true_positive_rates": [0, 1]},
    }
    found = reading({"s3://b/m/statistics.json": {"binary_classification_metrics": metrics}})
    assert found["confusion_matrix"] == {"labels": ["No", "Yes"], "rows": [[9, 1], [0, 4]]}
    assert found["roc"] == {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]}


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b"[1, 2]",
        {},
        {"explanations": None},
        {"explanations": {"kernel_shap": {"label0": {"global_shap_values": {"a": None}}}}},
        {"regression_metrics": {"residuals": {"actual": [1], "predicted": [float("inf")], "histogram": [1]}}},
        {"binary_classification_metrics": {"confusion_matrix": [1], "receiver_operating_characteristic_curve": 3}},
    ],
)
def test_other_shapes_are_passed_over(content: Any) -> None:
    assert reading({"s3://b/e/x.json": content, "s3://b/m/x.json": content}) == {}


def test_the_comparison_with_simple_models_is_in_the_report() -> None:
    verdict = "Not better than <a linear model>: MSE 2 against 1."
    found = reading({"s3://b/m/statistics.json": {"comparison": {"baselines": {"linear": {"verdict": verdict}}}}})
    assert found == {"comparison": [verdict]}
    best = candidate("c", 0.9, 1, "MSE")
    page = render(build(describe(BestCandidate=best), [best], insights=found))
    assert "<li>Not better than &lt;a linear model&gt;: MSE 2 against 1.</li>" in page


def test_residuals_of_a_regression() -> None:
    residuals = {"actual": [1, 2], "predicted": [1.5, 2], "histogram": {"counts": [1, 1], "edges": [0, 1, 2]}}
    found = reading({"s3://b/m/statistics.json": {"regression_metrics": {"residuals": residuals}}})
    assert found == {
        "predictions": {"actual": [1.0, 2.0], "predicted": [1.5, 2.0]},
        "residuals": {"counts": [1.0, 1.0], "edges": [0.0, 1.0, 2.0]},
    }


def test_storage_that_fails_becomes_a_note() -> None:
    def broken(prefix: str) -> list[str]:
        raise OSError("no such bucket")

    found = read(CANDIDATE, broken, lambda key: b"")
    assert found["notes"] == [
        "Explainability at s3://b/e could not be read: no such bucket",
        "ModelInsights at s3://b/m could not be read: no such bucket",
    ]


@pytest.mark.parametrize("candidate", [None, {}, {"CandidateProperties": None}])
def test_a_candidate_without_reports(candidate: Any) -> None:
    assert read(candidate, lambda prefix: [], lambda key: b"") == {}
