"""The report of text and image classification: samples, importance, notes; nothing that could load or run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_automl.report import build, render
from airflow_automl.report.insights import read
from tests.unit.report.samples import candidate, describe

PIXEL = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9aw=="


def report(problem: str, documents: dict[str, Any]) -> dict[str, Any]:
    best = candidate("c", 0.9, 1, "Accuracy")
    best["CandidateProperties"]["CandidateArtifactLocations"] = {
        "Explainability": "s3://b/explained",
        "ModelInsights": "s3://b/insights",
    }
    config = {"AutoMLProblemTypeConfig": {f"{problem}JobConfig": {}}, "AutoMLProblemTypeConfigName": problem}
    found = read(
        best,
        lambda prefix: [address for address in documents if address.startswith(prefix)],
        lambda address: json.dumps(documents[address]).encode(),
        problem,
    )
    return build(describe(**config, BestCandidate=best), [best], insights=found)


def documents(*samples: dict[str, Any], notes: tuple[str, ...] = ()) -> dict[str, Any]:
    analysis = {
        "method": "How much it matters, in 12 validation samples.",
        "explanations": {"occlusion": {"global_importance": {"refund <now>": 0.4, "thanks": 0.1}}},
    }
    return {
        "s3://b/explained/analysis.json": analysis,
        "s3://b/insights/samples.json": {"samples": list(samples), "notes": list(notes)},
        "s3://b/insights/statistics.json": {
            "multiclass_classification_metrics": {"confusion_matrix": {"a": {"a": 3, "b": 1}, "b": {"a": 0, "b": 2}}}
        },
    }


def test_texts_are_shown_with_what_was_predicted() -> None:
    right = {"text": "my <b>parcel</b>", "actual": "shipping", "predicted": "shipping", "probability": 0.987}
    wrong = {"text": "money back", "actual": "billing", "predicted": "<i>sales</i>", "probability": 0.5}

    page = render(report("TextClassification", documents(wrong, right, notes=("2 of 9 rows have no text.",))))

    assert "my &lt;b&gt;parcel&lt;/b&gt;" in page
    assert '<b class="better">shipping</b> 99%' in page
    assert '<b class="worse">&lt;i&gt;sales&lt;/i&gt;</b> 50% <small>is billing</small>' in page
    assert "refund &lt;now&gt;" in page
    assert "How much it matters, in 12 validation samples." in page
    assert "2 of 9 rows have no text." in page
    assert "Confusion matrix" in page
    assert "img-src" not in page


def test_images_are_part_of_the_page() -> None:
    sample = {"image": PIXEL, "actual": "cat", "predicted": "cat", "probability": 0.8}

    page = render(report("ImageClassification", documents(sample)))

    assert f'<img src="{PIXEL}" alt="cat">' in page
    assert "img-src data:;" in page


@pytest.mark.parametrize(
    "image",
    [
        "https://example.com/pixel.png",
        "data:image/svg+xml;base64,PHN2Zz4=",
        'data:image/png;base64,AAAA" onerror="x',
        "data:image/png;base64," + "A" * 100_000,
        7,
    ],
)
def test_a_value_that_is_not_a_small_picture_is_not_shown(image: Any) -> None:
    sample = {"image": image, "actual": "cat", "predicted": "cat", "probability": 0.8}

    page = render(report("ImageClassification", documents(sample)))

    assert "<img" not in page


def test_a_report_without_these_files_is_a_report() -> None:
    assert render(report("TextClassification", {}))


def test_a_damaged_file_becomes_a_note() -> None:
    found = report("TextClassification", {"s3://b/insights/samples.json": {"samples": 3}})

    assert any("TextClassification could not be read" in note for note in found["insights"]["notes"])
