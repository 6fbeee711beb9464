"""The real engines: names and values that algorithms do not take, and the leaderboard's metric asked from the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_automl.contract.metrics import candidate_metrics
from airflow_automl.local.models import artifacts, host, payloads
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.training import main as trainer
from airflow_automl.local.training.engines import metrics
from tests.local_s3 import BUCKET, Bucket, bucket, s3_endpoint
from tests.unit.local.training import reading
from tests.unit.local.training import running as training

__all__ = ["bucket", "s3_endpoint"]

HEADER = ["a\nb", 'k["l"]: {m}, <n>', " ünï ", "", "when", "note", "at", "y\nz"]


def table(rows: int, classes: bool, seed: int = 0) -> list[list[str]]:
    random = np.random.default_rng(seed)
    found = []
    for row in range(rows):
        whole, real, word = int(random.integers(0, 300)), random.normal(), random.choice(["red", "blue", "NA", "1.0"])
        signal = whole / 100 + real + (word == "red")
        target = ("1.0" if signal > 1.5 else "0.0") if classes else f"{signal:.3f}"
        day = f"{random.integers(1, 29):02d}/{random.integers(1, 13):02d}/{random.integers(20, 25)}"
        day = "" if row % 40 == 7 else day
        note, time = random.choice(["9.90", "1.0", "2"]), f"{random.integers(24):02d}:{random.integers(60):02d}"
        # ArcGIS marks missing numbers with the largest negative one.
        shown = "-1.797e308" if row % 40 == 9 else f"{real:.4f}"
        found.append([str(whole), shown, str(word), str(row), day, str(note), time, target])
    return found


@pytest.mark.parametrize("classes", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("mode", "algorithms"),
    [
        ("ENSEMBLING", ["lightgbm", "catboost", "xgboost", "linear-learner", "randomforest", "extra-trees"]),
        ("HYPERPARAMETER_TUNING", ["xgboost", "linear-learner", "mlp"]),
        pytest.param("ENSEMBLING", ["nn-torch", "fastai"], marks=pytest.mark.slow),
    ],
)
def test_every_algorithm_answers_as_it_was_measured(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, algorithms: list[str], classes: bool
) -> None:
    for name, value in (("AWS_ENDPOINT_URL_S3", bucket.endpoint), ("AWS_DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    rows, held = table(600, classes), table(200, classes, 1)
    bucket.put("in/a.csv", reading.written([HEADER, *rows]))
    bucket.put("validation/a.csv", reading.written([HEADER, *held]))
    specification = bucket.put("spec.json", json.dumps({"FeatureDataTypes": {"note": "categorical"}}))
    config: dict[str, Any] = {
        "TargetAttributeName": HEADER[-1],
        "Mode": mode,
        "ProblemType": "BinaryClassification" if classes else "Regression",
        "FeatureSpecificationS3Uri": specification,
        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": algorithms}]},
        "CompletionCriteria": {"MaxCandidates": len(algorithms) + 1},
    }
    objective = "F1" if classes else "RMSE"
    inputs = [reading.channel(f"s3://{BUCKET}/in/"), reading.channel(f"s3://{BUCKET}/validation/", "validation")]
    request = {"AutoMLJobObjective": {"MetricName": objective}}
    assert trainer.train(training.write_job(tmp_path / "job", inputs, config, request=request))
    found = training.events(tmp_path / "job")
    ended = training.candidates(found)
    assert [candidate["CandidateStatus"] for candidate in ended.values()] == ["Completed"] * len(ended)
    assert len(ended) == len(algorithms) + 1
    for name, candidate in ended.items():
        keys = "predicted_label,probabilities" if classes else "predicted_label"
        folders, environments = [], []
        for place, container in enumerate(candidate["InferenceContainers"]):
            archive = tmp_path / "model.tar.gz"
            archive.write_bytes(bucket.read(container["ModelDataUrl"]))
            folders.append(tmp_path / name / str(place))
            artifacts.unpack(archive, folders[-1])
            environments.append({**container["Environment"], "SAGEMAKER_INFERENCE_OUTPUT": keys})
        predictor = artifacts.load_folders(folders, environments)
        if mode == "ENSEMBLING":
            # As a date, a time of day would get the current day, and another one tomorrow.
            known = predictor._stages[0]._predictor.feature_metadata_in
            assert not known.get_features(required_special_types=["datetime_as_object"])
        asked = pd.DataFrame(held, columns=HEADER)
        labelled = asked.set_axis(range(1000, 1000 + len(asked)))
        assert predictor.predict(labelled) == predictor.predict(asked)
        if classes:
            assert predictor.predict_proba(labelled).index.tolist() == labelled.index.tolist()
        model = host.Tables(predictor, payloads.response_keys(environments[-1], not classes))
        body = reading.written([HEADER, *held]).encode()
        (answer,) = host.answer(model, [Payload(body, "text/csv;header=present", "application/json")])
        answers = json.loads(answer.body)["predictions"]
        if classes:
            predicted = np.array([entry["probabilities"] for entry in answers])
            said = [float(entry["predicted_label"]) for entry in answers]
            hits = sum(one == float(row[-1]) == 1 for one, row in zip(said, held, strict=True))
            f1 = 2 * hits / (sum(one == 1 for one in said) + sum(float(row[-1]) == 1 for row in held))
            assert f1 == pytest.approx(candidate_metrics(candidate)["F1"], abs=1e-9), name
        else:
            predicted = np.array([entry["predicted_label"] for entry in answers])
        truth = np.array([float(row[-1]) for row in held])
        measured = metrics.scores(config["ProblemType"], truth, predicted, (0.0, 1.0) if classes else ())
        for metric in ("AUC", "LogLoss") if classes else ("RMSE", "MAE", "R2"):
            assert measured[metric] == pytest.approx(candidate_metrics(candidate)[metric], rel=1e-4), (name, metric)
        if "linear" in name.lower() and not classes:
            # A gap and a fraction in a column that had only whole numbers are neither zero nor a whole number.
            values = [[value, "0.1", "red", "3", "01/02/23", "1.0", "10:05"] for value in ("150", "150.7", "", "0")]
            whole, half, none, zero = predictor.predict(pd.DataFrame(values, columns=HEADER[:-1]))
            assert whole != half
            assert none != zero
