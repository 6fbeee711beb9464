"""What the report shows of a fine-tuned model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_automl.report import build, render
from airflow_automl.report.insights import read
from airflow_automl.report.sections.generation import cards
from tests.unit.report.samples import candidate, describe

FOLDER = "s3://b/out/job/fine-tuning/step/output"
CONFIG = {"AutoMLProblemTypeConfig": {"TextGenerationJobConfig": {}}, "AutoMLProblemTypeConfigName": "TextGeneration"}
EVALUATION = {
    "base_model": "SmolLM2-135M-Instruct",
    "before": {"metrics": {"ValidationLoss": 3.3, "RougeL": 0.36}},
    "after": {"metrics": {"ValidationLoss": 0.2, "RougeL": 0.3}},
    "steps_per_epoch": 10,
    "training_loss": [[5, 3.1], [10, 1.2], [20, 0.3]],
    "validation_loss": [[0, 3.3], [1.0, 1.1], [2.0, 0.2]],
    "samples": [{"input": "<Who> are you?", "expected": "A model.", "before": "No & yes", "after": "A model."}],
}


def found(content: Any = EVALUATION, **more: Any) -> dict[str, Any]:
    best = candidate("c", 0.9, 1) | {"InferenceContainers": [{"ModelDataUrl": f"{FOLDER}/model.tar.gz"}]} | more
    objects = {f"{FOLDER}/model.tar.gz": b"", f"{FOLDER}/evaluation.json": json.dumps(content).encode()}
    return read(
        best,
        lambda prefix: [each for each in objects if each.startswith(prefix)],
        objects.__getitem__,
        "TextGeneration",
    )


def test_the_page_shows_gains_losses_and_samples() -> None:
    insights = found()
    assert insights["generation"]["training_loss"] == [[0.5, 3.1], [1.0, 1.2], [2.0, 0.3]]

    page = render(build(describe(**CONFIG), [], insights=insights))

    assert "the base model is SmolLM2-135M-Instruct" in page
    assert '<td>ValidationLoss</td><td class="n">3.300</td><td class="n better">0.200</td>' in page
    assert '<td>RougeL</td><td class="n">0.3600</td><td class="n worse">0.3000</td>' in page
    assert "<title>2 epochs: 0.2</title>" in page
    assert "<td>&lt;Who&gt; are you?</td><td>A model.</td><td>No &amp; yes</td>" in page


def test_containers_by_processing_unit_are_found_too() -> None:
    containers = {"GPU": [{"ModelDataUrl": f"{FOLDER}/model.tar.gz"}]}
    assert found(InferenceContainers=None, InferenceContainerDefinitions=containers)["generation"]["before"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"before": 3, "after": {"metrics": {"ValidationLoss": "low"}}, "samples": "none", "steps_per_epoch": 0},
        {"training_loss": [[1, 2, 3], "x", [1, None]], "validation_loss": {}, "samples": [3]},
        {"before": {"metrics": {"Rouge1": float("nan")}}},
        {"training_loss": [[1, -2.0], [2, -3.0]], "validation_loss": [[0, 0], [1e300, 0.0]]},
    ],
)
def test_a_file_of_another_shape_shows_less_and_breaks_nothing(content: Any) -> None:
    insights = found(content)
    assert "notes" not in insights
    page = render(build(describe(**CONFIG), [], insights=insights))
    assert "Sample generations" not in page


def test_nothing_found_shows_nothing() -> None:
    assert list(cards({}, {})) == []
