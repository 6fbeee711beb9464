"""ImageClassification jobs from images in S3 to candidates that are served."""

import csv
import importlib.util
import io
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from airflow_automl.local import artifacts, weights
from airflow_automl.local.engines.classification import reports
from airflow_automl.local.engines.image import cnn
from tests.unit.local import training
from tests.unit.local.engines.classifying import Jobs, channel, completed, serve

PROBLEM = {"ImageClassificationJobConfig": {}}
KEYS = {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label,probability,probabilities,labels"}

needs_weights = pytest.mark.skipif(not weights.available("efficientnet-lite0"), reason="needs EfficientNet's weights")
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")


def encoded(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def digits(*labels, each=12):
    """Handwritten digits: (label, PNG) pairs."""
    data = load_digits()
    pictures = (data.images * 255 / 16).astype("uint8")
    return [
        (str(label), encoded(pictures[position]))
        for label in labels
        for position in np.flatnonzero(data.target == label)[:each]
    ]


@pytest.fixture
def jobs(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr(reports, "EXPLAINED", 2)
    monkeypatch.setattr(cnn, "EPOCHS", 8)
    return Jobs(bucket, tmp_path)


@needs_weights
@needs_torch
async def test_a_job_from_folders_to_an_endpoint(jobs, bucket):
    for number, (label, image) in enumerate(digits(0, 1, each=20)):
        bucket.put(f"digits/train/{label}/{number}.png", image)

    found = jobs.train(PROBLEM, [channel("s3://learning-data/digits/train/")])

    assert training.phases(found) == [
        "Starting",
        "AnalyzingData",
        "TrainingModels",
        "GeneratingExplainabilityReport",
        "GeneratingModelInsightsReport",
    ]
    candidates = completed(found)
    assert set(candidates) == {"efficientnet-lite0", "cnn"}
    recorded = training.digests(found)
    new = [image for _, image in digits(0, 1, each=24)[20:24] + digits(0, 1, each=24)[44:48]]
    for name, candidate in candidates.items():
        assert candidate["FinalAutoMLJobObjectiveMetric"]["Value"] >= 0.75
        assert set(candidate["InferenceContainerDefinitions"]) == {"CPU", "GPU"}
        path = jobs.artefact(candidate, recorded)
        assert artifacts.describe(path)["approach"] == name
        predictor = artifacts.load(path)
        expected = predictor.predict(new)
        assert sum(a == b for a, b in zip(expected, "00001111", strict=True)) >= 6
        invoke = await serve(path, KEYS)
        for image, label in zip(new, expected, strict=True):
            status, body = await invoke(image, "application/x-image")
            assert status == 200
            (row,) = json.loads(body)["predictions"]
            assert row["predicted_label"] == label
            assert row["labels"] == ["0", "1"]
            assert row["probability"] == pytest.approx(max(row["probabilities"]))
        status, body = await invoke(new[0], "image/png", "text/csv")
        assert next(csv.reader([body.decode()]))[0] == expected[0]
        status, body = await invoke(new[0], "text/csv")
        assert status == 400
        assert b"application/x-image" in body
        status, body = await invoke(b"no image", "application/x-image")
        assert status == 400
        assert b"neither PNG nor JPEG" in body

    best = next(entry for entry in candidates.values() if "CandidateArtifactLocations" in entry["CandidateProperties"])
    locations = best["CandidateProperties"]["CandidateArtifactLocations"]
    analysis = json.loads(bucket.read(locations["Explainability"] + "/analysis.json"))
    assert len(analysis["explanations"]["occlusion"]["global_importance"]) == 9
    shown = json.loads(bucket.read(locations["ModelInsights"] + "/samples.json"))
    assert shown["samples"][0]["image"].startswith("data:image/png;base64,")
